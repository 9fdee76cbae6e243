"""The pace at which sources without a device let their samples out."""

import asyncio


class Pacer:
    """Lets event time pass at a multiple of real time.

    Args:
        speed: event seconds for each real second; None for as fast as possible.
    """

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._origin: tuple[float, float] | None = None

    def due(self, event_time: float) -> float:
        """Return the event loop's time at which `event_time` is reached; the first call is now."""
        now = asyncio.get_running_loop().time()
        if self._origin is None:
            self._origin = (event_time, now)
        if self._speed is None:
            return now
        first_event, first_due = self._origin
        return first_due + (event_time - first_event) / self._speed

    async def wait_until(self, event_time: float) -> None:
        """Sleep until `event_time` is due; always lets other tasks run."""
        due = self.due(event_time)
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
