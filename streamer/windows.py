"""Sliding windows over many streams at once, in arrays that are reserved when a stream joins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.resample import GridRun

FIRST_SLOTS = 16
"""Streams that there is room for at first; the room doubles when it is used up."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The samples that one label speaks of.

    Attributes:
        stream: whose they are.
        values: float32 [window, channels].
        first: grid index of the first sample.
        observed: share of the samples that was not interpolated across a gap.
        lost: input samples that were lost inside the window or just before it began.
    """

    stream: str
    values: NDArray[np.float32]
    first: int
    observed: float
    lost: int


class WindowBuffers:
    """The newest `window` grid points of every stream, in one array indexed by slot.

    Args:
        window: samples in a window.
        hop: new samples between two windows of a stream.
        channels: number of channels.
    """

    def __init__(self, window: int, hop: int, channels: int) -> None:
        self._window = window
        self._hop = hop
        self._slots: dict[str, int] = {}
        self._free = list(range(FIRST_SLOTS))
        # Each ring is followed by its own copy, so that any window lies in one piece.
        self._values = np.zeros((FIRST_SLOTS, 2 * window, channels), dtype=np.float32)
        self._observed = np.zeros((FIRST_SLOTS, 2 * window), dtype=np.bool_)
        self._lost = np.zeros((FIRST_SLOTS, 2 * window), dtype=np.int64)
        self._count = np.zeros(FIRST_SLOTS, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, stream: str) -> None:
        """Reserve a slot."""
        if not self._free:
            self._grow()
        slot = self._free.pop(0)
        self._slots[stream] = slot
        self._count[slot] = 0

    def remove(self, stream: str) -> None:
        """Give a slot back."""
        self._free.append(self._slots.pop(stream))

    def push(self, stream: str, run: GridRun) -> list[Window]:
        """Take new grid points and return the windows that they complete, oldest first."""
        slot = self._slots[stream]
        if run.fresh:
            self._count[slot] = 0
        windows = []
        start = 0
        while start < len(run.values):
            stop = min(start + self._until_due(slot), len(run.values))
            self._write(slot, run, start, stop)
            if self._due(slot):
                windows.append(self._copy(stream, slot, run.first + stop - self._window))
            start = stop
        return windows

    def _until_due(self, slot: int) -> int:
        count = int(self._count[slot])
        if count < self._window:
            return self._window - count
        return self._hop - (count - self._window) % self._hop

    def _due(self, slot: int) -> bool:
        beyond = int(self._count[slot]) - self._window
        return beyond >= 0 and beyond % self._hop == 0

    def _write(self, slot: int, run: GridRun, start: int, stop: int) -> None:
        count = int(self._count[slot])
        self._count[slot] = count + stop - start
        # Of a hop longer than the window only the last points are seen again.
        start = max(start, stop - self._window)
        at = (int(self._count[slot]) - (stop - start) + np.arange(stop - start)) % self._window
        for ring in (at, at + self._window):
            self._values[slot, ring] = run.values[start:stop]
            self._observed[slot, ring] = run.observed[start:stop]
            self._lost[slot, ring] = run.lost[start:stop]

    def _copy(self, stream: str, slot: int, first: int) -> Window:
        begin = int(self._count[slot]) % self._window
        part = slice(begin, begin + self._window)
        return Window(
            stream=stream,
            values=self._values[slot, part].copy(),
            first=first,
            observed=float(self._observed[slot, part].mean()),
            lost=int(self._lost[slot, part].sum()),
        )

    def _grow(self) -> None:
        slots = len(self._count)
        self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        self._observed = np.concatenate([self._observed, np.zeros_like(self._observed)])
        self._lost = np.concatenate([self._lost, np.zeros_like(self._lost)])
        self._count = np.concatenate([self._count, np.zeros_like(self._count)])
        self._free = list(range(slots, 2 * slots))
