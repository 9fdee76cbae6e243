"""Grid points become hops: the new samples between two labels, for many streams at once.

A stream's hops are cut so that one of them ends with its first full window; where the window is no
multiple of the hop, zeros fill up the very first. What a hop tells of its window is kept in arrays
that are reserved when a stream joins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.resample import GridRun

FIRST_SLOTS = 16
"""Streams that there is room for at first; the room doubles when it is used up."""


@dataclass(frozen=True, slots=True, eq=False)
class Hop:
    """The new samples of a stream since its hop before, and the window that they end.

    Attributes:
        stream: whose they are.
        slot: the stream's place in arrays.
        samples: float32 [hop, channels].
        fresh: True for a stream's first hop, and for its first after a gap.
        complete: whether a whole window has come since then.
        first: grid index of the window's first sample.
        observed: share of the window that was not interpolated across a gap.
        lost: input samples that were lost inside the window or just before it began.
    """

    stream: str
    slot: int
    samples: NDArray[np.float32]
    fresh: bool
    complete: bool
    first: int
    observed: float
    lost: int


class HopBuffers:
    """The newest samples of every stream, in arrays indexed by slot.

    Args:
        window: samples in a window.
        hop: new samples between two windows of a stream.
        channels: number of channels.
    """

    def __init__(self, window: int, hop: int, channels: int) -> None:
        self._window = window
        self._hop = hop
        self._filling = -window % hop
        self._slots: dict[str, int] = {}
        self._free = list(range(FIRST_SLOTS))
        self._samples = np.zeros((FIRST_SLOTS, hop, channels), dtype=np.float32)
        self._observed = np.zeros((FIRST_SLOTS, window), dtype=np.bool_)
        self._lost = np.zeros((FIRST_SLOTS, window), dtype=np.int32)
        self._count = np.zeros(FIRST_SLOTS, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def capacity(self) -> int:
        """Slots that there is room for."""
        return len(self._count)

    def add(self, stream: str) -> None:
        """Reserve a slot."""
        if not self._free:
            self._grow()
        self._slots[stream] = self._free.pop(0)
        self._count[self._slots[stream]] = 0

    def remove(self, stream: str) -> None:
        """Give a slot back."""
        self._free.append(self._slots.pop(stream))

    def push(self, stream: str, run: GridRun) -> list[Hop]:
        """Take new grid points and return the hops that they complete, oldest first."""
        slot = self._slots[stream]
        if run.fresh:
            self._count[slot] = 0
            self._samples[slot] = 0
        hops = []
        start = 0
        while start < len(run.values):
            filled = (int(self._count[slot]) + self._filling) % self._hop
            stop = min(start + self._hop - filled, len(run.values))
            self._write(slot, run, start, stop, filled)
            if filled + stop - start == self._hop:
                hops.append(self._take(stream, slot, run.first + stop - self._window))
            start = stop
        return hops

    def _write(self, slot: int, run: GridRun, start: int, stop: int, filled: int) -> None:
        self._samples[slot, filled : filled + stop - start] = run.values[start:stop]
        count = int(self._count[slot]) + stop - start
        self._count[slot] = count
        # Of a hop longer than the window only the last points are seen again.
        start = max(start, stop - self._window)
        ring = np.arange(count - (stop - start), count) % self._window
        self._observed[slot, ring] = run.observed[start:stop]
        self._lost[slot, ring] = run.lost[start:stop]

    def _take(self, stream: str, slot: int, first: int) -> Hop:
        count = int(self._count[slot])
        return Hop(
            stream=stream,
            slot=slot,
            samples=self._samples[slot].copy(),
            fresh=count <= self._hop - self._filling,
            complete=count >= self._window,
            first=first,
            observed=float(self._observed[slot].mean()),
            lost=int(self._lost[slot].sum()),
        )

    def _grow(self) -> None:
        slots = self.capacity
        self._samples = np.concatenate([self._samples, np.zeros_like(self._samples)])
        self._observed = np.concatenate([self._observed, np.zeros_like(self._observed)])
        self._lost = np.concatenate([self._lost, np.zeros_like(self._lost)])
        self._count = np.concatenate([self._count, np.zeros_like(self._count)])
        self._free = list(range(slots, 2 * slots))
