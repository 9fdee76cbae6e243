"""From the devices' own sample times to the model's even grid, across small gaps, batch by batch.

The grid is absolute: point g lies at g / rate seconds after the epoch, so that streams share it.
What comes out depends neither on how a stream was cut nor on the others in the same call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import SampleBatch
from streamer.interpolation import (
    LOST,
    REAL,
    TIME,
    VALUES,
    Bools,
    Floats,
    GridPoints,
    Indices,
    Stretches,
    grid_points,
    interpolated,
    reach,
    widening_of,
)
from streamer.slots import FIRST_SLOTS, begins, ends, grown, ramp

MAX_GAP_SECONDS = 0.1
"""Missing time that is interpolated; after more, the stream starts afresh."""

TIME_TOLERANCE_SECONDS = 1e-6
"""A gap of just the longest is none, however its samples' times were rounded."""

SHORTEST_GAP_PERIODS = 1.5
"""Samples at least so far apart have others missing between them."""

LARGEST_READING = 1e6
"""m/s2, rad/s or uT; no wearable's sensor comes near. Beyond about 1e38 float32 would overflow."""

_Entry = tuple[int, SampleBatch]
"""A batch with its slot."""


@dataclass(frozen=True, slots=True, eq=False)
class GridRuns:
    """Runs of consecutive grid points; a slot's runs come oldest first.

    Attributes:
        slots: whose each run is, [runs].
        first: index of each run's first point; point g lies at g / rate seconds since the epoch.
        lengths: number of points of each run.
        fresh: True where the stream starts, or starts again after a gap, bool [runs].
        values: of the points of all runs, one after the other, float32 [points, channels].
        observed: False where a point was interpolated across a gap, bool [points].
        lost: input samples that were lost just before each point, int64 [points].
    """

    slots: Indices
    first: Indices
    lengths: Indices
    fresh: Bools
    values: NDArray[np.float32]
    observed: Bools
    lost: NDArray[np.int64]

    @classmethod
    def none(cls, channels: int) -> "GridRuns":
        """Return no runs."""
        nobody = np.empty(0, dtype=np.intp)
        never = np.empty(0, dtype=np.bool_)
        values = np.empty((0, channels), dtype=np.float32)
        return cls(nobody, nobody, nobody, never, values, never, np.empty(0, dtype=np.int64))

    @classmethod
    def concatenated(cls, runs: Sequence["GridRuns"]) -> "GridRuns":
        """Return all these runs, at least one; a slot's must follow one another."""
        return cls(
            *(np.concatenate([getattr(run, column.name) for run in runs]) for column in fields(cls))
        )

    def each(self) -> Iterator["GridRuns"]:
        """Yield the runs one by one."""
        ends = np.cumsum(self.lengths)
        for run, (begin, end) in enumerate(zip(ends - self.lengths, ends, strict=True)):
            one, own = slice(run, run + 1), slice(int(begin), int(end))
            yield GridRuns(
                self.slots[one],
                self.first[one],
                self.lengths[one],
                self.fresh[one],
                self.values[own],
                self.observed[own],
                self.lost[own],
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """New samples, a slot's all together.

    Attributes:
        slots: whose each is, [n].
        rows: as those of `Stretches`, [n, 3 + channels].
        begins: where each slot's samples begin.
        steps: seconds since the sample before; infinite for a stream's first, [n].
    """

    slots: Indices
    rows: Floats
    begins: Indices
    steps: Floats

    @classmethod
    def of(cls, slots: Indices, rows: Floats, newest: Floats) -> "_Samples":
        """Return samples of these slots, given the time of each slot's newest earlier one."""
        first, times = begins(slots), rows[:, TIME]
        steps = np.empty(len(times))
        np.subtract(times[1:], times[:-1], out=steps[1:])
        steps[first] = times[first] - newest[slots[first]]
        return cls(slots, rows, first, steps)


class Resampler:
    """Resamples any number of streams, each by its slot.

    Args:
        rate_hz: the grid's rate.
        channels: number of channels.

    Attributes:
        out_of_order: samples rejected because they were not later than the one before.
        impossible: samples rejected for a value that is not a number, or that no sensor reads.
        untold: samples lost of which no point had told when their stream ended.
    """

    def __init__(self, rate_hz: float, channels: int) -> None:
        self._rate = rate_hz
        self._nothing = np.empty((0, VALUES + channels))
        self._none = GridRuns.none(channels)
        self._kept = [self._nothing] * FIRST_SLOTS
        self._undeclared: dict[int, int] = {}
        self._rate_in = np.ones(FIRST_SLOTS)
        self._longest = np.zeros(FIRST_SLOTS)
        self._widening = np.ones(FIRST_SLOTS)
        self._newest = np.full(FIRST_SLOTS, -np.inf)
        self._following = np.zeros(FIRST_SLOTS, dtype=np.intp)
        self._silent = np.ones(FIRST_SLOTS, dtype=np.bool_)
        self.out_of_order = 0
        self.impossible = 0
        self.untold = 0

    def start(self, slot: int, rate_hz: float) -> None:
        """Begin a new stream in a slot, which ends the one before.

        Args:
            slot: its place; room is made for it.
            rate_hz: the device's nominal rate; the samples' own times decide.
        """
        while slot >= len(self._kept):
            self._grow()
        self.end(slot)
        self._rate_in[slot] = rate_hz
        self._longest[slot] = 1 / rate_hz + MAX_GAP_SECONDS + TIME_TOLERANCE_SECONDS
        self._widening[slot] = widening_of(rate_hz, self._rate)
        self._newest[slot] = -np.inf
        self._silent[slot] = True

    def end(self, slot: int) -> None:
        """Forget a slot's stream, and count the samples lost that no point has told of."""
        self.untold += self._undeclared.pop(slot, 0) + int(self._kept[slot][:, LOST].sum())
        self._kept[slot] = self._nothing

    def push(self, slots: Sequence[int], batches: Sequence[SampleBatch]) -> GridRuns:
        """Take batches and return the grid points that they complete.

        Args:
            slots: whose each batch is.
            batches: at least one; those of a slot in the order that they came.
        """
        entries = sorted(zip(slots, batches, strict=True), key=itemgetter(0))
        samples, accepted = self._accepted(*self._gathered(entries))
        self._declare(entries, samples, accepted)
        if not len(samples.slots):
            return self._none
        gaps = self._noted_gaps(samples)
        stretches = self._stretches(samples)
        return self._emit(self._filled(stretches) if len(gaps) else stretches)

    def _grow(self) -> None:
        capacity = 2 * len(self._kept)
        self._kept += [self._nothing] * len(self._kept)
        self._rate_in = grown(self._rate_in, capacity)
        self._longest = grown(self._longest, capacity)
        self._widening = grown(self._widening, capacity)
        self._newest = grown(self._newest, capacity)
        self._following = grown(self._following, capacity)
        self._silent = grown(self._silent, capacity)

    def _gathered(self, entries: Sequence[_Entry]) -> tuple[Indices, Floats, Bools]:
        """Return the slot and the row of every sample, and whether each value is possible."""
        lengths = [len(batch) for _, batch in entries]
        slots = np.array([slot for slot, _ in entries], dtype=np.intp).repeat(lengths)
        rows = np.empty((len(slots), self._nothing.shape[1]))
        np.concatenate([batch.times for _, batch in entries], out=rows[:, TIME])
        values = np.concatenate([batch.values for _, batch in entries])
        rows[:, VALUES:] = values
        rows[:, REAL] = 1.0
        rows[:, LOST] = 0.0
        return slots, rows, are_possible(values)

    def _accepted(
        self, slots: Indices, rows: Floats, values_possible: Bools
    ) -> tuple[_Samples, Bools]:
        """Return the samples that are possible and later than the one before, and which they are.

        Args:
            slots: whose each is, [n].
            rows: as those of `Stretches`, [n, 3 + channels].
            values_possible: bool [n, channels].
        """
        times_finite = np.isfinite(rows[:, TIME])
        if values_possible.all() and times_finite.all():
            samples = _Samples.of(slots, rows, self._newest)
            if (samples.steps > 0).all():
                return samples, np.ones(len(rows), dtype=np.bool_)
        accepted = self._sifted(slots, rows, times_finite & values_possible.all(axis=1))
        return _Samples.of(slots[accepted], rows[accepted], self._newest), accepted

    def _sifted(self, slots: Indices, rows: Floats, possible: Bools) -> Bools:
        """Return which of the samples that are possible are accepted; count all others."""
        accepted = possible.copy()
        sound = _Samples.of(slots[possible], rows[possible], self._newest)
        for slot in set(sound.slots[sound.steps <= 0].tolist()):
            own = (possible & (slots == slot)).nonzero()[0]
            times = np.append(self._newest[slot], rows[own, TIME])
            accepted[own] = times[1:] > np.maximum.accumulate(times)[:-1]
        self.impossible += int((~possible).sum())
        self.out_of_order += int((possible & ~accepted).sum())
        return accepted

    def _declare(self, entries: Sequence[_Entry], samples: _Samples, accepted: Bools) -> None:
        """Note the samples lost just before each that was accepted, by what the batches say.

        What its own times show between its samples is a part of what a batch says: where sensors
        are joined it is told with the first. What is said by a batch that nothing was accepted of
        waits for the slot's next sample.
        """
        slots, lost = samples.slots, samples.rows[:, LOST]
        if self._undeclared:
            for begin in samples.begins.tolist():
                lost[begin] = self._undeclared.pop(int(slots[begin]), 0)
        start = 0
        for slot, batch in entries:
            if batch.lost:
                after = int(accepted[:start].sum())
                if after < len(slots) and slots[after] == slot:
                    between = _missing_between(batch.times, self._rate_in[slot])
                    lost[after] += max(batch.lost - between, 0)
                else:
                    self._undeclared[slot] = self._undeclared.get(slot, 0) + batch.lost
            start += len(batch)

    def _noted_gaps(self, samples: _Samples) -> Indices:
        """Return the samples before which others are missing, and note how many."""
        periods = samples.steps * self._rate_in[samples.slots]
        gaps = (periods >= SHORTEST_GAP_PERIODS).nonzero()[0]
        if len(gaps):
            missing = _missing_in(periods[gaps])
            rows = samples.rows
            rows[gaps, LOST] = np.maximum(rows[gaps, LOST], missing)
        return gaps

    def _stretches(self, samples: _Samples) -> Stretches:
        """Cut the samples at long gaps; what was kept goes before the stretches that go on."""
        slots, rows = samples.slots, samples.rows
        newest = ends(samples.begins, len(rows)) - 1
        self._newest[slots[newest]] = rows[newest, TIME]
        fresh = samples.steps > self._longest[slots]
        leads = np.zeros(len(rows), dtype=np.bool_)
        leads[samples.begins] = True
        cuts = (fresh | leads).nonzero()[0]
        slots, fresh, leads = slots[cuts], fresh[cuts], leads[cuts]
        after = ends(cuts, len(rows))
        pieces, lengths = [], []
        for slot, breaks, lead, begin, end in zip(
            *(column.tolist() for column in (slots, fresh, leads, cuts, after)), strict=True
        ):
            kept = self._kept[slot] if lead else self._nothing
            if breaks:
                rows[begin, LOST] += kept[:, LOST].sum()
                kept = self._nothing
            pieces += [kept, rows[begin:end]]
            lengths.append(len(kept) + end - begin)
        return Stretches.of(slots, fresh, np.array(lengths), np.concatenate(pieces))

    def _filled(self, stretches: Stretches) -> Stretches:
        """Put evenly spaced rows on the straight line across each short gap."""
        rows = stretches.rows
        steps = np.ones(len(rows))
        steps[:-1] = rows[1:, TIME] - rows[:-1, TIME]
        steps *= self._rate_in[stretches.slots[stretches.owner]]
        steps[stretches.ends - 1] = 1.0
        periods = np.maximum(np.rint(steps), 1).astype(np.intp)
        source = np.arange(len(rows)).repeat(periods)
        share = ramp(periods) / periods[source]
        inside = np.flatnonzero(share)
        left = source[inside]
        filled = rows[source]
        filled[inside] += share[inside, None] * (rows[left + 1] - rows[left])
        filled[inside, REAL] = 0.0
        filled[inside, LOST] = 0.0
        lengths = np.add.reduceat(periods, stretches.begins)
        return Stretches.of(stretches.slots, stretches.fresh, lengths, filled)

    def _emit(self, stretches: Stretches) -> GridRuns:
        """Return the grid points that can be told, and keep the rows that others will need."""
        slots = stretches.slots
        widening = self._widening[slots]
        needed = reach(widening)
        points = grid_points(stretches, self._following[slots], self._rate, widening, needed)
        lost = _told_lost(stretches, points)
        starts = stretches.fresh | self._silent[slots]
        told = points.counts > 0
        self._silent[slots] = starts & ~told
        self._keep(stretches, points, needed)
        return GridRuns(
            slots=slots[told],
            first=points.first[told],
            lengths=points.counts[told],
            fresh=starts[told],
            values=interpolated(stretches, points, widening),
            observed=_observed(stretches, points),
            lost=lost,
        )

    def _keep(self, stretches: Stretches, points: GridPoints, reach: Indices) -> None:
        """Keep what the next points need: of the last stretch of each slot, which comes last."""
        oldest = stretches.begins.copy()
        told = points.counts.nonzero()[0]
        newest_left = points.left[points.counts.cumsum()[told] - 1]
        oldest[told] = np.maximum(newest_left - reach[told], oldest[told])
        self._following[stretches.slots] = points.first + points.counts
        for slot, begin, end in zip(
            *(column.tolist() for column in (stretches.slots, oldest, stretches.ends)), strict=True
        ):
            self._kept[slot] = stretches.rows[begin:end].copy()


def are_possible(values: NDArray[np.float32]) -> Bools:
    """Return whether each value is a number that a sensor may have read."""
    return np.abs(values) <= LARGEST_READING


def _missing_in(periods: Floats) -> Floats:
    """Return how many samples are missing in gaps of so many periods; none before the first."""
    missing = np.rint(periods) - 1
    missing[np.isinf(missing)] = 0
    return missing


def _missing_between(times: Floats, rate_hz: float) -> int:
    """Return how many samples are missing between those of these times."""
    periods = np.diff(times[np.isfinite(times)]) * rate_hz
    return int(_missing_in(periods[periods >= SHORTEST_GAP_PERIODS]).sum())


def _observed(stretches: Stretches, points: GridPoints) -> Bools:
    """Return whether each point lies between two samples that were observed, or on one."""
    real = stretches.rows[:, REAL] > 0
    if real.all():
        return np.ones(len(points.left), dtype=np.bool_)
    right = np.where(points.aligned, points.left, points.left + 1)
    observed: Bools = real[points.left] & real[right]
    return observed


def _told_lost(stretches: Stretches, points: GridPoints) -> NDArray[np.int64]:
    """Return the samples lost just before each point, and take them out of the rows.

    What a stretch has not told of when it ends is told with the first point of the next.
    """
    rows, counts = stretches.rows, points.counts
    lost = np.zeros(len(points.owner), dtype=np.int64)
    lossy = rows[:, LOST].nonzero()[0]
    if not len(lossy):
        return lost
    starts = counts.cumsum() - counts
    owner = stretches.owner[lossy]
    place = np.maximum(points.keys[lossy] - points.first[owner], 0)
    told = place < counts[owner]
    np.add.at(lost, (starts[owner] + place)[told], rows[lossy[told], LOST].astype(np.int64))
    rows[lossy[told], LOST] = 0.0
    follows = np.setdiff1d(np.arange(len(counts)), begins(stretches.slots), assume_unique=True)
    for stretch in follows.tolist():
        untold = rows[stretches.begins[stretch - 1] : stretches.begins[stretch], LOST].sum()
        if counts[stretch]:
            lost[starts[stretch]] += int(untold)
        else:
            rows[stretches.begins[stretch], LOST] += untold
    return lost
