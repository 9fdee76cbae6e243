"""What wearables send over MQTT: one file a format, pure functions from bytes to samples."""

from importlib.metadata import entry_points

from device_adapters.errors import UnknownPayloadFormatError
from device_adapters.mqtt.payloads.payload import Packet, PayloadFormat

ENTRY_POINT_GROUP = "share_streamer.mqtt_payloads"

__all__ = ["ENTRY_POINT_GROUP", "Packet", "PayloadFormat", "payload_format"]


def payload_format(name: str) -> PayloadFormat:
    """Return the payload format that an installed package registered as `name`.

    Raises:
        UnknownPayloadFormatError: no installed package has registered one.
    """
    registered = entry_points(group=ENTRY_POINT_GROUP)
    if name not in registered.names:
        raise UnknownPayloadFormatError(name, registered.names)
    loaded: type[PayloadFormat] = registered[name].load()
    return loaded()
