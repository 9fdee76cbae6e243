"""One connection to a broker: the little that the gateway needs of an MQTT client.

Two libraries stand behind it: aiomqtt, and gmqtt, which is some four times as fast and meant for
thousands of wearables. Both speak MQTT 3.1.1, which every broker knows.
"""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Self

from device_adapters.errors import MqttClientMissingError
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


@dataclass(frozen=True, slots=True)
class InboxStatistics:
    """Messages received and not yet taken, of at most `capacity`, and those that were dropped."""

    queued: int
    capacity: int
    dropped: int


REFUSED = 128
"""What a broker grants in place of a QoS when it refuses a subscription (MQTT 3.1.1, 3.9.3)."""


class MqttConnection(ABC):
    """An async context manager: entering connects, leaving disconnects.

    Every method raises `MqttConnectionError` once the connection is lost; a new connection is then
    a new object's matter.
    """

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *exc_info: object) -> None: ...

    @abstractmethod
    async def subscribe(self, topic_filter: str) -> None:
        """Ask for the messages of matching topics, and wait until the broker has agreed.

        They come with the quality of service that they were published with, 1 at most.
        """

    @abstractmethod
    async def receive(self) -> list[Message]:
        """Wait for messages, and return all that have come; the oldest first."""

    @abstractmethod
    def publish(self, message: Message) -> asyncio.Future[None]:
        """Send a message at once; the future is done when the broker has acknowledged it.

        The caller keeps to `IN_FLIGHT`.
        """

    @abstractmethod
    def inbox(self) -> InboxStatistics:
        """Return what waits to be received."""


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
