"""What to add to a stream's times for those of the host, which other streams and people go by."""

import math
from collections import deque

MOST_BATCHES = 512
"""So many of a stream may be taken at once; what a stream without labels keeps is bounded."""


class HostOffset:
    """One stream's offset, batch by batch: a time's is that of the batch in which it came.

    So it does not matter how many batches are taken at once.
    """

    def __init__(self) -> None:
        self._until: deque[tuple[float, float]] = deque(maxlen=MOST_BATCHES)

    def note(self, newest: float, offset_s: float) -> None:
        """Take the offset of a batch, whose newest sample is of `newest`, if that is a time."""
        if not math.isfinite(newest):
            return
        if self._until and self._until[-1][1] == offset_s:
            self._until.pop()
        self._until.append((newest, offset_s))

    def at(self, time: float) -> float:
        """Return the offset of the batch that brought a time, not before those asked for earlier.

        The newest, if none did; 0 before any batch.
        """
        while len(self._until) > 1 and self._until[0][0] < time:
            self._until.popleft()
        return self._until[0][1] if self._until else 0.0
