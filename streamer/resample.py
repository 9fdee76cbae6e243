"""From the devices' own sample times to the model's even grid, across small gaps, batch by batch.

The grid is absolute: point g lies at g / rate seconds after the epoch, so that streams share it.
What comes out depends neither on how a stream was cut nor on the others in the same call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

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
    widenings,
)
from streamer.slots import FIRST_SLOTS, begins, ends, grown, ramp

MAX_GAP_SECONDS = 0.1
"""Missing time that is interpolated; after more, the stream starts afresh."""


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
        times: [n].
        values: [n, channels].
        begins: where each slot's samples begin.
    """

    slots: Indices
    times: Floats
    values: NDArray[np.float32]
    begins: Indices

    @classmethod
    def of(cls, slots: Indices, times: Floats, values: NDArray[np.float32]) -> "_Samples":
        return cls(slots, times, values, begins(slots))

    def where(self, chosen: Bools) -> "_Samples":
        if chosen.all():
            return self
        return _Samples.of(self.slots[chosen], self.times[chosen], self.values[chosen])

    def before(self, newest: Floats) -> Floats:
        """Return the time of the sample before each, given the newest earlier one of each slot."""
        before = np.empty_like(self.times)
        before[1:] = self.times[:-1]
        before[self.begins] = newest[self.slots[self.begins]]
        return before


