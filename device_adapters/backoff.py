"""The pause between attempts to reach what is away: a broker, a wearable."""

import asyncio
import logging

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Backoff:
    """The pauses between attempts to connect: each twice the last, until one succeeds.

    The first fault after a success is told as a warning, the ones that repeat it are not.

    Args:
        whom: who is to be reached, such as `wearable 'anna'`; errors may begin with it too.
    """

    def __init__(self, whom: str) -> None:
        self._whom = whom
        self._pause = FIRST_PAUSE_SECONDS

    async def wait(self, error: Exception) -> None:
        """Tell of a fault and sleep until the next attempt."""
        level = logging.WARNING if self._pause == FIRST_PAUSE_SECONDS else logging.DEBUG
        reason = str(error).removeprefix(f"{self._whom}: ")
        _log.log(level, "%s: %s; trying again", self._whom, reason)
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(pause)

    def succeeded(self) -> None:
        """Begin anew."""
        if self._pause > FIRST_PAUSE_SECONDS:
            _log.warning("%s: connected again", self._whom)
        self._pause = FIRST_PAUSE_SECONDS
