"""Grid points become hops: the new samples between two labels, for many streams at once.

A stream's hops are cut so that one of them ends with its first full window; where the window is no
multiple of the hop, zeros fill up the very first. Samples are kept in an array indexed by slot.
Points that were interpolated across a gap, or that samples were lost before, are noted one by one:
most streams have none.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.resample import GridRuns
from streamer.slots import FIRST_SLOTS, grown, ramp

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Hops:
    """A hop of each of some streams: its new samples, and the window that they end.

    Attributes:
        slots: whose each is; none twice, [hops].
        samples: float32 [hops, hop, channels].
        fresh: True for a stream's first hop, and for its first after a gap, bool [hops].
        complete: whether a whole window has come since then, bool [hops].
        first: grid index of each window's first sample, [hops].
        observed: share of each window that was not interpolated across a gap, float64 [hops].
        lost: input samples lost inside each window or just before it began, int64 [hops].
    """

    slots: Indices
    samples: NDArray[np.float32]
    fresh: NDArray[np.bool_]
    complete: NDArray[np.bool_]
    first: Indices
    observed: NDArray[np.float64]
    lost: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.slots)

    def of(self, chosen: slice | NDArray[np.bool_]) -> "Hops":
        """Return some of the hops."""
        return Hops(
            self.slots[chosen],
            self.samples[chosen],
            self.fresh[chosen],
            self.complete[chosen],
            self.first[chosen],
            self.observed[chosen],
            self.lost[chosen],
        )


class _Flaw(NamedTuple):
    """A grid point that was not observed, or that samples were lost just before."""

    point: int
    observed: bool
    lost: int


class HopBuffers:
    """The newest grid points of every stream, by slot.

    Args:
        window: samples in a window.
        hop: new samples between two windows of a stream.
        channels: number of channels.
    """

    def __init__(self, window: int, hop: int, channels: int) -> None:
        self._window = window
        self._hop = hop
        self._filling = -window % hop
        self._samples = np.zeros((FIRST_SLOTS, hop, channels), dtype=np.float32)
        self._count = np.zeros(FIRST_SLOTS, dtype=np.intp)
        self._flaws: dict[int, list[_Flaw]] = {}
        """Of each slot that has any, in their order."""

    def push(self, runs: GridRuns) -> Iterator[Hops]:
        """Take new grid points, and yield the hops that they complete.

        A slot's hops come oldest first, and in a call of their own each.
        """
        starts = runs.lengths.cumsum() - runs.lengths
        flaws = _flaws(runs, starts)
        for chosen in _turns(runs.slots):
            yield from self._push(runs, starts, flaws, chosen)

    def _push(
        self,
        runs: GridRuns,
        starts: Indices,
        flaws: Mapping[int, list[_Flaw]],
        chosen: Indices,
    ) -> Iterator[Hops]:
        """Take these runs, no two of a slot, as far as a hop at a time."""
        slots = runs.slots[chosen]
        while slots.max(initial=-1) >= len(self._count):
            self._grow()
        fresh = runs.fresh[chosen]
        if fresh.any():
            self._start(slots[fresh])
        if flaws:
            for slot, run in zip(slots.tolist(), chosen.tolist(), strict=True):
                if run in flaws:
                    self._flaws.setdefault(slot, []).extend(flaws[run])
        taken = np.zeros_like(chosen)
        while len(chosen):
            slots, lengths = runs.slots[chosen], runs.lengths[chosen]
            filled = (self._count[slots] + self._filling) % self._hop
            more = np.minimum(self._hop - filled, lengths - taken)
            self._write(slots, filled, more, runs.values, starts[chosen] + taken)
            taken += more
            full = filled + more == self._hop
            if full.any():
                yield self._take(slots[full], (runs.first[chosen] + taken)[full] - self._window)
            left = taken < lengths
            chosen, taken = chosen[left], taken[left]

    def _start(self, slots: Indices) -> None:
        self._count[slots] = 0
        self._samples[slots] = 0
        for slot in slots.tolist():
            self._flaws.pop(slot, None)

    def _write(
        self,
        slots: Indices,
        filled: Indices,
        lengths: Indices,
        values: NDArray[np.float32],
        starts: Indices,
    ) -> None:
        """Put so many values, from these starts on, behind what the slots' hops are filled with."""
        within = ramp(lengths)
        places = slots.repeat(lengths), filled.repeat(lengths) + within
        self._samples[places] = values[starts.repeat(lengths) + within]
        self._count[slots] += lengths

    def _take(self, slots: Indices, first: Indices) -> Hops:
        count = self._count[slots]
        observed, lost = self._told(slots, first)
        return Hops(
            slots=slots,
            samples=self._samples[slots],
            fresh=count <= self._hop - self._filling,
            complete=count >= self._window,
            first=first,
            observed=observed,
            lost=lost,
        )

    def _told(
        self, slots: Indices, first: Indices
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the share observed and the samples lost of each window; forget what is older."""
        observed, lost = np.ones(len(slots)), np.zeros(len(slots), dtype=np.int64)
        if not self._flaws:
            return observed, lost
        for place, (slot, begin) in enumerate(zip(slots.tolist(), first.tolist(), strict=True)):
            if flaws := self._flaws.get(slot):
                del flaws[: _before(flaws, begin)]
                inside = flaws[: _before(flaws, begin + self._window)]
                unobserved = sum(not flaw.observed for flaw in inside)
                observed[place] = (self._window - unobserved) / self._window
                lost[place] = sum(flaw.lost for flaw in inside)
                if not flaws:
                    del self._flaws[slot]
        return observed, lost

    def _grow(self) -> None:
        capacity = 2 * len(self._count)
        self._samples = grown(self._samples, capacity)
        self._count = grown(self._count, capacity)


def _flaws(runs: GridRuns, starts: Indices) -> Mapping[int, list[_Flaw]]:
    """Return the flaws of each run that has any."""
    found: defaultdict[int, list[_Flaw]] = defaultdict(list)
    places = (~runs.observed | (runs.lost > 0)).nonzero()[0]
    if len(places):
        owner = np.searchsorted(starts, places, side="right") - 1
        columns = (
            runs.first[owner] + places - starts[owner],
            runs.observed[places],
            runs.lost[places],
        )
        flaws = map(_Flaw, *(column.tolist() for column in columns))
        for run, flaw in zip(owner.tolist(), flaws, strict=True):
            found[run].append(flaw)
    return found


def _before(flaws: list[_Flaw], point: int) -> int:
    """Return how many flaws there are before a grid point."""
    return bisect_left(flaws, point, key=attrgetter("point"))


def _turns(slots: Indices) -> Iterator[Indices]:
    """Yield the places of each slot's first entry, then those of the second entries, and so on."""
    turns: list[list[int]] = []
    done: dict[int, int] = {}
    for place, slot in enumerate(slots.tolist()):
        turn = done[slot] = done.get(slot, -1) + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(place)
    for places in turns:
        yield np.array(places, dtype=np.intp)
