"""Packets of one wearable, put in order again, with what never came."""

from dataclasses import replace
from typing import NamedTuple

from device_adapters.clock import RATE_TOLERANCE
from device_adapters.mqtt.payloads import Packet, PayloadFormat

LATE_SECONDS = 5.0
"""A packet that begins or ends less than this behind the newest came late or twice; one further, if
what it was before does not go on, after a restart."""

GOING_ON_PACKETS = 1.5
"""For so many packets' duration what goes on is waited for: wearables send evenly, about."""

MAX_WAITING = 16
"""Packets of a wearable that may wait for one that they overtook, or for what goes on."""

UNEVEN_PERIOD = 1.25
"""A period measured within one message may be too long by so much: samples of 100 Hz are stamped in
whole milliseconds, and a nominal rate is not the true one."""


class Ordered(NamedTuple):
    """A packet in its place: all before it have come, or are given up.

    Attributes:
        packet: its times are unwrapped: they go on where the device's clock starts again at 0.
        arrival: when it came, by the gateway's own clock.
        lost: samples that are missing just before it.
    """

    packet: Packet
    arrival: float
    lost: int


class PacketOrder:
    """Waits for packets that others have overtaken, and counts those that never come.

    The device's counter tells what is missing; without one, its clock does.

    Args:
        payloads: the format that the wearable speaks.
        patience_s: how long a packet waits for one before it; with 0, not at all.
    """

    def __init__(self, payloads: PayloadFormat, patience_s: float) -> None:
        self._counts = payloads.counts
        self._modulus = 1 << payloads.counter_bits
        self._turn = payloads.clock_turn_s
        self._patience = patience_s
        self._waiting: list[tuple[Packet, float]] = []
        self._anew: list[tuple[Packet, float]] = []
        self._begun = False
        self._expected = 0
        self._first = self._newest = 0.0
        self._samples = 0
        self._arrival = 0.0
        self._overlapped = False
        self.rejected = 0
        """Packets that came too late, or twice."""
        self.overlapping = 0
        """Of the newest packets those that began within one before: late by the clock alone. Two
        that go on one after the other end the count."""

    @property
    def waits(self) -> bool:
        """Whether a packet waits for one before it, or to be told from one long late."""
        return bool(self._waiting or self._anew)

    def push(self, packet: Packet, arrival: float) -> list[Ordered]:
        """Take in a packet and return those whose turn it is now."""
        if not self._begun:
            return [self._begin(packet, arrival)]
        packet = self._unwrapped(packet)
        missing = self._missing_before(packet)
        if missing < 0 or (missing and self._cannot_be_missing(missing, packet, arrival)):
            return self._behind(packet, arrival)
        # It goes on: what seemed to begin anew was sent again, after a lost connection.
        self.rejected += len(self._anew)
        self._anew.clear()
        if missing == 0:
            ordered = self._follow(packet, arrival, 0)
            return [ordered, *self._successors()] if self._waiting else [ordered]
        if packet.counter is None and self._was_set_ahead(packet, arrival):
            return [*self._give_up(), self._begin(packet, arrival)]
        self._waiting.append((packet, arrival))
        return self.overdue(arrival)

    def overdue(self, now: float) -> list[Ordered]:
        """Return the packets that have waited long enough; what they waited for is lost."""
        if self._anew and self._goes_on_no_more(now):
            return self._begin_anew()
        ordered: list[Ordered] = []
        while self._waiting and (
            len(self._waiting) > MAX_WAITING
            or now - min(arrival for _, arrival in self._waiting) >= self._patience
        ):
            ordered += self._pass_over()
        return ordered

    def _behind(self, packet: Packet, arrival: float) -> list[Ordered]:
        """Take in a packet from before: late, sent again, or of a device that began anew."""
        if any(0 <= self._newest - time < LATE_SECONDS for time in packet.times[[0, -1]]):
            self._reject(packet)
        else:
            self._anew.append((packet, arrival))
        return self.overdue(arrival)

    def _goes_on_no_more(self, now: float) -> bool:
        """Tell whether what was before had its time to go on."""
        packet, arrival = self._anew[0]
        patience = max(self._patience, GOING_ON_PACKETS * len(packet.times) * packet.period_s)
        return len(self._anew) > MAX_WAITING or now - arrival >= patience

    def _begin_anew(self) -> list[Ordered]:
        (packet, arrival), *others = self._anew
        self._anew = []
        ordered = [*self._give_up(), self._begin(packet, arrival)]
        for other in others:
            ordered += self.push(*other)
        return ordered

    def _give_up(self) -> list[Ordered]:
        ordered: list[Ordered] = []
        while self._waiting:
            ordered += self._pass_over()
        return ordered

    def _pass_over(self) -> list[Ordered]:
        """Go on with the first packet that waits."""
        packet, arrival = self._first_waiting()
        self._waiting.remove((packet, arrival))
        missing = self._missing_before(packet)
        return [self._follow(packet, arrival, missing), *self._successors()]

    def _successors(self) -> list[Ordered]:
        """Return the waiting packets before which nothing is missing any more."""
        ordered: list[Ordered] = []
        while self._waiting:
            packet, arrival = self._first_waiting()
            missing = self._missing_before(packet)
            if missing > 0:
                break
            self._waiting.remove((packet, arrival))
            if missing == 0:
                ordered.append(self._follow(packet, arrival, 0))
            else:
                self._reject(packet)
        return ordered

    def _reject(self, packet: Packet) -> None:
        self.rejected += 1
        if packet.counter is None and self._first < packet.times[0] < self._newest:
            self.overlapping += 1
            self._overlapped = True

    def _first_waiting(self) -> tuple[Packet, float]:
        return min(self._waiting, key=lambda waiting: self._missing_before(waiting[0]))

    def _begin(self, packet: Packet, arrival: float) -> Ordered:
        self._begun = True
        self._expected = packet.counter or 0
        return self._follow(packet, arrival, 0)

    def _follow(self, packet: Packet, arrival: float, missing: int) -> Ordered:
        lost = self._samples_in(missing, packet, arrival) if missing else 0
        if packet.counter is not None:
            step = len(packet.times) if self._counts == "samples" else 1
            self._expected += missing + step
        self._first, self._newest = float(packet.times[0]), float(packet.times[-1])
        self._samples = len(packet.times)
        self._arrival = arrival
        if not self._overlapped:
            self.overlapping = 0
        self._overlapped = False
        return Ordered(packet, arrival, lost)

    def _samples_in(self, missing: int, packet: Packet, arrival: float) -> int:
        """Return how many samples are missing; in messages, by the clock unless it was set."""
        if self._counts != "messages":
            return missing
        elapsed = float(packet.times[0]) - self._newest
        if elapsed < 0 or self._was_set_ahead(packet, arrival):
            return missing * _samples_of(packet)
        return max(missing, round(elapsed / packet.period_s) - 1)

    def _missing_before(self, packet: Packet) -> int:
        """Return how many samples, or messages, are missing; negative if it is behind."""
        if packet.counter is None:
            return self._missing_by_time(packet)
        half = self._modulus >> 1
        return (packet.counter - self._expected + half) % self._modulus - half

    def _missing_by_time(self, packet: Packet) -> int:
        """Return how many samples are missing by the device's clock; negative if it is behind.

        Samples that were laid out by the nominal period hardly end where the next begin.
        """
        first = float(packet.times[0])
        elapsed = first - self._newest
        slack = laid_out_slack(self._samples, packet.period_s) if packet.laid_out else 0.0
        if elapsed <= -slack or first <= self._first:
            return -1
        if elapsed - packet.period_s <= slack:
            return 0
        return max(0, round(elapsed / packet.period_s) - 1)

    def _cannot_be_missing(self, missing: int, packet: Packet, arrival: float) -> bool:
        """Tell whether a counter that leaps ahead began anew instead.

        Neither the device's clock nor the gateway's went on for so many samples.
        """
        if packet.counter is None:
            return False
        samples = missing if self._counts == "samples" else missing * _samples_of(packet)
        elapsed = max(float(packet.times[0]) - self._newest, arrival - self._arrival)
        return samples * packet.period_s > UNEVEN_PERIOD * elapsed + LATE_SECONDS

    def _was_set_ahead(self, packet: Packet, arrival: float) -> bool:
        """Tell whether the device's clock was set ahead."""
        elapsed = float(packet.times[0]) - self._newest
        return elapsed - (arrival - self._arrival) > LATE_SECONDS

    def _unwrapped(self, packet: Packet) -> Packet:
        turns = round((self._newest - float(packet.times[0])) / self._turn)
        if turns <= 0:
            return packet
        return replace(packet, times=packet.times + turns * self._turn)


def laid_out_slack(samples: int, period_s: float) -> float:
    """Return by how many seconds the end of laid out samples may miss the beginning of the next.

    By what an oscillator may be off, and by half a period that the times told may jitter.
    """
    return (RATE_TOLERANCE * samples + 0.5) * period_s


def _samples_of(packet: Packet) -> int:
    """Return how many samples of one sensor it has; it has more times if sensors come apart."""
    lasts = float(packet.times[-1] - packet.times[0])
    return min(len(packet.times), round(lasts / packet.period_s) + 1)
