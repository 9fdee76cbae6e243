"""The contract that every wearable's format keeps, and the registry that finds formats by name.

A format says how to know a wearable, how to make it send, and how to read what it sends. It knows
nothing of bleak, of tasks or of the host's clock: the link lends it a `Gatt`, and what it decodes
goes to a `Timeline`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from device_adapters.frames import Frame, Sensor
from device_adapters.samples import ClockSource

ENTRY_POINT_GROUP = "share_streamer.ble_formats"


class FormatOptions(BaseModel):
    """What a user may set for a wearable, such as its rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Gatt(Protocol):
    """A connected wearable's characteristics, named by UUID in full and in lower case.

    Every method raises an error of the link's own if the wearable goes or does not answer in time.
    """

    def has(self, characteristic: str) -> bool:
        """Tell whether the wearable has the characteristic."""
        ...

    async def read(self, characteristic: str) -> bytes:
        """Return a characteristic's value."""
        ...

    async def write(self, characteristic: str, payload: bytes) -> None:
        """Write a value, with response where the characteristic offers that."""
        ...

    async def request(
        self,
        characteristic: str,
        payload: bytes,
        *,
        answer_on: str,
        is_answer: Callable[[bytes], bool],
    ) -> bytes:
        """Write a command and return the first notification on `answer_on` that answers it.

        Every notification also reaches the decoder in its turn, answers too.
        """
        ...


class Decoder(ABC):
    """Turns one connection's notifications into frames; keeps what must be known of earlier ones.

    Attributes:
        sensors: the groups of channels that come; two or more are merged into one stream.
        rate_hz: the rate that was agreed on.
        clock: what places the samples in time.
        conversion: what is done to reach SI units, such as `g to m/s2`.
    """

    sensors: tuple[Sensor, ...]
    rate_hz: float
    clock: ClockSource
    conversion: str

    @abstractmethod
    def decode(self, characteristic: str, payload: bytes) -> Sequence[Frame]:
        """Return the frames that this notification completes; none for an answer to a command.

        Raises:
            MalformedPayloadError: the payload is not of the format; the next one may be again.
        """


class BleFormat(ABC):
    """A wearable's format: how it is known, started, stopped and read.

    Attributes:
        services: UUIDs of services that the wearable advertises.
        name_patterns: patterns (`*` and `?`) of the names that it advertises.
        subscriptions: the characteristics to be notified of before `start`; those that the
            wearable lacks are passed over, and one without any of them is of another format.
    """

    Options: ClassVar[type[FormatOptions]] = FormatOptions

    services: tuple[str, ...] = ()
    name_patterns: tuple[str, ...] = ()
    subscriptions: tuple[str, ...]

    @abstractmethod
    def __init__(self, options: Any) -> None:  # noqa: ANN401 - an instance of this class's Options
        """Take the validated options."""

    @abstractmethod
    async def start(self, gatt: Gatt) -> Decoder:
        """Make the wearable send, and return the decoder of what comes on this connection.

        Notifications may come before this returns; they are kept for the decoder.

        Raises:
            RefusedCommandError: the wearable does not do what the options ask for.
            MalformedPayloadError: its answer is not of the format.
        """

    async def stop(self, gatt: Gatt) -> None:  # noqa: B027 - most stop when they are unsubscribed
        """Make the wearable stop, so that it saves its battery."""


def begins_with(head: bytes) -> Callable[[bytes], bool]:
    """Return what tells whether a notification begins with `head`."""
    return lambda payload: payload.startswith(head)


def recognises(known: type[BleFormat] | BleFormat, name: str, services: Collection[str]) -> bool:
    """Tell whether an advertisement (name, service UUIDs in lower case) is of this format."""
    return any(service in services for service in known.services) or any(
        fnmatchcase(name, pattern) for pattern in known.name_patterns
    )


def format_classes() -> Mapping[str, type[BleFormat]]:
    """Return every format that an installed package registered, by name."""
    return {entry.name: entry.load() for entry in entry_points(group=ENTRY_POINT_GROUP)}
