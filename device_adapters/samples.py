"""`StreamInfo` and `SampleBatch`: the one type that flows from adapters to the recogniser."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device_adapters.errors import InvalidBatchError, InvalidNameError, InvalidStreamError

STANDARD_GRAVITY = 9.80665
"""Standard acceleration of free fall in m/s2 (CGPM 1901): what wearables call 1 g."""

ACCELERATION = "m/s2"
ANGULAR_VELOCITY = "rad/s"
MAGNETIC_FIELD = "uT"
"""Not in teslas, of which the earth's field is 0.00005: readings are as large as other sensors'."""

SI_UNITS = (ACCELERATION, ANGULAR_VELOCITY, MAGNETIC_FIELD)

MAX_NAME_LENGTH = 64
"""Names become one level of an MQTT topic; longer ones are nobody's intent."""

ClockSource = Literal["device", "counter", "count", "recording"]
"""What placed the samples in time: the device's own stamps, its sample counter, the gateway's count
of samples from a device that tells neither, or a recording."""


def check_name(name: str) -> str:
    """Return `name` if it can be one level of an MQTT topic, else raise `InvalidNameError`."""
    if not name:
        raise InvalidNameError(name, "is empty")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidNameError(name, f"has {len(name)} characters")
    if not name.isprintable() or any(character in "/+#" for character in name):
        raise InvalidNameError(name, "holds a character that breaks a topic")
    return name


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a device's samples are.

    Attributes:
        device: the device's name, one level of an MQTT topic.
        channels: a name for each channel, such as `acc_x`.
        units: the unit of each channel, `m/s2` (with gravity), `rad/s` or `uT`.
        rate_hz: the nominal sample rate.
        adapter: the adapter that reads it.
        clock: what placed the samples in time.
        conversion: what the adapter did to reach SI units, such as `g to m/s2`; empty if nothing.

    Raises:
        InvalidNameError: the name would break a topic.
        InvalidStreamError: channels and units differ in number, repeat, or are not SI;
            or the rate is not a positive number.
    """

    device: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    adapter: str
    clock: ClockSource
    conversion: str = ""

    def __post_init__(self) -> None:
        check_name(self.device)
        if not self.channels or len(set(self.channels)) != len(self.channels):
            raise InvalidStreamError(
                self.device, f"channels {self.channels} must be named, each once"
            )
        if len(self.units) != len(self.channels):
            raise InvalidStreamError(
                self.device, f"{len(self.channels)} channels but {len(self.units)} units"
            )
        for channel, unit in zip(self.channels, self.units, strict=True):
            if unit not in SI_UNITS:
                raise InvalidStreamError(
                    self.device,
                    f"channel {channel!r} is in {unit!r}; it must be in {', '.join(SI_UNITS)}",
                )
        if not 0 < self.rate_hz < float("inf"):
            raise InvalidStreamError(
                self.device, f"rate {self.rate_hz} Hz is not a positive number"
            )


@dataclass(frozen=True, slots=True, eq=False)
class SampleBatch:
    """Consecutive samples of one device.

    Times are on the stream's own line: they are as far apart as the device's clock says, whenever
    packets came. Where that line lies is known ever better, and changes as clocks drift; it is told
    beside the times.

    Attributes:
        device: the device's name.
        times: when each sample was taken, seconds, float64 [n].
        values: the samples in SI units, float32 [n, channels].
        lost: samples known to be lost since the device's previous batch, before this one's first or
            where its times show a gap.
        clock_offset_s: what to add to `times` for the gateway's clock, which all devices share.
        clock_set_s: what to add besides for the time of day: how far the host's clock was set since
            the gateway began.

    Raises:
        InvalidBatchError: shapes or types do not fit, or `lost` is negative.
    """

    device: str
    times: NDArray[np.float64]
    values: NDArray[np.float32]
    lost: int = 0
    clock_offset_s: float = 0.0
    clock_set_s: float = 0.0

    def __post_init__(self) -> None:
        if self.times.dtype != np.float64 or self.values.dtype != np.float32:
            raise InvalidBatchError(
                self.device,
                f"times are {self.times.dtype} and values {self.values.dtype}; "
                "they must be float64 and float32",
            )
        if self.times.ndim != 1 or self.values.ndim != 2 or len(self.times) != len(self.values):
            raise InvalidBatchError(
                self.device,
                f"times have shape {self.times.shape} and values {self.values.shape}; "
                "they must be [n] and [n, channels]",
            )
        if self.lost < 0:
            raise InvalidBatchError(self.device, f"lost is {self.lost}; it can't be negative")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def end(self) -> float:
        """The newest sample's time."""
        return float(self.times[-1])

    @property
    def shared_times(self) -> NDArray[np.float64]:
        """The times on the gateway's clock, seconds, float64 [n]."""
        return self.times + self.clock_offset_s

    @property
    def host_offset_s(self) -> float:
        """What to add to `times` for seconds since the epoch."""
        return self.clock_offset_s + self.clock_set_s

    def part(self, start: int, stop: int) -> "SampleBatch":
        """Return some of the samples; what was lost was lost before the first."""
        return replace(
            self,
            times=self.times[start:stop],
            values=self.values[start:stop],
            lost=self.lost if start == 0 else 0,
        )
