"""Whether a stream's first samples are what its description says: units, gravity, rate, life.

A model takes whatever numbers come; in the wrong unit it gives labels all the same, and they are
nonsense. The bounds below were set by 40,000 stretches of 5 s of genuine recordings: a phone at the
waist (HAPT), a sensor at the hip (USC-HAD), a watch (WISDM 2019).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import (
    ACCELERATION,
    ANGULAR_VELOCITY,
    MAGNETIC_FIELD,
    STANDARD_GRAVITY,
    SampleBatch,
    StreamInfo,
)
from streamer.resample import LARGEST_READING, are_possible
from streamer.sensors import triaxial_sensors

CHECKED_SECONDS = 5.0
"""Several steps of a walk, many times a free fall."""

FEWEST_SAMPLES = 20
MOST_SAMPLES = 5000
"""What is kept of a stream is bounded, whatever rate it claims."""

LEAST_LEVEL = 5.0
GREATEST_LEVEL = 30.0
"""m/s2, of the median magnitude or of the mean vector, whichever is longer: genuine levels were 6.3
to 23.5."""

LEAST_STEADINESS = 0.08
"""Genuine accelerations are never all motion: their mean was at least 0.087 of their level, for
gravity mostly keeps its direction. Motion alone averages out."""

SCALE_STEADINESS = 0.4
"""Below `LEAST_LEVEL` a mean of this share of the level tells gravity in another unit, 99 of 100
genuine stretches have it, from motion alone."""

FASTEST_TURN = 20.0
"""rad/s that a tenth of the samples exceed only in deg/s: 17.0 was the most, of a watch.
Sitting still in deg/s stays below; nothing tells it then."""

RATE_TOLERANCE = 0.1
"""Clocks are within some percent, see `device_adapters.clock`; confusions are by a factor."""

FEWEST_SPACINGS = 4
"""Of messages: half of them are looked at, so that neither a late nor a lost one tells a rate."""

SMALLEST_FULL_SCALES = {
    ACCELERATION: 1.9 * STANDARD_GRAVITY,
    ANGULAR_VELOCITY: 4.2,
    MAGNETIC_FIELD: 380.0,
}
"""The smallest ranges of wearables' sensors, 2 g, 250 deg/s and 4 gauss, less a margin: readings
that stop below are not at the end of a range."""

CLIPPED_SHARE = 0.1
"""So many samples at exactly a channel's extreme were cut off; lone impacts may be."""

Values = NDArray[np.float64]


class Severity(Enum):
    """What a finding means for the labels."""

    REFUSE = "refuse"
    """They would be nonsense."""

    WARN = "warn"
    """They may be worse than they could be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What does not fit, and what to do about it on a gateway, in words."""

    severity: Severity
    told: str
    remedy: str

    @property
    def text(self) -> str:
        """Both."""
        return f"{self.told}; {self.remedy}"


class StreamCheck:
    """Gathers the first samples of a stream and judges them once.

    Args:
        info: what the stream is said to be.
        channels: the channels that the model reads; others are not judged.
        gravity: whether the model's acceleration includes gravity; without it nothing tells units.
        consecutive: whether batches follow each other, as messages do and recordings do not.
    """

    def __init__(
        self,
        info: StreamInfo,
        channels: tuple[str, ...],
        *,
        gravity: bool,
        consecutive: bool = True,
    ) -> None:
        self._info = info
        self._channels = channels
        self._gravity = gravity
        self._consecutive = consecutive
        self._needed = int(
            np.clip(round(CHECKED_SECONDS * info.rate_hz), FEWEST_SAMPLES, MOST_SAMPLES)
        )
        self._taken = 0
        self._seconds = 0.0
        """Between the first and the last sample of each batch."""
        self._batches: list[SampleBatch] = []
        self.findings: tuple[Finding, ...] | None = None
        """What was found; None until there are samples enough."""

    def push(self, batch: SampleBatch) -> int:
        """Take a batch, and return how many of its samples the check needed."""
        used = min(len(batch), self._needed - self._taken)
        self._batches.append(batch)
        self._taken += used
        self._seconds += float(np.ptp(batch.times[:used])) if used else 0.0
        # A stream that is far slower than it is said to be has not so many samples.
        slow = self._seconds >= CHECKED_SECONDS and self._taken >= FEWEST_SAMPLES
        if slow or self._taken == self._needed:
            self.findings = tuple(self._judged(len(batch) - used))
            self._batches.clear()
        return used

    def _judged(self, spare: int) -> Iterator[Finding]:
        """Judge all samples but the last `spare` ones."""
        info = self._info
        times = np.concatenate([batch.times for batch in self._batches])
        rows = np.concatenate([batch.values for batch in self._batches])
        times, rows = times[: len(times) - spare], rows[: len(rows) - spare]
        columns = [info.channels.index(name) for name in self._channels]
        units = [info.units[column] for column in columns]
        rows = rows[:, columns]
        sound = are_possible(rows).all(axis=1)
        values = (rows if sound.all() else rows[sound]).astype(np.float64)
        messages = self._batches if self._consecutive else []
        yield from _rate_findings(info.rate_hz, times, messages)
        if not len(values):
            yield Finding(
                Severity.WARN,
                f"none of its samples has a number below {LARGEST_READING:g} for each of "
                f"{', '.join(self._channels)}",
                "check the sensors and how the adapter reads them",
            )
            return
        for sensor in triaxial_sensors(self._channels):
            vectors, unit = values[:, sensor.axes], units[sensor.axes[0]]
            if unit == ANGULAR_VELOCITY:
                yield from _turn_findings(sensor.name, vectors)
            if unit == ACCELERATION and self._gravity:
                yield from _acceleration_findings(sensor.name, vectors)
        still = (values == values[0]).all(axis=0)
        yield from _dead_findings(self._channels, still)
        yield from _clipped_findings(self._channels, units, values, still)


