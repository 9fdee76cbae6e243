"""Sensors of one device that send apart become one stream."""

import numpy as np
from numpy.typing import NDArray

MAX_WAIT_SECONDS = 4.0
"""How far one sensor may run ahead of another: wearables send up to 1.1 s in one notification."""

MAX_WAITING_SAMPLES = 4096
"""No sensor takes so many in that time; a device whose time crawls must not fill the memory."""

MAX_GAP_PERIODS = 2.5
"""Between samples further apart than this nothing is interpolated: one was lost."""


class Merger:
    """Joins sensors on a common clock: the first sets the times, the others are interpolated.

    Interpolation is linear and only between neighbours. Samples of the first sensor for which
    another one has none are dropped and counted.

    Args:
        widths: the number of channels of each sensor, two sensors or more.
        rate_hz: the nominal rate of all; those but the first may be faster.
    """

    def __init__(self, widths: tuple[int, ...], rate_hz: float) -> None:
        self._widths = widths
        self.set_rate(rate_hz)
        self._unpaired = 0
        self._lost = 0
        """What no sample has told of yet."""
        self._lost_before: NDArray[np.int64]
        """For each sample of the first sensor that waits."""
        self._clear()

    @property
    def unpaired(self) -> int:
        """Samples of the first sensor that were dropped for want of the others'."""
        return self._unpaired

    @property
    def untold_lost(self) -> int:
        """Samples that are lost, of which no sample has told yet."""
        return self._lost

    def push(
        self, sensor: int, times: NDArray[np.float64], values: NDArray[np.float32], lost: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], int] | None:
        """Take in samples of one sensor; return those that are complete now, and lost with them.

        What was lost is told with those that come after it, and may lie between them.

        Args:
            sensor: which one.
            times: on the clock that all share, seconds, float64 [n], increasing, n > 0.
            values: float32 [n, channels of the sensor].
            lost: samples lost before these; only the first sensor's count, the others' show as
                samples of the first that find no pair.
        """
        waiting = self._times[sensor]
        if len(waiting) and (times[0] <= waiting[-1] or len(waiting) > MAX_WAITING_SAMPLES):
            self.restart()
        self._times[sensor] = np.concatenate([self._times[sensor], times])
        self._values[sensor] = np.concatenate([self._values[sensor], values])
        if sensor == 0:
            before = np.zeros(len(times), np.int64)
            before[0] = lost
            self._lost_before = np.concatenate([self._lost_before, before])
        until = min(float(own[-1]) if len(own) else -np.inf for own in self._times)
        newest = max(float(own[-1]) for own in self._times if len(own))
        # A sensor that fell silent must not hold the others back for ever.
        return self._take(max(until, newest - MAX_WAIT_SECONDS))

    def set_rate(self, rate_hz: float) -> None:
        """Change the nominal rate."""
        self._max_gap = MAX_GAP_PERIODS / rate_hz

    def restart(self) -> None:
        """Drop what waits: the clock begins anew."""
        waiting = len(self._times[0])
        self._unpaired += waiting
        self._lost += waiting + int(self._lost_before.sum())
        self._clear()

    def _clear(self) -> None:
        self._times = [np.empty(0) for _ in self._widths]
        self._values = [np.empty((0, width), np.float32) for width in self._widths]
        self._lost_before = np.empty(0, np.int64)

    def _take(self, until: float) -> tuple[NDArray[np.float64], NDArray[np.float32], int] | None:
        ready = int(np.searchsorted(self._times[0], until, side="right"))
        times = self._times[0][:ready]
        columns = [self._values[0][:ready]]
        paired = np.ones(ready, np.bool_)
        for own, values in zip(self._times[1:], self._values[1:], strict=True):
            interpolated, found = self._at(times, own, values)
            columns.append(interpolated)
            paired &= found
        # Of each sample what was lost just before it, or with it.
        missing = self._lost_before[:ready] + ~paired
        self._forget(ready, until)
        self._unpaired += ready - int(paired.sum())
        if not paired.any():
            self._lost += int(missing.sum())
            return None
        told = int(paired.nonzero()[0][-1]) + 1
        lost = self._lost + int(missing[:told].sum())
        self._lost = int(missing[told:].sum())
        return times[paired], np.concatenate(columns, axis=1)[paired], lost

    def _at(
        self, times: NDArray[np.float64], own: NDArray[np.float64], values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return a sensor's values at `times`, and where it has neighbours to interpolate."""
        if len(own) < 2:
            return np.zeros((len(times), values.shape[1]), np.float32), np.zeros(len(times), bool)
        after = np.clip(np.searchsorted(own, times), 1, len(own) - 1)
        gap = own[after] - own[after - 1]
        share = (times - own[after - 1]) / gap
        between = (share > 0) & (share < 1) & (gap <= self._max_gap)
        found = between | (share == 0) | (share == 1)
        weight = np.clip(share, 0, 1)[:, None].astype(np.float32)
        return values[after - 1] * (1 - weight) + values[after] * weight, found

    def _forget(self, ready: int, until: float) -> None:
        """Drop what no later sample needs; of each other sensor the last one before stays."""
        self._times[0], self._values[0] = self._times[0][ready:], self._values[0][ready:]
        self._lost_before = self._lost_before[ready:]
        for number in range(1, len(self._widths)):
            start = max(0, int(np.searchsorted(self._times[number], until, side="right")) - 1)
            self._times[number] = self._times[number][start:]
            self._values[number] = self._values[number][start:]
