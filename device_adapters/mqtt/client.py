"""One connection to a broker: the little that the gateway needs of an MQTT client.

Two libraries stand behind it: aiomqtt, and gmqtt, which is some four times as fast and meant for
thousands of wearables. Both speak MQTT 3.1.1, which every broker knows.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import NamedTuple, Self

from device_adapters.errors import MqttClientMissingError, MqttConnectionError
from device_adapters.mqtt.connection import BrokerAddress

QOS = 1
"""At least once: what a broker has acknowledged reaches those who subscribe."""

IN_FLIGHT = 256
"""Sent and not yet acknowledged; who publishes more waits."""

QUEUED_MESSAGES = 20_000
"""Received and not yet taken; beyond it messages are dropped and counted."""


class Message(NamedTuple):
    """What came, or is to be sent, on a topic."""

    topic: str
    payload: bytes
    retain: bool = False


REFUSED = 128
"""What a broker grants in place of a QoS when it refuses a subscription (MQTT 3.1.1, 3.9.3)."""


class Inbox:
    """What a connection has received and nobody has taken: the oldest first, until it is lost."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque(maxlen=QUEUED_MESSAGES)
        self._woken = asyncio.Event()
        self._lost: MqttConnectionError | None = None
        self.dropped = 0

    def put(self, message: Message) -> None:
        """Take a message in; when there are too many, the oldest goes and is counted."""
        self.dropped += len(self._messages) == QUEUED_MESSAGES
        self._messages.append(message)
        self._woken.set()

    def end(self, lost: MqttConnectionError) -> None:
        """Tell whoever waits that nothing will come any more."""
        self._lost = lost
        self._woken.set()

    def check(self) -> None:
        """Raise what ended the connection, if it has ended."""
        if self._lost is not None:
            raise self._lost

    async def take(self) -> list[Message]:
        """Wait for messages, and return all that have come."""
        while not self._messages:
            self.check()
            self._woken.clear()
            await self._woken.wait()
        messages = list(self._messages)
        self._messages.clear()
        return messages


class MqttConnection(ABC):
    """An async context manager: entering connects, leaving disconnects.

    Every method raises `MqttConnectionError` once the connection is lost; a new connection is then
    a new object's matter.
    """

    def __init__(self) -> None:
        self._inbox = Inbox()

    @property
    def dropped(self) -> int:
        """Messages that were received and dropped, since nobody took them."""
        return self._inbox.dropped

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *exc_info: object) -> None: ...

    @abstractmethod
    async def subscribe(self, topic_filter: str) -> None:
        """Ask for the messages of matching topics, and wait until the broker has agreed.

        They come with the quality of service that they were published with, 1 at most.
        """

    async def receive(self) -> list[Message]:
        """Wait for messages, and return all that have come; the oldest first."""
        return await self._inbox.take()

    @abstractmethod
    def publish(self, message: Message) -> asyncio.Future[None]:
        """Send a message at once; the future is done when the broker has acknowledged it.

        The caller keeps to `IN_FLIGHT`.
        """


def connection(address: BrokerAddress, will: Message | None = None) -> MqttConnection:
    """Return a connection by the address's client; it is not made before it is entered.

    Args:
        address: the broker.
        will: what the broker is to publish if the connection is lost.

    Raises:
        BrokerAddressError: the credentials can't be read.
        MqttClientMissingError: the library is not installed.
    """
    # Imported where it is chosen: gmqtt is an extra, and either costs 100 ms of a start.
    if address.client == "gmqtt":
        try:
            from device_adapters.mqtt.gmqtt_client import GmqttConnection  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MqttClientMissingError(address.client) from error
        return GmqttConnection(address, will)
    from device_adapters.mqtt.aiomqtt_client import AiomqttConnection  # noqa: PLC0415

    return AiomqttConnection(address, will)
