"""Labels to an MQTT broker, on the topics that `docs/topics.md` describes."""

import asyncio
import contextlib
import logging
from typing import NamedTuple, Self

from typing_extensions import override

from device_adapters.backoff import Backoff
from device_adapters.errors import BrokerAddressError, MqttConnectionError
from device_adapters.mqtt.client import IN_FLIGHT, Message, MqttConnection, connection
from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.queues import DropOldestQueue
from device_adapters.samples import check_name
from streamer.messages import Label, Segment, StreamStatus
from streamer.publishers.publisher import Publisher, PublisherStatistics

QUEUED_MESSAGES = 1000
"""While the broker is away the newest this many messages are kept for it."""

FAREWELL_SECONDS = 5.0
"""How long leaving waits for what is still to be delivered, and then for the broker's answer to
`offline`."""

_log = logging.getLogger(__name__)


def root_topic(gateway: str) -> str:
    """Return the topic under which a gateway publishes.

    Raises:
        InvalidNameError: the name would break a topic.
    """
    return f"har/{check_name(gateway)}"


class _Sent(NamedTuple):
    acknowledged: asyncio.Future[None]
    queued: Message | None
    """Leaves the queue then; None for what is published again."""


class MqttPublisher(Publisher):
    """Publishes to a broker, and goes on when the broker comes back.

    The wearers' states, what became of streams, and the gateway's status are retained; after every
    reconnection they are published again, since a broker that restarted may have forgotten them.

    Args:
        broker: the broker.
        gateway: the gateway's name, one level of the topics.
    """

    def __init__(self, broker: BrokerAddress, gateway: str) -> None:
        self._broker = broker
        self._root = root_topic(gateway)
        self._retained: dict[str, Message] = {}
        self._queue: DropOldestQueue[Message] = DropOldestQueue(QUEUED_MESSAGES)
        self._queue.set_lossy(True)
        self._published = 0
        self._connected = asyncio.Event()
        self._leaving = False

    @override
    async def __aenter__(self) -> Self:
        connection(self._broker)  # credentials that can't be read are told at once
        self._connection = asyncio.create_task(self._stay_connected(), name="mqtt publisher")
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._connected.wait()
                    await self._queue.drained()
            if undelivered := self.statistics().undelivered:
                _log.warning("broker %s: %d messages undelivered", self._broker.url, undelivered)
        finally:
            await self._disconnect()

    async def connected(self) -> None:
        """Wait until the broker is reached."""
        await self._connected.wait()

    @override
    async def publish(self, label: Label) -> None:
        await self._put(Message(f"{self._root}/{label.wearer}/activity", label.to_json()))

    @override
    async def publish_segment(self, segment: Segment) -> None:
        prefix, payload = f"{self._root}/{segment.wearer}", segment.to_json()
        await self._put(Message(f"{prefix}/segment", payload))
        await self._put_retained(f"{prefix}/state", payload)

    @override
    async def tell(self, status: StreamStatus) -> None:
        await self._put_retained(f"{self._root}/{status.device}/stream", status.to_json())

    @override
    def statistics(self) -> PublisherStatistics:
        queue = self._queue.statistics()
        return PublisherStatistics(self._published, queue.dropped, queue.used, queue.capacity)

    async def _put_retained(self, topic: str, payload: bytes) -> None:
        message = self._retained[topic] = Message(topic, payload, retain=True)
        await self._put(message)

    async def _put(self, message: Message) -> None:
        # With a broker the labels wait for it; without one the wearers do not: the oldest goes.
        await self._queue.room()
        if self._connection.done():
            self._connection.result()  # raises what ended it: nobody would send the message
        self._queue.put(message)

    async def _disconnect(self) -> None:
        self._leaving = True
        # A broker that stalls may neither acknowledge `offline` nor let its connection be closed.
        while not self._connection.done():
            self._connection.cancel()
            await asyncio.wait([self._connection], timeout=FAREWELL_SECONDS)
        if not self._connection.cancelled():
            self._connection.result()  # raises what ended it, if nothing was published since

    async def _stay_connected(self) -> None:
        backoff = Backoff(f"broker {self._broker.url!r}")
        will = Message(f"{self._root}/status", b"offline", retain=True)
        while True:
            try:
                async with connection(self._broker, will) as broker:
                    backoff.succeeded()
                    await self._serve(broker)
            # A password file may be away for a moment, while it is written anew.
            except* (MqttConnectionError, BrokerAddressError) as group:
                lost = group.exceptions[0]
            if self._leaving:
                return  # an error raised while leaving hides the cancellation
            await backoff.wait(lost)

    async def _serve(self, broker: MqttConnection) -> None:
        window = asyncio.Semaphore(IN_FLIGHT)
        sent: asyncio.Queue[_Sent] = asyncio.Queue(IN_FLIGHT)
        try:
            await self._announce(broker, b"online")
            self._queue.set_lossy(False)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch(broker), name="mqtt publisher watch")
                tasks.create_task(self._send(broker, window, sent), name="mqtt publisher send")
                tasks.create_task(
                    self._acknowledge(window, sent), name="mqtt publisher acknowledge"
                )
        except asyncio.CancelledError:
            await self._announce(broker, b"offline")
            raise
        finally:
            self._connected.clear()
            self._queue.set_lossy(True)

    async def _announce(self, broker: MqttConnection, status: bytes) -> None:
        await broker.publish(Message(f"{self._root}/status", status, retain=True))

    async def _watch(self, broker: MqttConnection) -> None:
        """End with an error as soon as the connection is lost, even if nothing is sent."""
        while True:
            await broker.receive()

    async def _send(
        self,
        broker: MqttConnection,
        window: asyncio.Semaphore,
        sent: asyncio.Queue[_Sent],
    ) -> None:
        # What a dying connection swallowed is sent again.
        self._queue.reclaim()
        for message in list(self._retained.values()):
            await window.acquire()
            await sent.put(_Sent(broker.publish(message), None))
        self._connected.set()
        while True:
            await window.acquire()
            message = await self._queue.lend()
            await sent.put(_Sent(broker.publish(message), message))

    async def _acknowledge(self, window: asyncio.Semaphore, sent: asyncio.Queue[_Sent]) -> None:
        while True:
            acknowledged, queued = await sent.get()
            await acknowledged
            window.release()
            if queued is not None:
                self._queue.settle(queued)
                self._published += 1
