"""A connection by gmqtt: for thousands of wearables; comes with the extra `fast`."""

import asyncio
import contextlib
import logging
from typing import Any, Self

import gmqtt
from gmqtt.mqtt.constants import MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage
from typing_extensions import override

from device_adapters.errors import MqttConnectionError
from device_adapters.mqtt.client import (
    QOS,
    REFUSED,
    Message,
    MqttConnection,
)
from device_adapters.mqtt.connection import TIMEOUT_SECONDS, BrokerAddress

NEVER_RECONNECT = {"reconnect_retries": -2}
"""gmqtt would go on by itself, and lose what this connection's owner still has to send; its -1
means for ever, and 0 once more."""

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())
_log.propagate = False  # what gmqtt has to say is raised here as an error


class _Unacknowledged(PersistentStorage):  # type: ignore[misc] # gmqtt is untyped
    """In place of the messages that the broker has not acknowledged, those who wait for it.

    gmqtt would keep the messages for a connection of its own making; see `NEVER_RECONNECT`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.futures: dict[int, asyncio.Future[None]] = {}
        self.newest: asyncio.Future[None]

    def push_message(self, mid: int, raw_package: bytes) -> None:  # noqa: ARG002 - gmqtt's
        self.newest = self.futures[mid] = asyncio.get_running_loop().create_future()

    def remove_message_by_mid(self, mid: int) -> None:
        future = self.futures.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Tell all who wait that the connection is lost."""
        for future in self.futures.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever has stopped waiting need not hear of it
        self.futures.clear()


class _Burst:
    """A transport that sends what is written in one turn of the event loop by one system call."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._written:
            asyncio.get_running_loop().call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _send(self) -> None:
        if self._written and not self._transport.is_closing():
            self._transport.write(b"".join(self._written))
        self._written.clear()


class GmqttConnection(MqttConnection):
    """See `MqttConnection`."""

    def __init__(self, address: BrokerAddress, will: Message | None) -> None:
        super().__init__()
        self._address = address
        self._unacknowledged = _Unacknowledged()
        self._granted: asyncio.Future[tuple[int, ...]] | None = None
        self._client: Any = gmqtt.Client(
            None,
            will_message=None
            if will is None
            else gmqtt.Message(will.topic, will.payload, qos=QOS, retain=will.retain),
            persistent_storage=self._unacknowledged,
            logger=_log,
        )
        self._client.set_config(NEVER_RECONNECT)
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        if address.username is not None:
            self._client.set_auth_credentials(address.username, address.password())
        self._tls = address.tls()

    @override
    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except BaseException:  # being cancelled, too: gmqtt would leave its socket behind
            with contextlib.suppress(OSError):  # what ended the connection is raised once more
                await self._client.disconnect()
            raise
        made = self._client._connection  # noqa: SLF001 - gmqtt would send each message by itself
        made._transport = made._protocol._transport = _Burst(made._transport)  # noqa: SLF001
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.disconnect()

    @override
    async def subscribe(self, topic_filter: str) -> None:
        self._inbox.check()
        self._granted = asyncio.get_running_loop().create_future()
        self._client.subscribe(topic_filter, QOS)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                granted = await self._granted
        except TimeoutError as error:
            raise MqttConnectionError(self._address.url, "Operation timed out") from error
        if REFUSED in granted:
            raise MqttConnectionError(self._address.url, f"refused to send {topic_filter!r}")

    @override
    def publish(self, message: Message) -> asyncio.Future[None]:
        self._inbox.check()
        self._client.publish(message.topic, message.payload, QOS, message.retain)
        return self._unacknowledged.newest

    async def _connect(self) -> None:
        address = self._address
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._client.connect(
                    address.host, address.port, self._tls or False, version=MQTTv311
                )
        except MQTTConnectError as error:
            raise MqttConnectionError(address.url, address.refusal(error._code)) from error  # noqa: SLF001 - told nowhere else
        except OSError as error:
            raise MqttConnectionError(address.url, address.explanation(error)) from error

    def _on_message(self, _: Any, topic: str, payload: bytes, __: int, properties: Any) -> int:  # noqa: ANN401
        self._inbox.put(Message(topic, payload, bool(properties["retain"])))
        return 0

    def _on_subscribe(self, _: Any, __: int, granted: tuple[int, ...], ___: Any) -> None:  # noqa: ANN401
        if self._granted is not None and not self._granted.done():
            self._granted.set_result(granted)

    def _on_disconnect(self, _: Any, __: Any) -> None:  # noqa: ANN401
        lost = MqttConnectionError(self._address.url, "the connection was lost")
        self._unacknowledged.fail(lost)
        if self._granted is not None and not self._granted.done():
            self._granted.set_exception(lost)
        self._inbox.end(lost)
