"""From a device's own sample times to the model's even grid, across small gaps, batch by batch.

The grid is absolute: point g lies at g / rate seconds after the epoch, so that streams share it.
Between samples the value is a windowed-sinc interpolation, which is the anti-alias filter as well
when the device is faster than the model. What comes out never depends on how the stream was cut.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0

from device_adapters.samples import SampleBatch

MAX_GAP_SECONDS = 0.1
"""Missing time that is interpolated; after more, the stream starts afresh."""

LOBES = 5
"""Half the kernel's width, in periods of the slower rate: 0.1 s of latency at 50 Hz."""

KAISER_BETA = 5.0
ALIGNED_SECONDS = 1e-5
"""A sample this near a grid point is taken as it is; float64 resolves 2e-7 s in today's epoch."""


@dataclass(frozen=True, slots=True, eq=False)
class GridRun:
    """Consecutive grid points.

    Attributes:
        first: index of the first point; point g lies at g / rate seconds since the epoch.
        values: float32 [n, channels].
        observed: False where a point was interpolated across a gap, bool [n].
        lost: input samples that were lost just before each point, int64 [n].
        fresh: True if the stream starts here, or again after a gap.
    """

    first: int
    values: NDArray[np.float32]
    observed: NDArray[np.bool_]
    lost: NDArray[np.int64]
    fresh: bool


@dataclass(frozen=True, slots=True)
class ResamplerStatistics:
    """Samples that were no use: not later than the one before, or not finite."""

    out_of_order: int
    not_finite: int


