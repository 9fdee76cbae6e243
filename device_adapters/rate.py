"""How fast samples really come."""

from collections import deque

WINDOW_SECONDS = 10.0
"""Long enough to even out the bursts of a radio link."""


class RateMeter:
    """Measures samples a second over the last `WINDOW_SECONDS`; times are of one's own choice."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, int]] = deque()
        self._samples = 0

    def add(self, now: float, samples: int) -> None:
        """Count samples that came at `now`, seconds."""
        self._arrivals.append((now, samples))
        self._samples += samples
        self._forget(now)

    def rate_hz(self, now: float) -> float:
        """Return the rate; 0 while there are not two arrivals to tell it from."""
        self._forget(now)
        if len(self._arrivals) < 2:
            return 0.0
        first, first_samples = self._arrivals[0]
        last, _ = self._arrivals[-1]
        # The first arrival's samples were taken before it.
        return (self._samples - first_samples) / (last - first) if last > first else 0.0

    def _forget(self, now: float) -> None:
        while self._arrivals and self._arrivals[0][0] < now - WINDOW_SECONDS:
            self._samples -= self._arrivals.popleft()[1]
