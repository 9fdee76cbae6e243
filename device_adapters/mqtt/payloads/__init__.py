"""What wearables send over MQTT: one file a format, pure functions from bytes to samples."""

from importlib.metadata import entry_points

from device_adapters.errors import UnknownPayloadFormatError
from device_adapters.mqtt.payloads.payload import (
    MAX_PAYLOAD_BYTES,
    Packet,
    PayloadFormat,
    PayloadOptions,
)

ENTRY_POINT_GROUP = "share_streamer.mqtt_payloads"

__all__ = [
    "ENTRY_POINT_GROUP",
    "MAX_PAYLOAD_BYTES",
    "Packet",
    "PayloadFormat",
    "PayloadOptions",
    "payload_class",
    "payload_names",
]


def payload_class(name: str) -> type[PayloadFormat]:
    """Return the payload format that an installed package registered as `name`.

    Raises:
        UnknownPayloadFormatError: no installed package has registered one.
    """
    registered = entry_points(group=ENTRY_POINT_GROUP)
    if name not in registered.names:
        raise UnknownPayloadFormatError(name, registered.names)
    loaded: type[PayloadFormat] = registered[name].load()
    return loaded


def payload_names() -> list[str]:
    """Return the names of all payload formats that are installed."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP).names)
