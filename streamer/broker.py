"""The embedded broker: MQTT 3.1.1 in this process, for a gateway without a broker of its own.

amqtt carries a few thousand messages a second; beyond that, or for MQTT 5, run a real broker.
"""

import asyncio
import errno
import logging
from collections.abc import Iterator
from typing import Self

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig

from streamer.errors import BrokerError

PLUGINS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
"""Anyone may connect: the broker listens on the loopback interface unless it is told otherwise."""

STALLED_SECONDS = 10.0
"""A client that has always had something left to take for so long is disconnected: what waits for
it has no bound in amqtt, and takes some 3 KB a message."""

CHECK_SECONDS = 1.0

_log = logging.getLogger(__name__)


class EmbeddedBroker:
    """A broker that lives as long as its context, and disconnects clients that stall.

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
        self._guard = asyncio.create_task(self._disconnect_stalled(), name="embedded broker guard")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._guard.cancel()
        await asyncio.gather(self._guard, return_exceptions=True)
        await self._broker.shutdown()

    async def _disconnect_stalled(self) -> None:
        checks: dict[asyncio.Transport, int] = {}
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            checks = {behind: checks.get(behind, 0) + 1 for behind in self._behind()}
            for transport, count in checks.items():
                if count * CHECK_SECONDS >= STALLED_SECONDS:
                    client = transport.get_extra_info("peername")
                    _log.warning("embedded broker: client %s stalls; disconnected", client)
                    transport.abort()

    def _behind(self) -> Iterator[asyncio.Transport]:
        """Yield the connections that hold what the system's buffers have no room for."""
        for _, handler in self._broker.sessions.values():
            stream = getattr(handler.writer, "_writer", None)  # amqtt tells nothing of it
            if stream is not None and stream.transport.get_write_buffer_size():
                yield stream.transport


def _reason(error: BaseException) -> str:
    """Return what the operating system said, which amqtt wraps."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            known = {errno.EADDRINUSE: "another program listens there already"}
            return known.get(cause.errno or 0, cause.strerror or str(cause))
        cause = cause.__cause__ or cause.__context__
    return str(error)
