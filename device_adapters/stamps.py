"""From one device stamp for each packet to a device time for each sample, and to what was lost."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device_adapters.clock import LONGEST_SILENCE_SECONDS

RATE_TOLERANCE = 0.1
"""A sensor's own oscillator is this much off its nominal rate at most; more means a loss."""

LEARNED_PACKETS = 64
"""Packets over which the sample period is averaged: stamps of whole milliseconds are coarse."""

TRUSTED_PACKETS = 16
"""After so many the learned period tells a loss of one sample; before, a packet's length could
differ by the rate's own error."""


class StampSpreader:
    """Gives every sample of a packet its time, from one stamp a packet.

    The period between samples is learned from packets that follow each other without a loss, since
    a sensor's rate and the clock of its stamps are two oscillators.

    Args:
        rate_hz: the nominal rate.
        stamped: which sample of a packet the stamp is of.
    """

    def __init__(self, rate_hz: float, stamped: Literal["first", "last"]) -> None:
        self._nominal = 1.0 / rate_hz
        self._stamped = stamped
        self._period = self._nominal
        self._learned = 0
        self._previous: tuple[float, int] | None = None

    def spread(self, stamp: float, count: int) -> tuple[NDArray[np.float64], int]:
        """Return the times of `count` samples, seconds, float64 [count], and samples lost before.

        Where time goes back or leaps, the device restarted or its clock was set: nothing is lost.
        """
        period, lost = self._follow(stamp, count)
        self._previous = (stamp, count)
        steps = np.arange(count, dtype=np.float64)
        if self._stamped == "last":
            steps -= count - 1
        return stamp + steps * period, lost

    def _follow(self, stamp: float, count: int) -> tuple[float, int]:
        """Return the period within this packet, and the samples lost before it."""
        if self._previous is None:
            return self._period, 0
        elapsed = stamp - self._previous[0]
        if not 0 < elapsed <= LONGEST_SILENCE_SECONDS:
            return self._period, 0
        expected = self._previous[1] if self._stamped == "first" else count
        missing = round(elapsed / self._period) - expected
        off = abs(elapsed / expected - self._nominal)
        plausible = off <= RATE_TOLERANCE * self._nominal
        if missing > 0 and (self._learned >= TRUSTED_PACKETS or not plausible):
            return self._period, missing
        if plausible:
            self._learn(elapsed / expected)
        return (elapsed / expected if self._stamped == "last" else self._period), 0

    def _learn(self, period: float) -> None:
        self._learned = min(self._learned + 1, LEARNED_PACKETS)
        self._period += (period - self._period) / self._learned
