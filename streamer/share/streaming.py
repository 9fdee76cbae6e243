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

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.share.runtime import BoundGraph, Scores, ShareModel, pooling_masks

Partials = NDArray[np.float64]
Slots = NDArray[np.intp]
Merge = Callable[[Partials, Partials, Partials], object]
"""Merges two partial results into a third array, which may be one of them."""

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
        self._sums = layout.sums
        self._merge = _merging_maxima(self._sums) if layout.maxima else np.add
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
        self._following = np.roll(np.arange(self._run_length), 1)
        """After each position."""

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
        scores = self._run_blocks(graph, at) if self._run_length else self._run(graph, at)
        for past, new in zip(self._pasts, graph.next_pasts, strict=True):
            past[at] = new
        return scores

    def _run(self, graph: BoundGraph, at: slice | Slots) -> Scores:
        """Score windows that are hardly longer than a hop: no run of blocks is before it."""
        graph.before[:] = self._tail[at]
        scores = graph.run()
        if self._has_blocks:
            self._tail[at] = graph.tail
        return scores

    def _run_blocks(self, graph: BoundGraph, at: slice | Slots) -> Scores:
        """Score windows of a suffix, the present run's blocks and the hop; add the hop to these."""
        merge, position = self._merge, self._position[at]
        place = at, position.item() if isinstance(at, slice) else position
        tail, opened, block = self._tail[at], self._open[at], self._runs[place]
        merge(opened, block, graph.before)
        scores = graph.run()
        merge(tail, graph.head, block)
        merge(opened, graph.head, opened)
        merge(opened, graph.tail, opened)
        if not isinstance(at, slice):
            self._runs[place], self._open[at] = block, opened
        self._tail[at] = graph.tail
        self._advance(*place)
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

    def _advance(self, at: slice | Slots, position: int | Slots) -> None:
        """Go to the next block of each slot's run, or to the next run."""
        self._position[at] = self._following[position]
        if isinstance(at, slice):
            if position == 0:
                self._end_runs(at)
        elif np.count_nonzero(position) < len(at):
            self._end_runs(at[position == 0])

    def _end_runs(self, at: slice | Slots) -> None:
        """Turn the blocks of finished runs into suffixes, and begin new ones."""
        runs = self._runs[at]
        sums, maxima = runs[..., : self._sums], runs[..., self._sums :]
        np.add.accumulate(sums, axis=1, out=sums)
        np.maximum.accumulate(maxima, axis=1, out=maxima)
        if not isinstance(at, slice):
            self._runs[at] = runs
        self._open[at] = self._tail[at]

    def _arrays(self) -> list[NDArray[Any]]:
        return [*self._pasts, self._tail, self._open, self._runs, self._position]


def _merging_maxima(sums: int) -> Merge:
    """Return what merges partial results that are so many sums, and maxima after them."""

    def merge(one: Partials, other: Partials, into: Partials) -> None:
        np.add(one[..., :sums], other[..., :sums], out=into[..., :sums])
        np.maximum(one[..., sums:], other[..., sums:], out=into[..., sums:])

    return merge


def _views(slots: Slots) -> slice | Slots:
    """Return an index for these slots: views where one slot runs alone, copies for more."""
    if len(slots) > 1:
        return slots
    slot = slots.item()
    return slice(slot, slot + 1)