def _acceleration_findings(sensor: str, vectors: Values) -> Iterator[Finding]:
    magnitude = _quantile(_lengths(vectors), 0.5)
    mean = float(np.linalg.norm(vectors.mean(axis=0)))
    # Who jumps falls freely most of the time: the magnitude's median is low, the mean is not. Who
    # swings an arm turns the sensor: the mean is low, the median is not.
    level = max(magnitude, mean)
    if LEAST_LEVEL <= level <= GREATEST_LEVEL and mean >= LEAST_STEADINESS * level:
        return
    told = f"the median magnitude of the acceleration is {_figure(magnitude)} m/s2"
    unit = _unit_of(level)
    if level == 0:
        looks, remedy = "reads zero all the time", "check the sensor"
    elif unit is not None and mean >= SCALE_STEADINESS * level:
        looks, remedy = f"looks like {unit}, not m/s2", "set units in the adapter's options"
    elif level <= GREATEST_LEVEL:
        looks = "looks like gravity was taken out (linear acceleration)"
        remedy = "send the acceleration with gravity"
    else:
        looks = "is in no unit of acceleration, maybe the sensor's raw counts"
        remedy = "send m/s2, or set units and scale in the adapter's options"
    yield Finding(
        Severity.REFUSE,
        f"{sensor} {looks}: {told}, with gravity it would be about 9.8",
        remedy,
    )


def _unit_of(level: float) -> str | None:
    for unit, factor in (("g", STANDARD_GRAVITY), ("mg", STANDARD_GRAVITY / 1000)):
        if LEAST_LEVEL <= level * factor <= GREATEST_LEVEL:
            return unit
    return None


def _turn_findings(sensor: str, vectors: Values) -> Iterator[Finding]:
    fast = _quantile(_lengths(vectors), 0.9)
    if fast > FASTEST_TURN:
        yield Finding(
            Severity.REFUSE,
            f"{sensor} looks like deg/s, not rad/s: a tenth of its readings are above "
            f"{_figure(fast)} rad/s, which no wearer turns at",
            "set units in the adapter's options",
        )


def _rate_findings(
    nominal_hz: float, times: Values, messages: Sequence[SampleBatch]
) -> Iterator[Finding]:
    intervals = np.diff(times)
    within = intervals[intervals > 0]
    if not len(within):
        yield Finding(
            Severity.WARN, "its samples' times stand still", "check the clock that stamps them"
        )
        return
    # Samples whose times were laid out at the nominal rate, from a message's one time, are as far
    # apart as they should be; the messages are not.
    across = np.array([(newer.end - older.end) / len(newer) for older, newer in pairwise(messages)])
    periods = [_usual(within)]
    if len(across) >= FEWEST_SPACINGS:
        periods.append(_usual(across))
    elif len(across) > 1:
        # One may span a message that was lost: so few can only tell that samples come faster.
        periods.append(min(across.max(), 1 / nominal_hz))
    rates = (1 / period for period in periods if period > 0)
    measured_hz = max(rates, key=lambda hz: abs(hz / nominal_hz - 1))
    if abs(measured_hz / nominal_hz - 1) > RATE_TOLERANCE:
        yield Finding(
            Severity.WARN,
            f"sent as {nominal_hz:g} Hz, comes at {_figure(measured_hz)} Hz",
            "set the rate that the device has, or look for where samples are lost or whether "
            "another device sends under its name",
        )


def _usual(periods: Values) -> float:
    """Return the mean of the middle half: neither gaps nor stamps that jitter in turns move it."""
    quarter = len(periods) // 4
    return float(np.sort(periods)[quarter : len(periods) - quarter].mean())


def _dead_findings(channels: tuple[str, ...], still: NDArray[np.bool_]) -> Iterator[Finding]:
    # Even a gyroscope at rest has noise.
    dead = [name for name, alike in zip(channels, still.tolist(), strict=True) if alike]
    if dead:
        yield Finding(
            Severity.WARN,
            f"{', '.join(dead)} never {'changes' if len(dead) == 1 else 'change'}",
            "check that the sensor is on and that the channels are named in the order they are "
            "sent in",
        )


def _clipped_findings(
    channels: tuple[str, ...], units: list[str], values: Values, still: NDArray[np.bool_]
) -> Iterator[Finding]:
    sizes = np.abs(values)
    extremes = sizes.max(axis=0)
    full_scales = np.array([SMALLEST_FULL_SCALES[unit] for unit in units])
    for number in np.flatnonzero((extremes >= full_scales) & ~still).tolist():
        share = float((sizes[:, number] == extremes[number]).mean())
        if share >= CLIPPED_SHARE:
            yield Finding(
                Severity.WARN,
                f"{channels[number]} stops at {_figure(float(extremes[number]))} {units[number]} "
                f"in {share:.0%} of its samples",
                "set a wider range of the sensor",
            )


def _lengths(vectors: Values) -> Values:
    lengths: Values = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths


def _quantile(values: Values, share: float) -> float:
    # Many streams may start at once: a fifth of the time of NumPy's, which interpolates.
    return float(np.sort(values)[int(share * len(values))])


def _figure(value: float) -> str:
    """Return a figure as people say it: one digit after the point, two of a small one."""
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"
