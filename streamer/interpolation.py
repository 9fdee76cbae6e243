"""The values of evenly spaced grid points between unevenly spaced samples, for many streams.

A windowed sinc, tabulated once for each ratio of rates. Every point's sum is taken tap after tap,
so that it depends neither on the other points nor on how many there are.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LOBES = 5
"""Half the kernel's width, in periods of the slower rate: 0.1 s of latency at 50 Hz."""

KAISER_BETA = 5.0
PHASES = 1024
"""Places between two samples at which the kernel is tabulated; the straight lines between them are
within 2e-6 of it."""

KERNEL_TABLES = 32
"""Kept at most: devices tell their rates, and a table takes 160 KB times its widening."""

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
        ends: where they end.
        owner: the stretch that each row is of, [rows].
        rows: of all stretches one after the other, float64 [rows, 3 + channels].
    """

    slots: Indices
    fresh: Bools
    begins: Indices
    ends: Indices
    owner: Indices
    rows: Floats

    @classmethod
    def of(cls, slots: Indices, fresh: Bools, lengths: Indices, rows: Floats) -> "Stretches":
        """Return stretches of so many rows each."""
        ends = lengths.cumsum()
        owner = np.arange(len(lengths)).repeat(lengths)
        return cls(slots, fresh, ends - lengths, ends, owner, rows)


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


def widening_of(rate_in: float, rate_out: float) -> float:
    """Return how much wider than the samples' spacing the kernel is; above 1 it filters too."""
    return max(1.0, rate_in / rate_out)


def reach(widening: Floats) -> Indices:
    """Return how many samples on either side of a point its kernel needs."""
    return np.ceil(LOBES * widening).astype(np.intp)


def first_grid_point(times: Floats, rate: float) -> Indices:
    """Return the first grid point at or after each time."""
    return np.ceil((times - ALIGNED_SECONDS) * rate).astype(np.intp)


def grid_points(
    stretches: Stretches, following: Indices, rate: float, widening: Floats, reach: Indices
) -> GridPoints:
    """Return the grid points of each stretch that can be told.

    Args:
        stretches: at least one, none of them without rows.
        following: the point that is next in each stretch; not looked at in fresh ones.
        rate: the grid's, Hz.
        widening: of each stretch's kernel.
        reach: that kernel's.
    """
    begins, ends = stretches.begins, stretches.ends
    times = np.ascontiguousarray(stretches.rows[:, TIME])
    keys = first_grid_point(times, rate)
    oldest, newest = keys[begins], ends - 1
    first = np.where(stretches.fresh, oldest, following)
    last = np.floor((times[newest] + ALIGNED_SECONDS) * rate).astype(np.intp)
    counts = np.maximum(last - first + 1, 0)
    starts = counts.cumsum() - counts
    owner = np.arange(len(counts)).repeat(counts)
    place = np.arange(len(owner))
    points = place + (first - starts)[owner]
    # One search for all stretches: each one's grid is moved behind that of the one before.
    low = np.minimum(oldest, first)
    spans = np.maximum(keys[newest], last) - low + 1
    moved = spans.cumsum() - spans - low
    left = np.searchsorted(keys + moved[stretches.owner], points + moved[owner], side="right") - 1
    point_times = points / rate
    aligned = np.abs(point_times - times[left]) <= ALIGNED_SECONDS
    exact = aligned & (widening == 1.0)[owner]
    waits = (~exact & (left + reach[owner] >= ends[owner])).nonzero()[0]
    if len(waits):
        waiting = owner[waits]
        np.minimum.at(counts, waiting, waits - starts[waiting])
        told = place < (starts + counts)[owner]
        owner, point_times, left = owner[told], point_times[told], left[told]
        aligned, exact = aligned[told], exact[told]
    return GridPoints(first, counts, keys, owner, point_times, left, aligned, exact)


def interpolated(stretches: Stretches, points: GridPoints, widening: Floats) -> NDArray[np.float32]:
    """Return the points' values, float32 [points, channels]."""
    # Channel by channel: the loops below run along thousands of points, not along six channels.
    values = np.ascontiguousarray(stretches.rows[:, VALUES:].T)
    result = values.take(points.left, axis=1)
    between = (~points.exact).nonzero()[0]
    widths = widening[points.owner[between]]
    for width in set(widths.tolist()):
        chosen = between[widths == width]
        result[:, chosen] = _weighted(stretches, points, values, chosen, width)
    return np.ascontiguousarray(result.T, dtype=np.float32)


def _weighted(
    stretches: Stretches, points: GridPoints, values: Floats, chosen: Indices, width: float
) -> Floats:
    left, owner = points.left[chosen], points.owner[chosen]
    oldest, newest = stretches.begins[owner], stretches.ends[owner] - 1
    times = np.ascontiguousarray(stretches.rows[:, TIME])
    step = np.maximum(times[np.minimum(left + 1, newest)] - times[left], ALIGNED_SECONDS)
    phase = np.clip((points.times[chosen] - times[left]) / step, 0.0, 1.0) * PHASES
    cell = np.minimum(phase.astype(np.intp), PHASES - 1)
    share = phase - cell
    taps, slopes = _kernel_table(width)
    half = len(taps) // 2
    total = np.zeros((len(values), len(chosen)))
    terms = np.empty_like(total)
    for tap, slope, offset in zip(taps, slopes, range(1 - half, half + 1), strict=True):
        weight = tap.take(cell) + share * slope.take(cell)
        # No row is beyond the last; a `take` that looked for one would write all of it twice.
        values.take(np.maximum(left + offset, oldest), axis=1, out=terms, mode="clip")
        terms *= weight
        total += terms
    return total


@lru_cache(maxsize=KERNEL_TABLES)
def _kernel_table(width: float) -> tuple[Floats, Floats]:
    """Return the taps at each phase, and how they change until the next; [2 x reach, PHASES]."""
    half = math.ceil(LOBES * width)
    phases = np.linspace(0.0, 1.0, PHASES + 1)
    taps = _kernel((np.arange(1 - half, half + 1) - phases[:, None]) / width)
    taps /= taps.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(taps[:-1].T), np.ascontiguousarray(np.diff(taps, axis=0).T)


def _kernel(distance: Floats) -> Floats:
    """Return the Kaiser-windowed sinc at a distance in periods of the slower rate."""
    inside = np.maximum(0.0, 1.0 - (distance / LOBES) ** 2)
    window: Floats = np.i0(KAISER_BETA * np.sqrt(inside))
    return np.sinc(distance) * np.where(np.abs(distance) < LOBES, window, 0.0)
