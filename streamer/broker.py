"""The embedded broker: MQTT 3.1.1 in this process, for a gateway without a broker of its own.

amqtt carries a few thousand messages a second; beyond that, or for MQTT 5, run a real broker.
"""

import errno
import logging
from typing import Self

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig

from streamer.errors import BrokerError

PLUGINS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
"""Anyone may connect: the broker listens on the loopback interface unless it is told otherwise."""


class EmbeddedBroker:
    """A broker that lives as long as its context.

    Args:
        host: the address to listen on.
        port: the port to listen on.

    Raises (when entered):
        BrokerError: the address can't be listened on.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = f"{host}:{port}"

    async def __aenter__(self) -> Self:
        listener = ListenerConfig(bind=self._address)
        # They log tracebacks of what is told below in a line.
        for library in ("amqtt", "transitions"):
            logging.getLogger(library).setLevel(logging.CRITICAL)
        self._broker = Broker(BrokerConfig(listeners={"default": listener}, plugins=PLUGINS))
        try:
            await self._broker.start()
        except Exception as error:
            raise BrokerError(self._address, _reason(error)) from error
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._broker.shutdown()


def _reason(error: BaseException) -> str:
    """Return what the operating system said, which amqtt wraps."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            known = {errno.EADDRINUSE: "another program listens there already"}
            return known.get(cause.errno or 0, cause.strerror or str(cause))
        cause = cause.__cause__ or cause.__context__
    return str(error)
