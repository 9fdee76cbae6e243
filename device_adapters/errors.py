"""Every error that `device_adapters` raises; the root is `DeviceAdapterError`."""

from collections.abc import Iterable
from pathlib import Path

MAX_SHOWN_BYTES = 32
"""Enough of a payload to know it by; a log line stays a line."""


class DeviceAdapterError(Exception):
    """Root of the tree."""


class InvalidNameError(DeviceAdapterError, ValueError):
    """A device's or wearer's name that would break an MQTT topic."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(
            f"name {name!r} {reason}; use 1 to 64 printable characters without '/', '+' and '#'"
        )


class InvalidStreamError(DeviceAdapterError, ValueError):
    """A `StreamInfo` that contradicts itself."""

    def __init__(self, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        super().__init__(f"stream of {device!r}: {reason}")


class InvalidBatchError(DeviceAdapterError):
    """A `SampleBatch` whose arrays do not fit together."""

    def __init__(self, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        super().__init__(f"batch of {device!r}: {reason}")


class UnknownPartError(DeviceAdapterError, ValueError):
    """No installed package has registered an adapter or format of this name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"no {kind} {name!r}; installed are {', '.join(self.known)}")


class PayloadError(DeviceAdapterError):
    """A payload that is not what its format says."""

    def __init__(self, format_name: str, reason: str) -> None:
        self.format = format_name
        self.reason = reason
        super().__init__(f"{format_name} payload: {reason}")


class MalformedPayloadError(PayloadError, ValueError):
    """Bytes of a BLE wearable that are not of its format.

    Attributes:
        format: the format's name.
        reason: what is wrong, with the value that is.
        payload: the bytes, cut to `MAX_SHOWN_BYTES` in the message alone.
    """

    def __init__(self, format_name: str, reason: str, payload: bytes) -> None:
        self.payload = payload
        shown = payload[:MAX_SHOWN_BYTES].hex(" ")
        more = "..." if len(payload) > MAX_SHOWN_BYTES else ""
        super().__init__(format_name, f"{reason}: {shown}{more} ({len(payload)} bytes)")


class FormatDescriptionError(DeviceAdapterError, ValueError):
    """A file that does not describe a wearable's format."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"description {path}: {reason}")


class RefusedCommandError(DeviceAdapterError):
    """A device that does not do what it was told."""

    def __init__(self, format_name: str, command: str, reason: str) -> None:
        self.format = format_name
        self.command = command
        self.reason = reason
        super().__init__(f"{format_name} wearable refuses to {command}: {reason}")


class SessionError(DeviceAdapterError):
    """A session file that can't be opened, read or written."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"session {path}: {reason}")


class UnknownDeviceError(DeviceAdapterError):
    """A device that a session does not hold."""

    def __init__(self, device: str, source: str, known: Iterable[str]) -> None:
        self.device = device
        self.source = source
        self.known = tuple(sorted(known))
        super().__init__(
            f"no device {device!r} in {source}; it holds {', '.join(self.known) or 'none'}"
        )


class BrokerAddressError(DeviceAdapterError, ValueError):
    """A broker's address or credentials that can't be used."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"broker {url!r}: {reason}")


class BluetoothUnavailableError(DeviceAdapterError):
    """Bluetooth can't be used on this machine, or not now."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"Bluetooth: {reason}")


class WearableNotFoundError(DeviceAdapterError):
    """No such wearable is in range."""

    def __init__(self, wanted: str, adapter: str, seconds: float) -> None:
        self.wanted = wanted
        self.adapter = adapter
        self.seconds = seconds
        super().__init__(
            f"no {wanted} was heard by {adapter} in {seconds:g} s; is it on, near, and not "
            "connected to a phone? (streamer scan shows what is in range)"
        )


class UnrecognisedWearableError(DeviceAdapterError):
    """A wearable that does not advertise which format it speaks."""

    def __init__(self, wearable: str, known: Iterable[str]) -> None:
        self.wearable = wearable
        self.known = tuple(sorted(known))
        super().__init__(
            f"{wearable} does not advertise which format it speaks; set format to one of "
            f"{', '.join(self.known)}"
        )


class LinkError(DeviceAdapterError):
    """A link to a wearable that failed, or ended."""


class MqttConnectionError(DeviceAdapterError):
    """A broker that can't be reached, refuses, or is gone."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"broker {url!r}: {reason}")


class MqttClientMissingError(DeviceAdapterError):
    """An MQTT client that is not installed."""

    def __init__(self, client: str) -> None:
        self.client = client
        super().__init__(
            f"the MQTT client {client} is not installed; run: pip install 'share-streamer[fast]'"
        )
