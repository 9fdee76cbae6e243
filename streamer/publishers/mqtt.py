"""Labels to an MQTT broker, on the topics that `docs/topics.md` describes."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import aiomqtt
from typing_extensions import override

from device_adapters.mqtt.connection import Backoff, BrokerAddress
from device_adapters.queues import DropOldestQueue
from device_adapters.samples import check_name
from streamer.messages import Label, Segment
from streamer.publishers.publisher import Publisher, PublisherStatistics

QUEUED_MESSAGES = 1000
"""While the broker is away the newest this many messages are kept for it."""

FAREWELL_SECONDS = 5.0
"""How long leaving waits for what is still to be delivered."""

QOS = 1
"""At least once: a label that the broker took is a label that subscribers get."""

_log = logging.getLogger(__name__)


def root_topic(gateway: str) -> str:
    """Return the topic under which a gateway publishes.

    Raises:
        InvalidNameError: the name would break a topic.
    """
    return f"har/{check_name(gateway)}"


@dataclass(frozen=True, slots=True)
class _Message:
    topic: str
    payload: bytes
    retain: bool = False


class MqttPublisher(Publisher):
    """Publishes to a broker, and goes on when the broker comes back.

    The wearers' states and the gateway's status are retained; after every reconnection they are
    published again, since a broker that restarted may have forgotten them.

    Args:
        broker: the broker.
        gateway: the gateway's name, one level of the topics.
    """

    def __init__(self, broker: BrokerAddress, gateway: str) -> None:
        self._broker = broker
        self._root = root_topic(gateway)
        self._states: dict[str, _Message] = {}
        self._queue: DropOldestQueue[_Message] = DropOldestQueue(QUEUED_MESSAGES)
        self._queue.set_lossy(True)
        self._published = 0
        self._connected = asyncio.Event()

    @override
    async def __aenter__(self) -> Self:
        self._broker.client()  # credentials that can't be read are told at once
        self._connection = asyncio.create_task(self._stay_connected(), name="mqtt publisher")
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._connected.wait()
                await self._queue.drained()
        except TimeoutError:
            waiting = self._queue.statistics().used
            _log.warning("broker %s: %d messages undelivered", self._broker.url, waiting)
        self._connection.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._connection

    async def connected(self) -> None:
        """Wait until the broker is reached."""
        await self._connected.wait()

    @override
    async def publish(self, label: Label, segments: Sequence[Segment]) -> None:
        prefix = f"{self._root}/{label.wearer}"
        await self._put(_Message(f"{prefix}/activity", label.to_json()))
        for segment in segments:
            payload = segment.to_json()
            await self._put(_Message(f"{prefix}/segment", payload))
            state = _Message(f"{prefix}/state", payload, retain=True)
            self._states[label.wearer] = state
            await self._put(state)

    @override
    def statistics(self) -> PublisherStatistics:
        queue = self._queue.statistics()
        return PublisherStatistics(self._published, queue.dropped, queue.used, queue.capacity)

    async def _put(self, message: _Message) -> None:
        # With a broker the labels wait for it; without one the wearers do not: the oldest goes.
        await self._queue.room()
        if self._connection.done():
            self._connection.result()  # raises what ended it: nobody would send the message
        self._queue.put(message)

    async def _stay_connected(self) -> None:
        backoff = Backoff(self._broker.url)
        will = aiomqtt.Will(f"{self._root}/status", b"offline", QOS, retain=True)
        while True:
            try:
                async with self._broker.client(will) as client:
                    backoff.succeeded()
                    await self._serve(client)
            except* aiomqtt.MqttError as group:
                await backoff.wait(group.exceptions[0])

    async def _serve(self, client: aiomqtt.Client) -> None:
        await self._announce(client, b"online")
        for state in list(self._states.values()):
            await client.publish(state.topic, state.payload, QOS, retain=True)
        self._queue.set_lossy(False)
        self._connected.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch(client), name="mqtt publisher watch")
                tasks.create_task(self._send(client), name="mqtt publisher send")
        except asyncio.CancelledError:
            await self._announce(client, b"offline")
            raise
        finally:
            self._connected.clear()
            self._queue.set_lossy(True)

    async def _announce(self, client: aiomqtt.Client, status: bytes) -> None:
        await client.publish(f"{self._root}/status", status, QOS, retain=True)

    async def _watch(self, client: aiomqtt.Client) -> None:
        """End with an `MqttError` as soon as the connection is lost, even if nothing is sent."""
        async for _ in client.messages:
            pass

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            message = await self._queue.first()
            await client.publish(message.topic, message.payload, QOS, retain=message.retain)
            # Only now: what a dying connection swallowed is sent again.
            self._queue.discard(message)
            self._published += 1
