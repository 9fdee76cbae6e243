"""Device time, counter or plain counting to the times of samples."""

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

ENVELOPE_SECONDS = 30.0
"""How far back the smallest latency is looked for: fades last a second, crystals drift slowly."""

AGEING_SECONDS = 5.0
"""Both clocks are compared over so much at once: within a bunch of packets the gateway's stands
still, although nothing is behind."""

LATE_SECONDS = 1.0
"""By which packets are late without being a backlog."""

OFFSET_SPACING_SECONDS = 0.1
"""Of packets whose offsets are nearer in age the smallest latency is kept: a clock that crawls must
not fill the memory."""

SLEW = 0.01
"""The offset moves at most this share of elapsed device time, so that times told are even too."""

RESTART_SECONDS = 5.0
"""No packet comes that much before it was sent: the device's clock was set."""

RESTART_GAP_SECONDS = 0.5
"""What follows a restart is at least so far behind what was before: nothing is interpolated between
them."""

LONGEST_SILENCE_SECONDS = 32.0
"""A BLE link that lives is heard within its supervision timeout, of 32 s at most: after more, it is
not the link that was silent but a clock that was set."""

BLOCK_SECONDS = 0.5
"""Of each such stretch the packet of the least latency counts, when a rate is learned."""

LEARNING_BLOCKS = 240
"""A rate is learned from two minutes: long enough for 0.01 %, short enough for temperature."""

LEARNED_BLOCKS = 40
"""Before 20 s the nominal rate is nearer than what could be learned."""

RATE_TOLERANCE = 0.05
"""How far a rate may be off the nominal one."""

ENVELOPE_BLOCKS = round(ENVELOPE_SECONDS / BLOCK_SECONDS)
LASTING_BLOCKS = 4
"""Latency that stays up for 2 s is no fade: samples were lost."""

LASTING_PERIODS = 1.5
"""By how many sample periods latency must rise; less is jitter."""


class CounterUnwrapper:
    """Turns a counter that wraps at 2**bits into one that does not.

    Assumes that less than half a turn passes between two readings.
    """

    def __init__(self, bits: int) -> None:
        self._modulus = 1 << bits
        self._last: int | None = None

    def unwrap(self, reading: int) -> int:
        """Return the reading plus all the turns before it."""
        if self._last is None:
            self._last = reading
        else:
            half = self._modulus // 2
            self._last += (reading - self._last + half) % self._modulus - half
        return self._last


