"""The values of evenly spaced grid points between unevenly spaced samples, for many streams.

A windowed sinc, tabulated once for each ratio of rates. Every point's sum is taken tap after tap,
so that it depends neither on the other points nor on how many there are.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0

from streamer.slots import ramp

LOBES = 5
"""Half the kernel's width, in periods of the slower rate: 0.1 s of latency at 50 Hz."""

KAISER_BETA = 5.0
PHASES = 1024
"""Places between two samples at which the kernel is tabulated; the straight lines between them are
within 2e-6 of it."""

ALIGNED_SECONDS = 1e-5
"""A sample this near a grid point is taken as it is; float64 resolves 2e-7 s in today's epoch."""

TIME, REAL, LOST = range(3)
VALUES = 3
"""The columns of a row: its time, 1 if it was observed and 0 if it fills a gap, the samples lost
just before it that no grid point has told of yet; from here on its channels."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """Samples of many streams, cut where a stream has a long gap.

    Attributes:
        slots: whose each stretch is, [stretches]; a slot's stretches follow one another.
        fresh: whether each begins after a long gap, or with its stream, bool [stretches].
        begins: where the rows of each begin, [stretches].
        rows: of all stretches one after the other, float64 [rows, 3 + channels].
    """

    slots: Indices
    fresh: Bools
    begins: Indices
    rows: Floats

    @property
    def ends(self) -> Indices:
        """Where the rows of each end."""
        return np.append(self.begins[1:], len(self.rows))

    @property
    def owner(self) -> Indices:
        """The stretch that each row is of."""
        return np.repeat(np.arange(len(self.slots)), self.ends - self.begins)


@dataclass(frozen=True, slots=True, eq=False)
class GridPoints:
    """The points that can be told: whose kernel's samples have all come.

    Attributes:
        first: the first point of each stretch, on the grid, [stretches].
        counts: how many there are of each stretch.
        keys: of each row, the first grid point that is not before it.
        owner: the stretch that each point is of, [points].
        times: seconds since the epoch.
        left: the row of the last sample that is not after each.
        aligned: whether that sample lies on the point.
        exact: whether its value is the point's.
    """

    first: Indices
    counts: Indices
    keys: Indices
    owner: Indices
    times: Floats
    left: Indices
    aligned: Bools
    exact: Bools


def widenings(rates_in: Floats, rate_out: float) -> Floats:
    """Return how much wider than the samples' spacing the kernel is; above 1 it filters too."""
    return np.maximum(1.0, rates_in / rate_out)


def reach(widening: Floats) -> Indices:
    """Return how many samples on either side of a point its kernel needs."""
    return np.ceil(LOBES * widening).astype(np.intp)


def first_grid_point(times: Floats, rate: float) -> Indices:
    """Return the first grid point at or after each time."""
    return np.ceil((times - ALIGNED_SECONDS) * rate).astype(np.intp)


def grid_points(
    stretches: Stretches, following: Indices, rate: float, widening: Floats
) -> GridPoints:
    """Return the grid points of each stretch that can be told.

    Args:
        stretches: at least one, none of them without rows.
        following: the point that is next in each stretch; not looked at in fresh ones.
        rate: the grid's, Hz.
        widening: of each stretch's kernel.
    """
    begins, ends = stretches.begins, stretches.ends
    times = np.ascontiguousarray(stretches.rows[:, TIME])
    keys = first_grid_point(times, rate)
    first = np.where(stretches.fresh, keys[begins], following)
    last = np.floor((times[ends - 1] + ALIGNED_SECONDS) * rate).astype(np.intp)
    lengths = np.maximum(last - first + 1, 0)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    within = ramp(lengths)
    points = first[owner] + within
    # One search for all stretches: each one's grid is moved behind that of the one before.
    low = np.minimum(keys[begins], first)
    spans = np.maximum(keys[ends - 1], last) - low + 1
    moved = np.cumsum(spans) - spans - low
    left = np.searchsorted(keys + moved[stretches.owner], points + moved[owner], side="right") - 1
    point_times = points / rate
    aligned = np.abs(point_times - times[left]) <= ALIGNED_SECONDS
    exact = aligned & (widening == 1.0)[owner]
    waits = np.flatnonzero(~exact & (left + reach(widening)[owner] >= ends[owner]))
    counts = lengths.copy()
    np.minimum.at(counts, owner[waits], within[waits])
    told = within < counts[owner]
    return GridPoints(
        first, counts, keys, owner[told], point_times[told], left[told], aligned[told], exact[told]
    )


def interpolated(stretches: Stretches, points: GridPoints, widening: Floats) -> NDArray[np.float32]:
    """Return the points' values, float32 [points, channels]."""
    values = np.ascontiguousarray(stretches.rows[:, VALUES:])
    result = values[points.left].astype(np.float32)
    between = np.flatnonzero(~points.exact)
    widths = widening[points.owner[between]]
    for width in np.unique(widths).tolist():
        chosen = between[widths == width]
        result[chosen] = _weighted(stretches, points, values, chosen, width)
    return result


def _weighted(
    stretches: Stretches, points: GridPoints, values: Floats, chosen: Indices, width: float
) -> Floats:
    left, owner = points.left[chosen], points.owner[chosen]
    oldest, newest = stretches.begins[owner], stretches.ends[owner] - 1
    times = stretches.rows[:, TIME]
    step = np.maximum(times[np.minimum(left + 1, newest)] - times[left], ALIGNED_SECONDS)
    phase = np.clip((points.times[chosen] - times[left]) / step, 0.0, 1.0) * PHASES
    cell = np.minimum(phase.astype(np.intp), PHASES - 1)
    taps, slopes = _kernel_table(width)
    weights = taps[cell] + (phase - cell)[:, None] * slopes[cell]
    total = np.zeros((len(chosen), values.shape[1]))
    half = weights.shape[1] // 2
    for tap, offset in enumerate(range(1 - half, half + 1)):
        total += weights[:, tap, None] * values[np.maximum(left + offset, oldest)]
    return total


@cache
def _kernel_table(width: float) -> tuple[Floats, Floats]:
    """Return the taps at each phase, and how they change until the next; [PHASES, 2 x reach]."""
    half = math.ceil(LOBES * width)
    phases = np.linspace(0.0, 1.0, PHASES + 1)
    taps = _kernel((np.arange(1 - half, half + 1) - phases[:, None]) / width)
    taps /= taps.sum(axis=1, keepdims=True)
    return taps[:-1], np.diff(taps, axis=0)


def _kernel(distance: Floats) -> Floats:
    """Return the Kaiser-windowed sinc at a distance in periods of the slower rate."""
    inside = np.maximum(0.0, 1.0 - (distance / LOBES) ** 2)
    window: Floats = i0(KAISER_BETA * np.sqrt(inside))
    return np.sinc(distance) * np.where(np.abs(distance) < LOBES, window, 0.0)
