"""A connection by aiomqtt, the default."""

import asyncio
import contextlib
import socket
from typing import Any, Self

import aiomqtt
from typing_extensions import override

from device_adapters.errors import MqttConnectionError
from device_adapters.mqtt.client import (
    IN_FLIGHT,
    QOS,
    QUEUED_MESSAGES,
    REFUSED,
    InboxStatistics,
    Message,
    MqttConnection,
)
from device_adapters.mqtt.connection import TIMEOUT_SECONDS, BrokerAddress

NO_DELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Without it Nagle's algorithm holds small messages back for 40 ms."""


class _Inbox(asyncio.Queue[aiomqtt.Message]):
    """Drops the oldest message rather than the newest, and counts it."""

    dropped = 0

    @override
    def put_nowait(self, item: aiomqtt.Message) -> None:
        if self.full():
            self.get_nowait()
            self.dropped += 1
        super().put_nowait(item)


class AiomqttConnection(MqttConnection):
    """See `MqttConnection`."""

    def __init__(self, address: BrokerAddress, will: Message | None) -> None:
        self._address = address
        self._url = address.url
        self._inbox = _Inbox(QUEUED_MESSAGES)
        self._sending: set[asyncio.Task[None]] = set()
        inbox: Any = lambda maxsize: self._inbox  # noqa: ARG005, E731 - made by the client
        self._client = aiomqtt.Client(
            address.host,
            address.port,
            username=address.username,
            password=address.password(),
            will=None if will is None else aiomqtt.Will(will.topic, will.payload, QOS, will.retain),
            timeout=TIMEOUT_SECONDS,
            tls_context=address.tls(),
            socket_options=NO_DELAY,
            queue_type=inbox,
            max_inflight_messages=IN_FLIGHT,
        )
        self._client.pending_calls_threshold = IN_FLIGHT

    @override
    async def __aenter__(self) -> Self:
        connecting = asyncio.create_task(self._client.__aenter__(), name=f"connect to {self._url}")
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # A thread connects, and can't be stopped; aiomqtt would leave its socket behind.
            with contextlib.suppress(aiomqtt.MqttError):
                await connecting
                await self._client.__aexit__(None, None, None)
            raise
        except aiomqtt.MqttError as error:
            raise MqttConnectionError(self._url, self._reason(error)) from error
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self._client.__aexit__(None, None, None)
        except aiomqtt.MqttError as error:
            raise MqttConnectionError(self._url, str(error)) from error
        finally:
            for task in self._sending:
                task.cancel()

    @override
    async def subscribe(self, topic_filter: str) -> None:
        try:
            granted = await self._client.subscribe(topic_filter, QOS)
        except aiomqtt.MqttError as error:
            raise MqttConnectionError(self._url, str(error)) from error
        if any((code if isinstance(code, int) else code.value) >= REFUSED for code in granted):
            raise MqttConnectionError(self._url, f"refused to send {topic_filter!r}")

    @override
    async def receive(self) -> list[Message]:
        try:
            messages = [await anext(self._client.messages)]
        except aiomqtt.MqttError as error:
            raise MqttConnectionError(self._url, str(error)) from error
        while not self._inbox.empty():
            messages.append(self._inbox.get_nowait())
        return [Message(m.topic.value, m.payload, m.retain) for m in messages]

    @override
    def publish(self, message: Message) -> asyncio.Future[None]:
        task = asyncio.create_task(self._publish(message), name=f"publish {message.topic}")
        self._sending.add(task)
        task.add_done_callback(self._sent)
        return task

    @override
    def inbox(self) -> InboxStatistics:
        return InboxStatistics(self._inbox.qsize(), QUEUED_MESSAGES, self._inbox.dropped)

    def _reason(self, error: aiomqtt.MqttError) -> str:
        code = getattr(error, "rc", None)
        code = getattr(code, "value", code)
        return self._address.explanation(error) if code is None else self._address.refusal(code)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # whoever has stopped waiting need not hear of it

    async def _publish(self, message: Message) -> None:
        try:
            await self._client.publish(message.topic, message.payload, QOS, retain=message.retain)
        except aiomqtt.MqttError as error:
            raise MqttConnectionError(self._url, str(error)) from error
