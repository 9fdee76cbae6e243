"""What the model keeps of every stream between hops, in arrays indexed by slot.

A window is cut, from its newest output on, into a tail and blocks of a hop each, so that every
block is the tail of one hop and the head of the next:

    ... | head  tail | head  tail | head  tail |    hops
    ...      [  block   ] [  block   ] [tail]       the window

Its partial result is that of the hop's own outputs merged with what came before. The blocks'
sliding aggregate takes a constant number of merges a hop whatever the window (van Herk 1992, Gil
and Werman 1993): with the blocks cut into runs of as many as are needed, it is a suffix of the run
before merged with a prefix of this one.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.share.runtime import BoundGraph, Scores, ShareModel, pooling_masks

Partials = NDArray[np.float64]
Slots = NDArray[np.intp]
LARGEST_BATCH = 64
"""Streams to step at once; beyond it a step's arrays no longer fit a core's cache.

The graph stays bound for every batch up to it.
"""


class StreamStates:
    """The model's memory of many streams.

    Args:
        model: the compiled model.
        hop: new samples in a step.
        capacity: slots that there is room for.
    """

    def __init__(self, model: ShareModel, hop: int, capacity: int) -> None:
        self._model = model
        layout, outputs = model.manifest.streaming, model.manifest.outputs
        blocks, tail = divmod(outputs - 1, hop)
        tail += 1
        self._hop = hop
        self._pooled = pooling_masks(hop, hop - tail if blocks else 0, tail)
        self._bind(1)
        self._sums, self._has_maxima = layout.sums, layout.maxima > 0
        self._run_length = max(blocks - 1, 0)
        self._has_blocks = blocks > 0
        channels = len(model.manifest.channels)
        shapes = [(channels, layout.context), *layout.kept]
        self._pasts = [np.zeros((capacity, *shape), dtype=np.float32) for shape in shapes]
        self._tail = np.zeros((capacity, layout.partial))
        """Of each stream's newest outputs: those that are not in a block."""
        self._open = np.zeros_like(self._tail)
        """The present run's blocks with the tail."""
        self._runs = np.zeros((capacity, self._run_length, layout.partial))
        """Newest first: what is left of the suffixes of the run before, the present run's blocks.

        A suffix lies where its first block was, which is where the block goes that ends its use.
        """
        self._position = np.zeros(capacity, dtype=np.intp)
        """Where each slot's next block goes; nought ends a run, of streams that start as well."""

    @property
    def capacity(self) -> int:
        """Slots that there is room for."""
        return len(self._position)

    @property
    def bytes_per_stream(self) -> int:
        """Memory that one stream takes."""
        return sum(int(array[:1].nbytes) for array in self._arrays())

    def grow(self, capacity: int) -> None:
        """Make room for more slots; those that are there keep what they have."""
        for array in self._arrays():
            array.resize((capacity, *array.shape[1:]), refcheck=False)

    def reset(self, slots: Slots) -> None:
        """Forget what was before: these slots' streams start, or start again."""
        if slots.size:
            for array in self._arrays():
                array[slots] = 0

    def step(self, slots: Slots, samples: NDArray[np.float32]) -> Scores:
        """Take a hop of each of these slots, each once, and score their windows.

        The scores of a slot mean something once a whole window was taken since its reset.

        Args:
            slots: [batch].
            samples: [batch, hop, channels].
        """
        graph, at = self._graph(len(slots)), _views(slots)
        graph.samples[:] = samples
        for past, own in zip(self._pasts, graph.pasts, strict=True):
            own[:] = past[at]
        place = self._place(at)
        if self._run_length:
            self._merge(self._open[at], self._runs[place], graph.before)
        else:
            graph.before[:] = self._tail[at]
        scores = graph.run()
        for past, new in zip(self._pasts, graph.next_pasts, strict=True):
            past[at] = new
        if self._run_length:
            self._runs[place] = self._merge(self._tail[at], graph.head)
            self._open[at] = self._merge(self._open[at], self._merge(graph.head, graph.tail))
        if self._has_blocks:
            self._tail[at] = graph.tail
        if self._run_length:
            self._advance(slots, at)
        return scores

    def _graph(self, batch: int) -> BoundGraph:
        """Return the graph for so many streams."""
        if batch > self._largest:
            self._bind(max(batch, 2 * self._largest))
        return self._first(batch)

    def _bind(self, largest: int) -> None:
        graph = self._model.bind(largest, self._hop)
        graph.pooled[:] = self._pooled
        self._largest = largest
        # Each size's arrays would push the others' out of the processor's cache.
        self._first = lru_cache(maxsize=LARGEST_BATCH)(graph.first)

    def _advance(self, slots: Slots, at: slice | Slots) -> None:
        """Go to the next block of each slot's run, or to the next run."""
        position = self._position[at]
        if np.count_nonzero(position) == len(slots):
            self._position[at] = position - 1
        else:
            ended = position == 0
            self._position[at] = np.where(ended, self._run_length, position) - 1
            self._end_runs(slots[ended])

    def _end_runs(self, slots: Slots) -> None:
        """Turn the blocks of finished runs into suffixes, and begin new ones."""
        at = _views(slots)
        runs = self._runs[at]
        sums, maxima = runs[..., : self._sums], runs[..., self._sums :]
        np.add.accumulate(sums, axis=1, out=sums)
        np.maximum.accumulate(maxima, axis=1, out=maxima)
        self._runs[at] = runs
        self._open[at] = self._tail[at]

    def _merge(self, one: Partials, other: Partials, into: Partials | None = None) -> Partials:
        merged = np.add(one, other, into)
        if self._has_maxima:
            maxima = merged[..., self._sums :]
            np.maximum(one[..., self._sums :], other[..., self._sums :], out=maxima)
        return merged

    def _place(self, at: slice | Slots) -> tuple[slice | Slots, int | Slots]:
        position = self._position[at]
        return at, position.item() if isinstance(at, slice) else position

    def _arrays(self) -> list[NDArray[Any]]:
        return [*self._pasts, self._tail, self._open, self._runs, self._position]


def _views(slots: Slots) -> slice | Slots:
    """Return an index for these slots: views where one slot runs alone, copies for more."""
    if len(slots) > 1:
        return slots
    slot = slots.item()
    return slice(slot, slot + 1)
