"""Reading labels back from a broker."""

import asyncio
import logging
from collections.abc import AsyncGenerator

from device_adapters.backoff import Backoff
from device_adapters.errors import BrokerAddressError, MqttConnectionError
from device_adapters.mqtt.client import Message, connection
from device_adapters.mqtt.connection import BrokerAddress, split_url
from device_adapters.mqtt.topics import check_topic_filter
from streamer.errors import MessageError
from streamer.messages import Label, parse_label

ALL_LABELS = "har/+/+/activity"
"""Every wearer of every gateway."""

_log = logging.getLogger(__name__)


async def subscribe(
    broker: str | BrokerAddress,
    *,
    ready: asyncio.Event | None = None,
) -> AsyncGenerator[Label, None]:
    """Yield the labels that arrive on an activity topic, reconnecting for ever.

    Messages that are no labels are passed over with a warning.

    Args:
        broker: URL with a topic filter, such as `mqtt://127.0.0.1/har/+/+/activity`; one without a
            topic means every wearer of every gateway. A `BrokerAddress` holds such a URL and what
            else the broker asks for: password, certificates.
        ready: is set once the subscription stands.

    Raises:
        BrokerAddressError: the URL is not one, its topic can't be subscribed to, or password or
            certificates can't be read.
        MqttClientMissingError: the address's client is not installed.
    """
    url = broker if isinstance(broker, str) else broker.url
    topic = split_url(url)[3] or ALL_LABELS  # raises the plain error that pydantic would wrap
    address = BrokerAddress(url=url) if isinstance(broker, str) else broker
    try:
        check_topic_filter(topic)
    except ValueError as error:
        raise BrokerAddressError(url, str(error)) from error
    connection(address)  # credentials that can't be read are told at once
    backoff = Backoff(f"broker {address.url!r}")
    while True:
        try:
            async with connection(address) as connected:
                await connected.subscribe(topic)
                backoff.succeeded()
                if ready is not None:
                    ready.set()
                while True:
                    for message in await connected.receive():
                        label = _read(message)
                        if label is not None:
                            yield label
        # A password file may be away for a moment, while it is written anew.
        except (MqttConnectionError, BrokerAddressError) as error:
            await backoff.wait(error)


def _read(message: Message) -> Label | None:
    try:
        return parse_label(message.topic, message.payload)
    except MessageError as error:
        _log.warning("%s", error)
        return None
