"""What the model keeps of every stream between hops, in arrays indexed by slot.

A window's partial result is that of its last hop merged with what came before it: some whole hops
and, where the window is no multiple of the hop, the tail of one more. The whole hops' sliding
aggregate takes a constant number of merges a hop whatever the window (van Herk 1992, Gil and
Werman 1993): with the hops cut into runs of as many as are needed, it is a suffix of the run
before merged with a prefix of this one.
"""

import numpy as np
from numpy.typing import NDArray

from streamer.share.runtime import PoolingPlan, Scores, ShareModel, nothing

Partials = NDArray[np.float64]
Slots = NDArray[np.intp]


class StreamStates:
    """The model's memory of many streams.

    Args:
        model: the compiled model.
        hop: new samples in a step.
        capacity: slots that there is room for.
    """

    def __init__(self, model: ShareModel, hop: int, capacity: int) -> None:
        self._model = model
        layout = model.manifest.streaming
        outputs = model.manifest.window - layout.receptive_field + 1
        pooled = min(hop, outputs)
        self._sums = layout.sums
        self._nothing = nothing(layout.sums, layout.maxima)
        whole_hops, tail = divmod(outputs, hop) if outputs >= hop else (0, 0)
        self._middle_hops = max(whole_hops - 1, 0)
        self._tail_delay = whole_hops if tail else 0
        self._plan = PoolingPlan.of(hop, pooled, tail or 1, outputs)
        self._state = np.zeros((capacity, layout.state), dtype=np.float32)
        self._middle = self._empty(capacity, self._middle_hops)
        self._prefix = self._empty(capacity)
        self._position = np.zeros(capacity, dtype=np.intp)
        self._tails = self._empty(capacity, self._tail_delay)
        self._tail_position = np.zeros(capacity, dtype=np.intp)

    @property
    def capacity(self) -> int:
        """Slots that there is room for."""
        return len(self._position)

    @property
    def bytes_per_stream(self) -> int:
        """Memory that one stream takes."""
        arrays = (self._state, self._middle, self._prefix, self._tails)
        return sum(int(array[0].nbytes) for array in arrays) + 2 * self._position.itemsize

    def grow(self, capacity: int) -> None:
        """Make room for more slots; those that are there keep what they have."""
        for name in ("_state", "_middle", "_prefix", "_position", "_tails", "_tail_position"):
            old = getattr(self, name)
            new = np.zeros((capacity, *old.shape[1:]), dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def reset(self, slots: Slots) -> None:
        """Forget what was before: these slots' streams start, or start again."""
        self._state[slots] = 0
        self._prefix[slots] = self._nothing
        self._position[slots] = 0
        self._tail_position[slots] = 0

    def step(self, slots: Slots, samples: NDArray[np.float32]) -> Scores:
        """Take a hop of each of these slots, each once, and score their windows.

        The scores of a slot mean something once a whole window was taken since its reset.

        Args:
            slots: [batch].
            samples: [batch, hop, channels].
        """
        before = self._before(slots)
        scores, self._state[slots], partials = self._model.run(
            samples, self._state[slots], before, self._plan
        )
        self._remember(slots, partials[:, 0], partials[:, 1])
        return scores

    def _before(self, slots: Slots) -> Partials:
        if self._middle_hops:
            before = self._middle[slots, self._position[slots]]
            self._merge(before, self._prefix[slots])
        else:
            before = np.repeat(self._nothing[None], len(slots), axis=0)
        if self._tail_delay:
            self._merge(before, self._tails[slots, self._tail_position[slots]])
        return before

    def _remember(self, slots: Slots, block: Partials, tail: Partials) -> None:
        if self._tail_delay:
            at = self._tail_position[slots]
            self._tails[slots, at] = tail
            self._tail_position[slots] = (at + 1) % self._tail_delay
        if self._middle_hops:
            at = self._position[slots]
            self._middle[slots, at] = block
            prefix = self._prefix[slots]
            self._merge(prefix, block)
            self._prefix[slots] = prefix
            self._position[slots] = at + 1
            self._begin_run(slots[at + 1 == self._middle_hops])

    def _begin_run(self, slots: Slots) -> None:
        """Turn the hops of a finished run into its suffixes."""
        if not len(slots):
            return
        run = self._middle[slots][:, ::-1]
        sums, maxima = run[..., : self._sums], run[..., self._sums :]
        np.add.accumulate(sums, axis=1, out=sums)
        np.maximum.accumulate(maxima, axis=1, out=maxima)
        self._middle[slots] = run[:, ::-1]
        self._prefix[slots] = self._nothing
        self._position[slots] = 0

    def _merge(self, into: Partials, other: Partials) -> None:
        into[..., : self._sums] += other[..., : self._sums]
        maxima = into[..., self._sums :]
        np.maximum(maxima, other[..., self._sums :], out=maxima)

    def _empty(self, capacity: int, *shape: int) -> Partials:
        return np.broadcast_to(self._nothing, (capacity, *shape, len(self._nothing))).copy()
