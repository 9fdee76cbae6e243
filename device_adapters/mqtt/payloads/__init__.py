"""What wearables send over MQTT: one file a format, pure functions from bytes to samples."""

from importlib.metadata import entry_points

from device_adapters.mqtt.payloads.payload import (
    MAX_PAYLOAD_BYTES,
    Packet,
    PayloadFormat,
    PayloadOptions,
)
from device_adapters.registry import registered

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
        UnknownPartError: no installed package has registered one.
    """
    loaded: type[PayloadFormat] = registered(ENTRY_POINT_GROUP, "payload format", name)
    return loaded


def payload_names() -> list[str]:
    """Return the names of all payload formats that are installed."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP).names)
