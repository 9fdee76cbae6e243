"""Any wearable whose notifications have a fixed layout, described in a TOML file.

A notification is a header and after it samples, each field a plain number; see docs/wearables.md.
"""

import re
import struct
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import override

from device_adapters.ble.formats.format import BleFormat, Decoder, FormatOptions, Gatt
from device_adapters.ble.formats.payload import check_length, si_values
from device_adapters.clock import CounterUnwrapper
from device_adapters.errors import FormatDescriptionError, MalformedPayloadError
from device_adapters.frames import Frame, Sensor
from device_adapters.samples import ClockSource
from device_adapters.stamps import StampSpreader
from device_adapters.units import (
    MAX_TIME_SECONDS,
    TIME_UNITS,
    UNITS,
    Unit,
    conversion,
    si_units,
)

NAME = "generic"
SIG_BASE = "0000{}-0000-1000-8000-00805f9b34fb"
"""What completes the Bluetooth SIG's 16-bit UUIDs."""

NumberType = Literal["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]
STRUCT_CODES: dict[NumberType, str] = {
    "u8": "B",
    "i8": "b",
    "u16": "H",
    "i16": "h",
    "u32": "I",
    "i32": "i",
    "u64": "Q",
    "i64": "q",
    "f32": "f",
    "f64": "d",
}
Role = Literal["skip", "counter", "time", "samples"]


def _complete_uuid(uuid: object) -> object:
    if isinstance(uuid, str):
        uuid = uuid.lower().removeprefix("0x")
        if re.fullmatch(r"[0-9a-f]{4}", uuid):
            return SIG_BASE.format(uuid)
    return uuid


def _bytes_of_hex(value: object) -> object:
    return bytes.fromhex(value) if isinstance(value, str) else value


Uuid = Annotated[
    str,
    BeforeValidator(_complete_uuid),
    Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HeaderField(_Table):
    """A number before the samples.

    Attributes:
        type: how it is stored.
        role: `counter` counts up, `time` is the device's clock, `samples` says how many follow.
        counts: what a counter counts; one of samples is that of the first in the notification.
        unit: of a time.
        stamped: which sample of the notification a time is of.
    """

    type: NumberType
    role: Role = "skip"
    counts: Literal["samples", "notifications"] = "samples"
    unit: Literal["s", "ms", "us", "ns"] = "us"
    stamped: Literal["first", "last"] = "first"

    @property
    def bits(self) -> int:
        """The number's width."""
        return int(self.type[1:])

    @model_validator(mode="after")
    def _role_fits_type(self) -> Self:
        if self.role in {"counter", "samples"} and self.type[0] != "u":
            raise ValueError(f"a {self.role} must be of an unsigned type, not {self.type!r}")
        return self


class SampleField(_Table):
    """A number of each sample.

    Attributes:
        type: how it is stored.
        channel: what it is called; without a channel it is passed over.
        unit: what a reading times `scale` is in.
        scale: what a reading is multiplied by.
    """

    type: NumberType
    channel: str | None = Field(default=None, min_length=1)
    unit: Unit | None = None
    scale: float = Field(default=1.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _channel_has_unit(self) -> Self:
        if (self.channel is None) != (self.unit is None):
            raise ValueError("a channel needs a unit, and a unit a channel")
        return self


class Command(_Table):
    """What is written to a characteristic: `value` in hexadecimal."""

    characteristic: Uuid
    value: Annotated[bytes, BeforeValidator(_bytes_of_hex)]


class WearableDescription(_Table):
    """A wearable's notifications, as a TOML file describes them.

    Attributes:
        service: UUID of a service that it advertises, for the scanner.
        names: patterns of the names that it advertises.
        characteristic: UUID of what it notifies.
        rate_hz: samples a second.
        byte_order: of all numbers.
        header: the fields before the samples.
        sample: the fields of each sample.
        start: what is written to make it send.
        stop: what is written to make it stop.
    """

    service: Uuid | None = None
    names: tuple[str, ...] = ()
    characteristic: Uuid
    rate_hz: float = Field(ge=0.1, le=10_000)
    byte_order: Literal["little", "big"] = "little"
    header: tuple[HeaderField, ...] = ()
    sample: tuple[SampleField, ...] = Field(min_length=1)
    start: tuple[Command, ...] = ()
    stop: tuple[Command, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        channels = [field.channel for field in self.sample if field.channel]
        if not channels:
            raise ValueError("sample: no field has a channel")
        for channel in channels:
            if channels.count(channel) > 1:
                raise ValueError(f"sample: channel {channel!r} is there more than once")
        roles = [field.role for field in self.header if field.role != "skip"]
        for role in roles:
            if roles.count(role) > 1:
                raise ValueError(f"header: role {role!r} is there more than once")
        return self

    @property
    def header_layout(self) -> struct.Struct:
        """The header's numbers."""
        return struct.Struct(self._order + "".join(STRUCT_CODES[f.type] for f in self.header))

    @property
    def sample_layout(self) -> np.dtype[np.void]:
        """A sample's numbers, named by their place."""
        return np.dtype(
            [
                (str(place), f"{self._order}{field.type[0]}{int(field.type[1:]) // 8}")
                for place, field in enumerate(self.sample)
            ]
        )

    @property
    def _order(self) -> str:
        return "<" if self.byte_order == "little" else ">"


def read_description(path: Path) -> WearableDescription:
    """Read a wearable's description.

    Raises:
        FormatDescriptionError: the file can't be read or does not describe one.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return WearableDescription.model_validate(tomllib.loads(text))
    except OSError as error:
        raise FormatDescriptionError(path, f"can't be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatDescriptionError(path, f"is not valid TOML: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        reason = fault["msg"].removeprefix("Value error, ")
        value = "" if fault["type"] in {"missing", "value_error"} else f" (is {fault['input']!r})"
        message = f"{place}: {reason}{value}" if place else f"{reason}{value}"
        raise FormatDescriptionError(path, message) from error


def _description_in(value: object) -> object:
    return read_description(Path(value)) if isinstance(value, str | Path) else value


class GenericOptions(FormatOptions):
    """What describes the wearable.

    Attributes:
        description: the path of the TOML file.
    """

    description: Annotated[WearableDescription, BeforeValidator(_description_in)]


class GenericFormat(BleFormat):
    """A wearable that a TOML file describes."""

    Options = GenericOptions

    def __init__(self, options: GenericOptions) -> None:
        self._description = options.description
        self.services = (self._description.service,) if self._description.service else ()
        self.name_patterns = self._description.names
        self.subscriptions = (self._description.characteristic,)

    @override
    async def start(self, gatt: Gatt) -> Decoder:
        for command in self._description.start:
            await gatt.write(command.characteristic, command.value)
        return GenericDecoder(self._description)

    @override
    async def stop(self, gatt: Gatt) -> None:
        for command in self._description.stop:
            await gatt.write(command.characteristic, command.value)


class GenericDecoder(Decoder):
    """Decodes as described; a time places the samples, else a counter, else their number."""

    def __init__(self, description: WearableDescription) -> None:
        described = [
            (place, field.channel, field.unit, field.scale)
            for place, field in enumerate(description.sample)
            if field.channel and field.unit
        ]
        units = [unit for _, _, unit, _ in described]
        self.sensors = (Sensor(tuple(channel for _, channel, _, _ in described), si_units(units)),)
        self.rate_hz = description.rate_hz
        self.conversion = conversion(units)
        self._columns = [str(place) for place, *_ in described]
        self._scale = np.array([scale * UNITS[unit][1] for _, _, unit, scale in described])
        self._header = description.header_layout
        self._sample = description.sample_layout
        roles = {field.role: (place, field) for place, field in enumerate(description.header)}
        self._count_at = roles["samples"][0] if "samples" in roles else None
        self._counter = _Counter(*roles["counter"]) if "counter" in roles else None
        self._time = _Time(*roles["time"], self.rate_hz) if "time" in roles else None
        if self._time:
            self.clock: ClockSource = "device"
        else:
            self.clock = "counter" if self._counter else "count"

    @override
    def decode(self, characteristic: str, payload: bytes) -> Sequence[Frame]:
        check_length(NAME, payload, self._header.size + self._sample.itemsize)
        header = self._header.unpack_from(payload)
        samples = self._read_samples(payload, header)
        # A signalling NaN warns where it is cast; `si_values` tells of every NaN.
        with np.errstate(invalid="ignore"):
            columns = [samples[name].astype(np.float64) for name in self._columns]
        readings = np.stack(columns, axis=1)
        values = si_values(NAME, payload, readings, self._scale)
        times, lost = self._place(payload, header, len(values))
        return (Frame(values, times, lost),)

    def _read_samples(self, payload: bytes, header: tuple[Any, ...]) -> NDArray[np.void]:
        held, rest = divmod(len(payload) - self._header.size, self._sample.itemsize)
        if self._count_at is None:
            if rest:
                raise MalformedPayloadError(NAME, f"ends {rest} bytes into a sample", payload)
            count = held
        else:
            count = header[self._count_at]
            if not 0 < count <= held:
                raise MalformedPayloadError(
                    NAME, f"says it has {count} samples, but holds {held}", payload
                )
        return np.frombuffer(payload, self._sample, count=count, offset=self._header.size)

    def _place(
        self, payload: bytes, header: tuple[Any, ...], count: int
    ) -> tuple[NDArray[np.float64] | None, int]:
        times, lost = None, 0
        if self._counter:
            lost = self._counter.lost_before(header, count)
        if self._time:
            seconds = self._time.seconds(header)
            if not abs(seconds) <= MAX_TIME_SECONDS:
                raise MalformedPayloadError(NAME, f"has time {seconds} s", payload)
            times, missing = self._time.stamps.spread(seconds, count)
            lost = lost if self._counter else missing
        return times, lost


class _Counter:
    """Reads a counter from the header."""

    def __init__(self, place: int, field: HeaderField) -> None:
        self._place = place
        self._of_samples = field.counts == "samples"
        self._unwrapper = CounterUnwrapper(field.bits)
        self._expected: int | None = None

    def lost_before(self, header: tuple[Any, ...], count: int) -> int:
        """Return how many samples were lost before these `count`; none if the counter goes back."""
        reading = self._unwrapper.unwrap(header[self._place])
        missing = 0 if self._expected is None else max(0, reading - self._expected)
        self._expected = reading + (count if self._of_samples else 1)
        return missing if self._of_samples else missing * count


class _Time:
    """Reads the device's time from the header."""

    def __init__(self, place: int, field: HeaderField, rate_hz: float) -> None:
        self._place = place
        self._unit = TIME_UNITS[field.unit]
        self._unwrapper = CounterUnwrapper(field.bits) if field.type[0] == "u" else None
        self.stamps = StampSpreader(rate_hz, field.stamped)

    def seconds(self, header: tuple[Any, ...]) -> float:
        """Return the time in seconds, without wraps."""
        reading = header[self._place]
        if self._unwrapper:
            reading = self._unwrapper.unwrap(reading)
        return float(reading * self._unit)
