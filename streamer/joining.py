"""Several devices' grid points become one stream: joined where they lie on the same point.

All streams are resampled to one absolute grid, so devices are joined by the points' numbers. What
is told depends on the samples alone, whatever the order in which the devices' batches come, so long
as no device falls further behind than it is waited for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamer.resample import GridRuns
from streamer.slots import ramp

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Indices = NDArray[np.intp]
Values = NDArray[np.float32]

BEFORE_ALL = np.iinfo(np.intp).min // 2
"""Earlier than every grid point, and far enough from the least integer to count back from."""


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Grid points at which a device has a sample, and those of the short gaps between them.

    Attributes:
        points: their numbers, ascending, [n].
        fresh: True where the stream starts, or starts again after a long gap, bool [n].
        values: float32 [n, channels].
        present: whether each device has a sample there, bool [n, devices].
        observed: whether it has one that was not interpolated across a gap, bool [n, devices].
        lost: samples that each device lost just before, int64 [n, devices].
    """

    points: Indices
    fresh: Bools
    values: Values
    present: Bools
    observed: Bools
    lost: Counts

    @classmethod
    def none(cls, channels: int, devices: int) -> Self:
        """Return no points."""
        never = np.empty((0, devices), dtype=np.bool_)
        return cls(
            np.empty(0, dtype=np.intp),
            np.empty(0, dtype=np.bool_),
            np.empty((0, channels), dtype=np.float32),
            never,
            never,
            np.empty((0, devices), dtype=np.int64),
        )

    def runs(self, slot: int, channels: list[int], devices: list[int]) -> GridRuns:
        """Return what a model sees that reads only these channels, of these devices."""
        begins = self.fresh.copy()
        begins[:1] = True
        starts = begins.nonzero()[0]
        return GridRuns(
            slots=np.full(len(starts), slot, dtype=np.intp),
            first=self.points[starts],
            lengths=np.diff(np.append(starts, len(self.points))),
            fresh=self.fresh[starts],
            values=self.values[:, channels],
            observed=np.logical_and.reduce(self.observed[:, devices], axis=1),
            lost=self.lost[:, devices].sum(axis=1),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """Some of one device's grid points; numbers, values, observed and lost are [n] or [n, own]."""

    numbers: Indices
    values: Values
    observed: Bools
    lost: Counts

    def of(self, chosen: slice | Bools) -> "_Points":
        return _Points(
            self.numbers[chosen], self.values[chosen], self.observed[chosen], self.lost[chosen]
        )

    def with_more(self, more: "_Points") -> "_Points":
        return _Points(
            np.concatenate([self.numbers, more.numbers]),
            np.concatenate([self.values, more.values]),
            np.concatenate([self.observed, more.observed]),
            np.concatenate([self.lost, more.lost]),
        )


class _Device:
    """What has come from one device and is not joined yet.

    Args:
        columns: where its channels are among the joined ones.
        rest: how many of its newest points make up what it is taken to read when it is missing.
    """

    def __init__(self, columns: list[int], rest: int) -> None:
        self.columns = columns
        self.following = BEFORE_ALL
        """All its points before this one have come, or never will."""
        self._rest = rest
        self._waiting = _Points(
            np.empty(0, dtype=np.intp),
            np.empty((0, len(columns)), dtype=np.float32),
            np.empty(0, dtype=np.bool_),
            np.empty(0, dtype=np.int64),
        )
        self._recent = self._waiting
        self._forgotten = BEFORE_ALL
        """Its points before this one do not count for what it reads from there on."""
        self._untold_lost = 0

    def add(self, runs: GridRuns, told: int) -> int:
        """Take its next points; return how many are late: passed by the joined stream or itself."""
        numbers = runs.first.repeat(runs.lengths) + ramp(runs.lengths)
        points = _Points(numbers, runs.values, runs.observed, runs.lost.copy())
        late = int(np.searchsorted(numbers, max(told, self.following)))
        self.following = max(self.following, int(numbers[-1]) + 1)
        self._untold_lost += int(points.lost[:late].sum())
        in_time = points.of(slice(late, None))
        if len(in_time.numbers):
            in_time.lost[0] += self._untold_lost
            self._untold_lost = 0
        self._waiting = self._waiting.with_more(in_time)
        return late

    def forget(self) -> None:
        """Let it read, when it is missing from now on, as if it had never been there."""
        self._forgotten = self.following

    def take(self, end: int) -> _Points:
        """Return, and keep no longer, the points before `end`."""
        count = int(np.searchsorted(self._waiting.numbers, end))
        taken = self._waiting.of(slice(count))
        self._waiting = self._waiting.of(slice(count, None))
        return taken

    def read(self, taken: _Points, numbers: Indices) -> Values:
        """Return what it reads at these points, given those that it has; [points, own channels].

        Where it has none: the mean of its newest points before. That is how the sensor lay, with
        gravity and without a motion that nobody saw; zero before its first that counts.
        """
        known = self._recent.with_more(taken)
        until = np.searchsorted(known.numbers, numbers, side="right")
        missing = ~np.isin(numbers, taken.numbers, assume_unique=True)
        read = np.zeros((len(numbers), len(self.columns)), dtype=np.float32)
        read[~missing] = taken.values
        forgotten = int(np.searchsorted(known.numbers, self._forgotten))
        for end in np.unique(until[missing]).tolist():
            begin = max(forgotten if end >= forgotten else 0, end - self._rest)
            if begin < end:
                mean = known.values[begin:end].mean(axis=0, dtype=np.float64)
                read[missing & (until == end)] = mean
        self._recent = known.of(slice(-self._rest, None))
        return read


class Joiner:
    """Joins the devices of one wearer.

    Args:
        columns: for each device, where its channels are among the joined ones.
        wait: points that a device may be behind the others; after that it goes without it.
        rest: points that make up what a missing device is taken to read.
        gap: points that all may miss at once; after more, the joined stream starts afresh.

    Attributes:
        late: points of each device that came too late to be joined, or again, int64 [devices].
        missing: joined points that each device had no sample for, int64 [devices].
    """

    def __init__(self, columns: Sequence[list[int]], wait: int, rest: int, gap: int) -> None:
        self._devices = [_Device(own, rest) for own in columns]
        self._wait = wait
        self._gap = gap
        self._channels = sum(map(len, columns))
        self._newest = BEFORE_ALL
        self._told = BEFORE_ALL
        self._following = BEFORE_ALL
        self.late = np.zeros(len(columns), dtype=np.int64)
        self.missing = np.zeros(len(columns), dtype=np.int64)

    def push(self, device: int, runs: GridRuns) -> Joined:
        """Take one device's next points, and return those that can now be told."""
        if not len(runs.slots):
            return self._none()
        self.late[device] += self._devices[device].add(runs, self._told)
        # By where its batch begins: while it was gathered, another's may have been too.
        self._newest = max(self._newest, int(runs.first[0]))
        complete = min(each.following for each in self._devices)
        return self._join(max(complete, self._newest - self._wait))

    def forget(self, device: int) -> None:
        """Go on without a device, as if it had never been there."""
        self._devices[device].forget()

    def flush(self) -> Joined:
        """Return all points that are left: there is nothing more to wait for."""
        return self._join(max(each.following for each in self._devices))

    def _join(self, end: int) -> Joined:
        if end <= self._told:
            return self._none()
        self._told = end
        taken = [each.take(end) for each in self._devices]
        points = np.unique(np.concatenate([own.numbers for own in taken]))
        if not len(points):
            return self._none()
        points = self._bridged(points)
        shape = len(points), len(taken)
        values = np.empty((len(points), self._channels), dtype=np.float32)
        present = np.zeros(shape, dtype=np.bool_)
        observed = np.zeros(shape, dtype=np.bool_)
        lost = np.zeros(shape, dtype=np.int64)
        for number, (device, own) in enumerate(zip(self._devices, taken, strict=True)):
            rows = np.searchsorted(points, own.numbers)
            values[:, device.columns] = device.read(own, points)
            present[rows, number] = True
            observed[rows, number] = own.observed
            lost[rows, number] = own.lost
        self.missing += (~present).sum(axis=0)
        fresh = np.diff(points, prepend=self._following - 1) != 1
        self._following = int(points[-1]) + 1
        return Joined(points, fresh, values, present, observed, lost)

    def _bridged(self, points: Indices) -> Indices:
        """Return the points with those of each short gap before one of them."""
        steps = np.diff(points, prepend=self._following - 1)
        steps[steps > self._gap + 1] = 1
        return (points - steps + 1).repeat(steps) + ramp(steps)

    def _none(self) -> Joined:
        return Joined.none(self._channels, len(self._devices))
