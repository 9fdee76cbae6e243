"""A connection by aiomqtt, the default."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Self

import aiomqtt
from typing_extensions import override

from device_adapters.errors import MqttConnectionError
from device_adapters.mqtt.client import (
    IN_FLIGHT,
    QOS,
    REFUSED,
    Inbox,
    Message,
    MqttConnection,
)
from device_adapters.mqtt.connection import TIMEOUT_SECONDS, BrokerAddress

NO_DELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Without it Nagle's algorithm holds small messages back for 40 ms."""


class _Forwarding(asyncio.Queue[aiomqtt.Message]):
    """Hands messages to an inbox at once.

    aiomqtt's iterator makes two tasks for each message. Here it is never given one: it waits for
    the loss of the connection alone, which nothing else tells.
    """

    def __init__(self, inbox: Inbox) -> None:
        super().__init__()
        self._inbox = inbox

    @override
    def put_nowait(self, item: aiomqtt.Message) -> None:
        self._inbox.put(Message(item.topic.value, item.payload, item.retain))


class AiomqttConnection(MqttConnection):
    """See `MqttConnection`."""

    def __init__(self, address: BrokerAddress, will: Message | None) -> None:
        super().__init__()
        self._address = address
        self._url = address.url
        self._tasks: set[asyncio.Task[None]] = set()
        queue: Any = lambda maxsize: _Forwarding(self._inbox)  # noqa: ARG005, E731 - made by the client
        self._client = aiomqtt.Client(
            address.host,
            address.port,
            username=address.username,
            password=address.password(),
            will=None if will is None else aiomqtt.Will(will.topic, will.payload, QOS, will.retain),
            timeout=TIMEOUT_SECONDS,
            tls_context=address.tls(),
            socket_options=NO_DELAY,
            queue_type=queue,
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
        self._own(asyncio.create_task(self._watch(), name=f"watch {self._url}"))
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        try:
            with _heeding_cancellation():
                await self._client.__aexit__(None, None, None)
        except aiomqtt.MqttError as error:
            raise MqttConnectionError(self._url, str(error)) from error
        finally:
            for task in self._tasks:
                task.cancel()

    @override
    async def subscribe(self, topic_filter: str) -> None:
        try:
            with _heeding_cancellation():
                granted = await self._client.subscribe(topic_filter, QOS)
        except aiomqtt.MqttError as error:
            raise MqttConnectionError(self._url, str(error)) from error
        if any((code if isinstance(code, int) else code.value) >= REFUSED for code in granted):
            raise MqttConnectionError(self._url, f"refused to send {topic_filter!r}")

    @override
    def publish(self, message: Message) -> asyncio.Future[None]:
        task = asyncio.create_task(self._publish(message), name=f"publish {message.topic}")
        self._own(task)
        return task

    def _reason(self, error: aiomqtt.MqttError) -> str:
        code = getattr(error, "rc", None)
        code = getattr(code, "value", code)
        return self._address.explanation(error) if code is None else self._address.refusal(code)

    def _own(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever has stopped waiting need not hear of it

    async def _watch(self) -> None:
        try:
            await anext(self._client.messages)
        except aiomqtt.MqttError as error:
            self._inbox.end(MqttConnectionError(self._url, str(error)))

    async def _publish(self, message: Message) -> None:
        try:
            await self._client.publish(message.topic, message.payload, QOS, retain=message.retain)
        except aiomqtt.MqttError as error:
            raise MqttConnectionError(self._url, str(error)) from error


@contextlib.contextmanager
def _heeding_cancellation() -> Iterator[None]:
    """Raise a cancellation that aiomqtt swallows meanwhile.

    Its `asyncio.wait_for` does, up to Python 3.11, where the broker's answer comes at that moment.
    """
    task = asyncio.current_task()
    requests = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > requests:
            raise asyncio.CancelledError
