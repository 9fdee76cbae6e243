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
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.share.runtime import BoundGraph, Scores, ShareModel, pooling_masks

Partials = NDArray[np.float64]
Pasts = NDArray[np.float32]
Slots = NDArray[np.intp]
Position = TypeVar("Position", int, NDArray[np.intp])
Merge = Callable[[Partials, Partials, Partials], object]
"""Merges two partial results into a third array, which may be one of them."""

LARGEST_BATCH = 64
"""Streams to step at once; beyond it a step's arrays no longer fit a core's cache.

The graph stays bound for every batch up to it.
"""

MOST_ALONE = 1024
"""Slots whose views are kept, some 2 kB each; of more streams hardly any steps alone."""


@dataclass(frozen=True, slots=True, eq=False)
class _Alone:
    """What one slot keeps, and the graph of one stream: views, made once for many steps.

    Attributes:
        graph: of one stream.
        pasts: what is kept, where the graph reads it, and where it leaves what is to be kept.
        tail, opened, blocks: see `StreamStates`; a view for each of the run's places.
    """

    graph: BoundGraph
    pasts: list[tuple[Pasts, Pasts, Pasts]]
    tail: Partials
    opened: Partials
    blocks: list[Partials]


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
        self._blocks = blocks
        self._pooled = pooling_masks(hop, hop - tail if blocks else 0, tail)
        self._sums = layout.sums
        self._merge = _merging_maxima(self._sums) if layout.maxima else np.add
        channels = len(model.manifest.channels)
        shapes = [(channels, layout.context), *layout.kept]
        self._pasts = [np.zeros((capacity, *shape), dtype=np.float32) for shape in shapes]
        self._tail = np.zeros((capacity, layout.partial))
        """Of each stream's newest outputs: those that are not in a block."""
        self._open = np.zeros_like(self._tail)
        """The present run's blocks with the tail."""
        self._runs = np.zeros((capacity, max(1, blocks - 1), layout.partial))
        """Newest first: what is left of the suffixes of the run before, the present run's blocks.

        A suffix lies where its first block was, which is where the block goes that ends its use.
        """
        self._position = np.zeros(capacity, dtype=np.intp)
        """Where each slot's next block goes; nought ends a run, of streams that start as well."""
        self._bind(1)

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
        self._alone.cache_clear()  # what they are views of moves
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
        if len(slots) == 1:
            return self._step_alone(slots, samples)
        graph = self._graph(len(slots))
        graph.samples[:] = samples
        for own, past in zip(graph.pasts, self._pasts, strict=True):
            own[:] = past[slots]
        position = self._position[slots]
        place = slots, position
        tail, opened, block = self._tail[slots], self._open[slots], self._runs[place]
        scores = self._score(graph, tail, opened, block)
        self._tail[slots], self._open[slots], self._runs[place] = tail, opened, block
        for past, new in zip(self._pasts, graph.next_pasts, strict=True):
            past[slots] = new
        self._position[slots] = self._after(position)
        if np.count_nonzero(position) < len(slots):
            self._end_runs(slots[position == 0])
        return scores

    def _step_alone(self, slots: Slots, samples: NDArray[np.float32]) -> Scores:
        """Step one stream in place: gathering and scattering it would take a tenth of its time."""
        slot = slots.item()
        own = self._alone(slot)
        own.graph.samples[:] = samples
        for past, before, _ in own.pasts:
            before[:] = past
        position = self._position.item(slot)
        scores = self._score(own.graph, own.tail, own.opened, own.blocks[position])
        for past, _, after in own.pasts:
            past[:] = after
        self._position[slot] = self._after(position)
        if position == 0:
            self._end_runs(slots)
        return scores

    def _score(
        self, graph: BoundGraph, tail: Partials, opened: Partials, block: Partials
    ) -> Scores:
        """Score the windows that the hop ends, and add it to what is kept of their outputs."""
        merge = self._merge
        if self._blocks < 2:  # the hop and the tail before it, or a part of the hop, are the window
            graph.before[:] = tail
            scores = graph.run()
            if self._blocks:
                tail[:] = graph.tail
            return scores
        merge(opened, block, graph.before)
        scores = graph.run()
        merge(tail, graph.head, block)
        merge(opened, graph.head, opened)
        merge(opened, graph.tail, opened)
        tail[:] = graph.tail
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
        self._alone = lru_cache(maxsize=MOST_ALONE)(self._views)

    def _views(self, slot: int) -> _Alone:
        graph, at = self._graph(1), slice(slot, slot + 1)
        return _Alone(
            graph,
            [
                (past[at], before, after)
                for past, before, after in zip(
                    self._pasts, graph.pasts, graph.next_pasts, strict=True
                )
            ],
            self._tail[at],
            self._open[at],
            list(self._runs[at].swapaxes(0, 1)),
        )

    def _after(self, position: Position) -> Position:
        """Return the place of the next block in its run, or in the next run."""
        return (position - 1) % self._runs.shape[1]

    def _end_runs(self, slots: Slots) -> None:
        """Turn the blocks of finished runs into suffixes, and begin new ones."""
        if self._blocks < 2:
            return  # no run is before the hop
        runs = self._runs[slots]
        sums, maxima = runs[..., : self._sums], runs[..., self._sums :]
        np.add.accumulate(sums, axis=1, out=sums)
        np.maximum.accumulate(maxima, axis=1, out=maxima)
        self._runs[slots] = runs
        self._open[slots] = self._tail[slots]

    def _arrays(self) -> list[NDArray[Any]]:
        return [*self._pasts, self._tail, self._open, self._runs, self._position]


def _merging_maxima(sums: int) -> Merge:
    """Return what merges partial results that are so many sums, and maxima after them."""

    def merge(one: Partials, other: Partials, into: Partials) -> None:
        np.add(one[..., :sums], other[..., :sums], out=into[..., :sums])
        np.maximum(one[..., sums:], other[..., sums:], out=into[..., sums:])

    return merge