class DeviceClock:
    """Places a device's samples on a line of their own, and that line on the gateway's clock.

    The line is the device's own time, moved once, when it begins or begins anew: its first sample
    lies on a whole second, so that a grid of any whole rate meets the samples alike whatever the
    device's time began with. No packet's lateness moves a sample against another.

    Where the line lies is estimated all along. A packet's latency is never negative, so the
    smallest (arrival - device time) of the last 30 s is nearest the true offset; in a simulation of
    BLE this envelope errs by 5 ms where plain arrival errs by 36 ms on average and regression by 12
    ms in spread.
    """

    def __init__(self) -> None:
        self._offsets: deque[tuple[float, float]] = deque()
        self._age = 0.0
        self._aged = (0.0, 0.0)
        self._origin: float | None = None
        self._offset = 0.0
        self._newest = -math.inf

    def restart(self) -> None:
        """Begin the line anew, behind what was placed: the device's time has."""
        self._offsets.clear()
        self._origin = None

    def leaps(self, device_time: float, arrival: float) -> bool:
        """Tell whether the device's time was set: a sample would come long before it was taken."""
        return bool(self._offsets) and (
            device_time + self._offsets[0][1] - arrival > RESTART_SECONDS
        )

    def resumes(self, device_time: float, arrival: float) -> bool:
        """Tell whether a device that was away has kept its time; it may have been switched off."""
        return self._origin is not None and (
            device_time + self._origin > self._newest
            and abs(device_time + self._offsets[0][1] - arrival) <= RESTART_SECONDS
        )

    def observe(self, device_time: float, arrival: float) -> None:
        """Take in when the gateway received a sample, by its own clock, without placing any.

        The deque holds only offsets that may yet become the smallest: the later, the larger; and so
        many as there is room for in `ENVELOPE_SECONDS` of age, however the device's time runs.
        """
        offset = arrival - device_time
        age = self._grown(device_time, arrival)
        while self._offsets and self._offsets[0][0] < age - ENVELOPE_SECONDS:
            self._offsets.popleft()
        while self._offsets and self._offsets[-1][1] >= offset:
            self._offsets.pop()
        if not self._offsets or age - self._offsets[-1][0] >= OFFSET_SPACING_SECONDS:
            self._offsets.append((age, offset))

    def _grown(self, device_time: float, arrival: float) -> float:
        """Return the age, which grows by the device's time or the gateway's, whichever is slower.

        A backlog brings minutes of the device's time in seconds: its late packets must not drive
        out the offsets from before.
        """
        if not self._offsets:
            self._aged = device_time, arrival
        device_then, arrival_then = self._aged
        device_elapsed, elapsed = device_time - device_then, arrival - arrival_then
        grown = max(0.0, min(device_elapsed, elapsed))
        age = self._age + grown
        if device_elapsed >= AGEING_SECONDS or elapsed >= AGEING_SECONDS:
            # A packet that came late is not behind: the clock that went on more keeps a little.
            self._age = age
            self._aged = (
                max(device_then + grown, device_time - LATE_SECONDS),
                max(arrival_then + grown, arrival - LATE_SECONDS),
            )
        return age

    def place(self, device_times: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Return the times of samples, float64 [n], and what to add for the gateway's clock.

        Args:
            device_times: of samples that were observed, or are older than some that were; later
                than those placed before, seconds, float64 [n], n > 0.
        """
        target = self._offsets[0][1]
        if self._origin is None:
            first = float(device_times[0])
            self._origin = self._beginning(first + target) - first
            self._offset = target - self._origin
            times = device_times + self._origin
        else:
            times = device_times + self._origin
            correction = target - self._origin - self._offset
            # Samples that come faster than they are taken, or a backlog: slewing would take long.
            if abs(correction) <= RESTART_SECONDS:
                limit = SLEW * max(0.0, float(times[-1]) - self._newest)
                correction = min(max(correction, -limit), limit)
            self._offset += correction
        self._newest = float(times[-1])
        return times, self._offset

    def _beginning(self, taken: float) -> float:
        """Return the line's first time, a whole second, for a sample taken at `taken`."""
        if self._newest == -math.inf:
            return math.floor(taken)
        return max(math.floor(taken), math.ceil(self._newest + RESTART_GAP_SECONDS))


class CountingClock:
    """Places samples that carry no time on the gateway's clock, by number and rate of arrival.

    The rate is learned, because a sensor's own oscillator is off by up to some percent; for the
    rest, the smallest latency counts, as in `DeviceClock`. Where the device does not number its
    samples they are counted as they come, and a loss shows as latency that rises and stays: a fade
    of the radio delays samples, but they follow within a second.

    Args:
        rate_hz: the nominal rate.
        numbered: whether the device numbers its samples, so that every loss is known.
    """

    def __init__(self, rate_hz: float, *, numbered: bool) -> None:
        self._nominal = 1.0 / rate_hz
        self._numbered = numbered
        self._period = self._nominal
        self._learned = False
        self._packet: int | None = None
        self._newest = -1
        self._arrival = -math.inf
        self._blocks: deque[tuple[int, float, int]] = deque(maxlen=LEARNING_BLOCKS)
        self._found = 0
        self._block: tuple[int, float] | None = None
        self._block_end = -math.inf
        self._least_latency = math.inf
        self._placed: float | None = None

    def place(self, count: int, lost: int, arrival: float) -> tuple[NDArray[np.float64], int]:
        """Return the times of a packet's samples, float64 [count], and how many were lost.

        Args:
            count: samples in the packet, more than 0.
            lost: samples missing before it, by the device's numbers.
            arrival: when the gateway received the packet, by its own clock.
        """
        if abs(arrival - self._arrival) > LONGEST_SILENCE_SECONDS:
            self._restart()
        self._arrival = arrival
        if self._leaps(lost, arrival):
            lost = 0
        self._packet = count if self._packet in {None, count} else 1
        if arrival >= self._block_end:
            lost += self._close_block(arrival)
        self._newest += lost + count
        latency = arrival - self._newest * self._period
        if self._block is None or latency < self._block[1] - self._block[0] * self._period:
            self._block = (self._newest, arrival)
        self._least_latency = min(self._least_latency, latency)
        steps = np.arange(1 - count, 1, dtype=np.float64)
        return self._place_newest(lost + count) + steps * self._period, lost

    def _leaps(self, lost: int, arrival: float) -> bool:
        """Tell whether the numbers began anew: a sample would come long before it was taken."""
        missing = lost * self._period
        return (
            missing > RESTART_SECONDS
            and self._placed is not None
            and self._placed + missing - arrival > RESTART_SECONDS
        )

    def _restart(self) -> None:
        """Forget what latencies were: nothing came for too long."""
        self._blocks.clear()
        self._block = None
        self._block_end = -math.inf
        self._least_latency = math.inf
        self._placed = None

    def _place_newest(self, advance: int) -> float:
        """Return the newest sample's time; it nears the envelope's without a leap."""
        target = self._newest * self._period + self._least_latency
        if self._placed is None:
            self._placed = target
            return target
        expected = self._placed + advance * self._period
        limit = self._period * min(RATE_TOLERANCE * advance, 0.5)
        self._placed = expected + min(max(target - expected, -limit), limit)
        return self._placed

    def _close_block(self, arrival: float) -> int:
        """Learn from the block that is over; return how many samples it shows to be lost."""
        self._block_end = arrival + BLOCK_SECONDS
        if self._block is None:
            return 0
        self._blocks.append((*self._block, self._found))
        self._block = None
        numbers, arrivals, found = np.array(self._blocks).T
        self._learn_period(numbers, arrivals, found)
        latencies = arrivals - numbers * self._period
        missing = 0 if self._numbered else self._missing(latencies)
        if missing:
            self._found += missing
            recent = [self._blocks.pop() for _ in range(LASTING_BLOCKS)]
            self._blocks.extend(
                (number + missing, at, self._found) for number, at, _ in reversed(recent)
            )
        self._least_latency = float(latencies[-ENVELOPE_BLOCKS:].min())
        return missing

    def _learn_period(
        self,
        numbers: NDArray[np.float64],
        arrivals: NDArray[np.float64],
        found: NDArray[np.float64],
    ) -> None:
        """Take the median slope over up to half the known past.

        No slope is taken across a loss that was found: what was wrongly taken for one would
        confirm itself.
        """
        lag = len(numbers) // 2
        while lag >= LEARNED_BLOCKS // 2:
            whole = found[lag:] == found[:-lag]
            if whole.sum() >= LEARNED_BLOCKS // 4:
                elapsed = (arrivals[lag:] - arrivals[:-lag])[whole]
                period = float(np.median(elapsed / (numbers[lag:] - numbers[:-lag])[whole]))
                tolerance = RATE_TOLERANCE * self._nominal
                self._period = self._nominal + min(
                    max(period - self._nominal, -tolerance), tolerance
                )
                self._learned = True
                return
            lag //= 2

    def _missing(self, latencies: NDArray[np.float64]) -> int:
        """Return the samples that a lasting rise of the least latency stands for."""
        if len(latencies) < 2 * LASTING_BLOCKS:
            return 0
        recent = float(latencies[-LASTING_BLOCKS:].min())
        before = float(latencies[-2 * LASTING_BLOCKS : -LASTING_BLOCKS].min())
        # All packets of a device are of one size, mostly: what is lost is a multiple of it.
        unit = (self._packet or 1) * self._period
        unsure = 0.0 if self._learned else RATE_TOLERANCE * 2 * LASTING_BLOCKS * BLOCK_SECONDS
        if recent - before <= max(LASTING_PERIODS * self._period, unit / 2, unsure):
            return 0
        return (self._packet or 1) * round((recent - before) / unit)
