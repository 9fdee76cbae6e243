"""What to add to a stream's times for those of the host, which other streams and people go by."""

from collections import deque

KEPT_SECONDS = 10.0
"""A window is told at most so long after the batch that its last sample was in."""


class HostOffset:
    """One stream's offset, batch by batch: a time's is that of the batch in which it came.

    So it does not matter how many batches are taken at once.
    """

    def __init__(self) -> None:
        self._until: deque[tuple[float, float]] = deque()

    def note(self, newest: float, offset_s: float) -> None:
        """Take the offset of a batch, whose newest sample is of `newest`."""
        if self._until and self._until[-1][1] == offset_s:
            self._until.pop()
        self._until.append((newest, offset_s))
        while self._until[0][0] < newest - KEPT_SECONDS:
            self._until.popleft()

    def at(self, time: float) -> float:
        """Return the offset of the batch that brought a time, or else the newest; 0 before any."""
        offset = 0.0
        for newest, offset in self._until:  # noqa: B007 - the last one serves if none is late enough
            if newest >= time:
                break
        return offset