class Resampler:
    """Resamples one stream.

    Args:
        rate_in_hz: the device's nominal rate; the samples' own times decide.
        rate_out_hz: the grid's rate.
        channels: number of channels.
    """

    def __init__(self, rate_in_hz: float, rate_out_hz: float, channels: int) -> None:
        self._rate_in = rate_in_hz
        self._rate_out = rate_out_hz
        self._channels = channels
        self._stretch = max(1.0, rate_in_hz / rate_out_hz)
        self._reach = math.ceil(LOBES * self._stretch)
        self._offsets = np.arange(1 - self._reach, self._reach + 1)
        self._out_of_order = 0
        self._not_finite = 0
        self._newest = -math.inf
        self._pending_lost = 0
        self._lost: dict[int, int] = {}
        self._restart()

    def statistics(self) -> ResamplerStatistics:
        """Return the counts of rejected samples."""
        return ResamplerStatistics(self._out_of_order, self._not_finite)

    def push(self, batch: SampleBatch) -> list[GridRun]:
        """Take a batch and return the grid points that it completes, a run for each stretch."""
        times, values = self._accepted(batch.times, batch.values)
        if not len(times):
            self._pending_lost += batch.lost
            return []
        before = np.concatenate([[self._newest], times[:-1]])
        missing = self._missing(times - before)
        missing[0] = max(missing[0], batch.lost + self._pending_lost)
        self._pending_lost = 0
        self._newest = float(times[-1])
        long = np.flatnonzero(times - before - 1 / self._rate_in > MAX_GAP_SECONDS + 1e-6)
        edges = [0, *(edge for edge in long.tolist() if edge), len(times)]
        runs = []
        for begin, end in pairwise(edges):
            if begin in long:
                self._restart()
            part = slice(begin, end)
            run = self._extend(times[part], values[part], missing[part])
            if run is not None:
                runs.append(run)
        return runs

    def _restart(self) -> None:
        self._times: NDArray[np.float64] = np.empty(0)
        self._values: NDArray[np.float64] = np.empty((0, self._channels))
        self._real: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self._next: int | None = None
        self._fresh = True

    def _accepted(
        self, times: NDArray[np.float64], values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        finite = np.isfinite(times) & np.isfinite(values).all(axis=1)
        self._not_finite += len(times) - int(finite.sum())
        times, values = times[finite], values[finite]
        if not len(times):
            return times, values
        before = np.maximum.accumulate(np.concatenate([[self._newest], times[:-1]]))
        later = times > before
        self._out_of_order += len(times) - int(later.sum())
        return times[later], values[later]

    def _missing(self, steps: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return how many samples should have come in each step; none before the very first."""
        periods = np.where(np.isfinite(steps), steps * self._rate_in, 1.0)
        return np.maximum(np.rint(periods).astype(np.int64) - 1, 0)

    def _extend(
        self, times: NDArray[np.float64], values: NDArray[np.float32], missing: NDArray[np.int64]
    ) -> GridRun | None:
        if self._next is None:
            self._next = self._grid_index(float(times[0]))
            self._lost = {self._next: sum(self._lost.values())}
        for sample in np.flatnonzero(missing).tolist():
            point = self._grid_index(float(times[sample]))
            self._lost[point] = self._lost.get(point, 0) + int(missing[sample])
        start = len(self._times)
        times = np.concatenate([self._times[-1:], times])
        wide = np.concatenate([self._values[-1:], values.astype(np.float64)])
        self._append(*_filled(times, wide, self._rate_in), skip=min(start, 1))
        return self._interpolate()

    def _append(
        self,
        times: NDArray[np.float64],
        values: NDArray[np.float64],
        real: NDArray[np.bool_],
        skip: int,
    ) -> None:
        self._times = np.concatenate([self._times, times[skip:]])
        self._values = np.concatenate([self._values, values[skip:]])
        self._real = np.concatenate([self._real, real[skip:]])

    def _grid_index(self, time: float) -> int:
        """Return the first grid point at or after `time`."""
        return math.ceil((time - ALIGNED_SECONDS) * self._rate_out)

    def _interpolate(self) -> GridRun | None:
        first = self._next or 0
        last = math.floor((self._times[-1] + ALIGNED_SECONDS) * self._rate_out)
        points = np.arange(first, last + 1)
        times = points / self._rate_out
        left = np.searchsorted(self._times, times + ALIGNED_SECONDS, side="right") - 1
        aligned = np.abs(times - self._times[left]) <= ALIGNED_SECONDS
        exact = aligned & (self._stretch == 1.0)
        ready = exact | (left + self._reach < len(self._times))
        count = len(points) if ready.all() else int(np.argmin(ready))
        if not count:
            return None
        left, exact = left[:count], exact[:count]
        right = np.where(aligned[:count], left, left + 1)
        run = GridRun(
            first=first,
            values=self._at(times[:count], left, exact),
            observed=self._real[left] & self._real[right],
            lost=np.array([self._lost.pop(point, 0) for point in range(first, first + count)]),
            fresh=self._fresh,
        )
        self._fresh = False
        self._next = first + count
        self._forget(int(left[-1]))
        return run

    def _at(
        self, times: NDArray[np.float64], left: NDArray[np.intp], exact: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        result = self._values[left].astype(np.float32)
        between = np.flatnonzero(~exact)
        if not len(between):
            return result
        left = left[between]
        right = np.minimum(left + 1, len(self._times) - 1)
        step = np.maximum(self._times[right] - self._times[left], ALIGNED_SECONDS)
        fraction = (times[between] - self._times[left]) / step
        weights = _kernel((self._offsets - fraction[:, None]) / self._stretch)
        weights /= weights.sum(axis=1, keepdims=True)
        total = np.zeros((len(between), self._channels))
        # One tap after the other: a sum's order must not depend on how many points there are.
        for tap, offset in enumerate(self._offsets.tolist()):
            total += weights[:, tap, None] * self._values[np.maximum(left + offset, 0)]
        result[between] = total
        return result

    def _forget(self, left: int) -> None:
        old = max(0, left - self._reach)
        self._times, self._values = self._times[old:], self._values[old:]
        self._real = self._real[old:]


def _filled(
    times: NDArray[np.float64], values: NDArray[np.float64], rate: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Put evenly spaced samples on the straight line across each gap; also tell which are real."""
    periods = np.maximum(np.rint(np.diff(times) * rate).astype(np.int64), 1)
    if (periods == 1).all():
        return times, values, np.ones(len(times), dtype=np.bool_)
    real_at = np.concatenate([[0], np.cumsum(periods)])
    step_of = np.repeat(np.arange(len(periods)), periods)
    share = (np.arange(real_at[-1]) - real_at[step_of]) / periods[step_of]
    real = np.zeros(real_at[-1] + 1, dtype=np.bool_)
    real[real_at] = True
    filled_times = times[step_of] + share * np.diff(times)[step_of]
    filled = values[step_of] + share[:, None] * np.diff(values, axis=0)[step_of]
    return np.append(filled_times, times[-1]), np.concatenate([filled, values[-1:]]), real


def _kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Kaiser-windowed sinc at a distance in periods of the slower rate."""
    inside = np.maximum(0.0, 1.0 - (distance / LOBES) ** 2)
    window: NDArray[np.float64] = i0(KAISER_BETA * np.sqrt(inside))
    return np.sinc(distance) * np.where(np.abs(distance) < LOBES, window, 0.0)