class Resampler:
    """Resamples any number of streams, each by its slot.

    Args:
        rate_hz: the grid's rate.
        channels: number of channels.

    Attributes:
        out_of_order: samples of each slot that were not later than the one before, int64 [slots].
        not_finite: samples of each slot in which something was not a number, int64 [slots].
    """

    def __init__(self, rate_hz: float, channels: int) -> None:
        self._rate = rate_hz
        self._nothing = np.empty((0, VALUES + channels))
        self._none = GridRuns.none(channels)
        self._kept = [self._nothing] * FIRST_SLOTS
        self._rate_in = np.ones(FIRST_SLOTS)
        self._newest = np.full(FIRST_SLOTS, -np.inf)
        self._following = np.zeros(FIRST_SLOTS, dtype=np.intp)
        self._silent = np.ones(FIRST_SLOTS, dtype=np.bool_)
        self._undeclared = np.zeros(FIRST_SLOTS, dtype=np.int64)
        self.out_of_order = np.zeros(FIRST_SLOTS, dtype=np.int64)
        self.not_finite = np.zeros(FIRST_SLOTS, dtype=np.int64)

    def start(self, slot: int, rate_hz: float) -> None:
        """Begin a new stream in a slot.

        Args:
            slot: its place; room is made for it.
            rate_hz: the device's nominal rate; the samples' own times decide.
        """
        while slot >= len(self._kept):
            self._grow()
        self._kept[slot] = self._nothing
        self._rate_in[slot] = rate_hz
        self._newest[slot] = -np.inf
        self._silent[slot] = True
        for counts in (self._undeclared, self.out_of_order, self.not_finite):
            counts[slot] = 0

    def push(self, slots: Sequence[int], batches: Sequence[SampleBatch]) -> GridRuns:
        """Take batches and return the grid points that they complete.

        Args:
            slots: whose each batch is.
            batches: at least one; those of a slot in the order that they came.
        """
        order = np.argsort(slots, kind="stable")
        owners = np.asarray(slots, dtype=np.intp)[order]
        ordered = [batches[number] for number in order.tolist()]
        samples = _Samples.of(
            owners.repeat([len(batch) for batch in ordered]),
            np.concatenate([batch.times for batch in ordered]),
            np.concatenate([batch.values for batch in ordered]),
        )
        accepted = self._accepted(samples)
        kept = samples.where(accepted)
        lost = self._declared_lost(kept, np.flatnonzero(accepted), owners, ordered)
        if not accepted.any():
            return self._none
        return self._emit(self._filled(self._stretches(kept, lost)))

    def _grow(self) -> None:
        capacity = 2 * len(self._kept)
        self._kept += [self._nothing] * len(self._kept)
        self._rate_in = grown(self._rate_in, capacity)
        self._newest = grown(self._newest, capacity)
        self._following = grown(self._following, capacity)
        self._silent = grown(self._silent, capacity)
        self._undeclared = grown(self._undeclared, capacity)
        self.out_of_order = grown(self.out_of_order, capacity)
        self.not_finite = grown(self.not_finite, capacity)

    def _accepted(self, samples: _Samples) -> Bools:
        """Return which samples are numbers and later than the one before; count the others."""
        accepted: Bools = np.isfinite(samples.times)
        if not np.isfinite(samples.values).all():
            accepted &= np.isfinite(samples.values).all(axis=1)
        finite = samples.where(accepted)
        later = finite.times > finite.before(self._newest)
        if accepted.all() and later.all():
            return accepted
        np.add.at(self.not_finite, samples.slots[~accepted], 1)
        for slot in np.unique(finite.slots[~later]).tolist():
            own = finite.slots == slot
            times = np.append(self._newest[slot], finite.times[own])
            later[own] = times[1:] > np.maximum.accumulate(times)[:-1]
        np.add.at(self.out_of_order, finite.slots[~later], 1)
        accepted[accepted] = later
        return accepted

    def _declared_lost(
        self, kept: _Samples, places: Indices, owners: Indices, batches: Sequence[SampleBatch]
    ) -> NDArray[np.int64]:
        """Return the samples lost just before each that was kept, by what the batches say.

        What is said by a batch that nothing was kept of waits for the slot's next sample.
        """
        lost = np.zeros(len(places), dtype=np.int64)
        present = kept.slots[kept.begins]
        lost[kept.begins] = self._undeclared[present]
        self._undeclared[present] = 0
        start = 0
        for owner, batch in zip(owners.tolist(), batches, strict=True):
            if batch.lost:
                after = int(np.searchsorted(places, start))
                if after < len(places) and kept.slots[after] == owner:
                    lost[after] += batch.lost
                else:
                    self._undeclared[owner] += batch.lost
            start += len(batch)
        return lost

    def _stretches(self, samples: _Samples, declared_lost: NDArray[np.int64]) -> Stretches:
        """Cut the samples at long gaps; what was kept goes before the stretches that go on."""
        rates = self._rate_in[samples.slots]
        steps = samples.times - samples.before(self._newest)
        missing = np.rint(np.where(np.isfinite(steps), steps * rates, 1.0)) - 1
        fresh = steps - 1 / rates > MAX_GAP_SECONDS + 1e-6
        newest = ends(samples.begins, len(steps)) - 1
        self._newest[samples.slots[newest]] = samples.times[newest]

        rows = np.empty((len(steps), self._nothing.shape[1]))
        rows[:, TIME] = samples.times
        rows[:, REAL] = 1.0
        rows[:, LOST] = np.maximum(missing, declared_lost)
        rows[:, VALUES:] = samples.values
        leads = np.zeros(len(steps), dtype=np.bool_)
        leads[samples.begins] = True
        cuts = (fresh | leads).nonzero()[0]
        slots, fresh, leads = samples.slots[cuts], fresh[cuts], leads[cuts]
        for slot, cut in zip(
            slots[fresh & leads].tolist(), cuts[fresh & leads].tolist(), strict=True
        ):
            rows[cut, LOST] += self._kept[slot][:, LOST].sum()
            self._kept[slot] = self._nothing
        before = [
            self._kept[slot] if leads else self._nothing
            for slot, leads in zip(slots.tolist(), leads.tolist(), strict=True)
        ]
        bounds = zip(cuts.tolist(), ends(cuts, len(rows)).tolist(), strict=True)
        after = [rows[begin:end] for begin, end in bounds]
        return _joined(slots, fresh, before, after)

    def _filled(self, stretches: Stretches) -> Stretches:
        """Put evenly spaced rows on the straight line across each short gap."""
        rows = stretches.rows
        steps = np.ones(len(rows))
        steps[:-1] = rows[1:, TIME] - rows[:-1, TIME]
        steps *= self._rate_in[stretches.slots[stretches.owner]]
        steps[stretches.ends - 1] = 1.0
        periods = np.maximum(np.rint(steps), 1).astype(np.intp)
        if (periods == 1).all():
            return stretches
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
        widening = widenings(self._rate_in[slots], self._rate)
        points = grid_points(stretches, self._following[slots], self._rate, widening)
        lost = _told_lost(stretches, points)
        left, right = points.left, np.where(points.aligned, points.left, points.left + 1)
        real = stretches.rows[:, REAL]
        starts = stretches.fresh | self._silent[slots]
        told = points.counts > 0
        self._keep(stretches, points, reach(widening), starts & ~told)
        return GridRuns(
            slots=slots[told],
            first=points.first[told],
            lengths=points.counts[told],
            fresh=starts[told],
            values=interpolated(stretches, points, widening),
            observed=(real[left] > 0) & (real[right] > 0),
            lost=lost,
        )

    def _keep(
        self, stretches: Stretches, points: GridPoints, reach: Indices, silent: Bools
    ) -> None:
        slots, oldest = stretches.slots, stretches.begins.copy()
        told = points.counts.nonzero()[0]
        newest_left = points.left[points.counts.cumsum()[told] - 1]
        oldest[told] = np.maximum(newest_left - reach[told], oldest[told])
        last = ends(begins(slots), len(slots)) - 1
        self._following[slots[last]] = (points.first + points.counts)[last]
        self._silent[slots[last]] = silent[last]
        for slot, begin, end in zip(
            slots[last].tolist(), oldest[last].tolist(), stretches.ends[last].tolist(), strict=True
        ):
            self._kept[slot] = stretches.rows[begin:end].copy()


def _joined(slots: Indices, fresh: Bools, before: list[Floats], after: list[Floats]) -> Stretches:
    lengths = np.array(
        [len(old) + len(new) for old, new in zip(before, after, strict=True)], dtype=np.intp
    )
    pieces = [piece for pair in zip(before, after, strict=True) for piece in pair]
    return Stretches.of(slots, fresh, lengths, np.concatenate(pieces))


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
