"""Grid points become hops: the new samples between two labels, for many streams at once.

A stream's hops are cut so that one of them ends with its first full window; where the window is no
multiple of the hop, zeros fill up the very first. What a hop tells of its window is kept in arrays
indexed by slot.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.resample import GridRuns
from streamer.slots import FIRST_SLOTS, begins, ends, grown, ramp

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
        self._observed = np.zeros((FIRST_SLOTS, window), dtype=np.bool_)
        self._lost = np.zeros((FIRST_SLOTS, window), dtype=np.int32)
        self._count = np.zeros(FIRST_SLOTS, dtype=np.intp)

    def push(self, runs: GridRuns) -> Iterator[Hops]:
        """Take new grid points, and yield the hops that they complete.

        A slot's hops come oldest first, and in a call of their own each.
        """
        starts = runs.lengths.cumsum() - runs.lengths
        turns = _turns(runs.slots)
        for turn in range(turns.max(initial=-1) + 1):
            yield from self._push(runs, starts, (turns == turn).nonzero()[0])

    def _push(self, runs: GridRuns, starts: Indices, chosen: Indices) -> Iterator[Hops]:
        """Take these runs, no two of a slot, as far as a hop at a time."""
        slots = runs.slots[chosen]
        while slots.max(initial=-1) >= len(self._count):
            self._grow()
        fresh = slots[runs.fresh[chosen]]
        self._count[fresh] = 0
        self._samples[fresh] = 0
        taken = np.zeros_like(chosen)
        while len(chosen):
            slots = runs.slots[chosen]
            filled = (self._count[slots] + self._filling) % self._hop
            more = np.minimum(self._hop - filled, runs.lengths[chosen] - taken)
            self._write(runs, slots, starts[chosen] + taken, filled, more)
            taken += more
            full = filled + more == self._hop
            if full.any():
                yield self._take(slots[full], (runs.first[chosen] + taken)[full] - self._window)
            left = taken < runs.lengths[chosen]
            chosen, taken = chosen[left], taken[left]

    def _write(
        self, runs: GridRuns, slots: Indices, starts: Indices, filled: Indices, lengths: Indices
    ) -> None:
        within = ramp(lengths)
        source = starts.repeat(lengths) + within
        owner = slots.repeat(lengths)
        self._samples[owner, filled.repeat(lengths) + within] = runs.values[source]
        position = self._count[slots].repeat(lengths) + within
        self._count[slots] += lengths
        if self._hop > self._window:  # only the last points of such a hop are seen again
            seen = position >= self._count[owner] - self._window
            owner, position, source = owner[seen], position[seen], source[seen]
        ring = position % self._window
        self._observed[owner, ring] = runs.observed[source]
        self._lost[owner, ring] = runs.lost[source]

    def _take(self, slots: Indices, first: Indices) -> Hops:
        count = self._count[slots]
        return Hops(
            slots=slots,
            samples=self._samples[slots],
            fresh=count <= self._hop - self._filling,
            complete=count >= self._window,
            first=first,
            observed=self._observed[slots].mean(axis=1),
            lost=self._lost[slots].sum(axis=1),
        )

    def _grow(self) -> None:
        capacity = 2 * len(self._count)
        self._samples = grown(self._samples, capacity)
        self._observed = grown(self._observed, capacity)
        self._lost = grown(self._lost, capacity)
        self._count = grown(self._count, capacity)


def _turns(slots: Indices) -> Indices:
    """Return for each entry how many of the same slot come before it; a slot's are together."""
    firsts = begins(slots)
    return ramp(ends(firsts, len(slots)) - firsts)
