"""Reading labels back from a broker."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

from device_adapters.backoff import Backoff
from device_adapters.errors import MqttConnectionError
from device_adapters.mqtt.client import Message, connection
from device_adapters.mqtt.connection import BrokerAddress, split_url
from streamer.errors import MessageError
from streamer.messages import Label, parse_label

ALL_LABELS = "har/+/+/activity"
"""Every wearer of every gateway."""

_log = logging.getLogger(__name__)


async def subscribe(
    url: str,
    *,
    username: str | None = None,
    password_file: Path | None = None,
    ready: asyncio.Event | None = None,
) -> AsyncGenerator[Label, None]:
    """Yield the labels that arrive on an activity topic, reconnecting for ever.

    Messages that are no labels are passed over with a warning.

    Args:
        url: broker and topic filter, such as `mqtt://127.0.0.1/har/+/+/activity`; a URL without a
            topic means every wearer of every gateway.
        username: if the broker asks for one.
        password_file: a file that holds the password, if the broker asks for one.
        ready: is set once the subscription stands.

    Raises:
        BrokerAddressError: the URL is not one, or the password file can't be read.
    """
    scheme, host, port, topic = split_url(url)
    address = BrokerAddress(
        url=f"{scheme}://{host}:{port}", username=username, password_file=password_file
    )
    backoff = Backoff(f"broker {address.url}")
    while True:
        try:
            async with connection(address) as broker:
                await broker.subscribe(topic or ALL_LABELS)
                backoff.succeeded()
                if ready is not None:
                    ready.set()
                while True:
                    for message in await broker.receive():
                        label = _read(message)
                        if label is not None:
                            yield label
        except MqttConnectionError as error:
            await backoff.wait(error)


def _read(message: Message) -> Label | None:
    try:
        return parse_label(message.topic, message.payload)
    except MessageError as error:
        _log.warning("%s", error)
        return None
