"""From a wearable's packets to batches in SI units."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from device_adapters.clock import DeviceClock
from device_adapters.merge import MAX_WAIT_SECONDS, Merger
from device_adapters.mqtt.ordering import Ordered, PacketOrder, laid_out_slack
from device_adapters.mqtt.payloads import Packet, PayloadFormat
from device_adapters.samples import SampleBatch

RATE_TOLERANCE = 0.15
"""A rate that is measured within a message jitters by less: of 100 Hz stamped in whole milliseconds
by a tenth. Rates that a sensor can be set to differ by more."""

EVEN_ENOUGH = 0.1
"""Samples of two messages may be nearer to each other, or further apart, by such a share of their
period."""

OVERLAPPING_PACKETS = 5
"""So many, with one between two of them at most, are no clock that was set."""

RATE_PACKETS = 3
"""So many in a row with another rate are no slip, such as a gap in a message of two samples."""


class Wearable:
    """Follows one wearable's counter, clock and rate.

    Args:
        device: its name.
        payloads: the format that it speaks.
        factors: what makes SI units of each channel, float32 [channels]; None if they are SI units.
        patience_s: how long packets wait for one that they overtook.
        rate_hz: its nominal rate, until packets tell another.

    Attributes:
        heard: when its newest packet came, by the gateway's own clock.
    """

    def __init__(
        self,
        device: str,
        payloads: PayloadFormat,
        factors: NDArray[np.float32] | None,
        patience_s: float,
        rate_hz: float,
    ) -> None:
        self.device = device
        self.heard = -math.inf
        self._factors = factors
        self._clock = DeviceClock()
        self._newest = -math.inf
        self._order = PacketOrder(payloads, patience_s)
        self._rate = _Rate(rate_hz)
        self._sensors = None if payloads.sensors is None else _Sensors(payloads, rate_hz)

    @property
    def rate_hz(self) -> float:
        """The nominal rate, by what packets tell."""
        return self._rate.hz

    @property
    def rejected(self) -> int:
        """Packets that came too late, or twice."""
        return self._order.rejected

    @property
    def untold_lost(self) -> int:
        """Samples that are lost, of which no batch has told yet."""
        return self._sensors.untold_lost if self._sensors else 0

    @property
    def absent(self) -> list[str]:
        """Sensors that never came: without them nothing of the others is of use."""
        return self._sensors.absent(self._newest) if self._sensors else []

    @property
    def overlaps(self) -> bool:
        """Whether packets begin within those before them, again and again, and are rejected."""
        return self._order.overlapping >= OVERLAPPING_PACKETS

    @property
    def waits(self) -> bool:
        """Whether a packet waits for one before it."""
        return self._order.waits

    def take(self, packet: Packet, arrival: float) -> list[SampleBatch]:
        """Return the batches that are complete with this packet.

        Args:
            packet: at least one sample.
            arrival: when it came, by the gateway's own clock.
        """
        self.heard = arrival
        return self._batches(self._order.push(packet, arrival))

    def overdue(self, now: float) -> list[SampleBatch]:
        """Return the batches that have waited long enough for one before them."""
        return self._batches(self._order.overdue(now))

    def _batches(self, packets: Iterable[Ordered]) -> list[SampleBatch]:
        return [batch for ordered in packets if (batch := self._batch(ordered)) is not None]

    def _batch(self, ordered: Ordered) -> SampleBatch | None:
        packet, arrival, lost = ordered
        times, values = self._spread(packet, lost), packet.values
        self._follow(float(times[-1]), arrival)
        if self._rate.changes(1 / packet.period_s) and self._sensors is not None:
            self._sensors.set_rate(self._rate.hz)
        if self._sensors is not None:
            merged = self._sensors.merge(times, values, lost)
            if merged is None:
                return None
            times, values, lost = merged
        if self._factors is not None:
            values = values * self._factors
        times, offset = self._clock.place(times)
        return SampleBatch(self.device, times, values, lost, offset)

    def _spread(self, packet: Packet, lost: int) -> NDArray[np.float64]:
        """Return the times of samples; those that were laid out begin where those before ended.

        No oscillator keeps its nominal rate: the last of a message would come after the first of
        the next, or long before it.
        """
        times, period = packet.times, packet.period_s
        beyond = abs(float(times[0]) - period - self._newest)
        if beyond <= EVEN_ENOUGH * period or lost or not packet.laid_out:
            return times
        if beyond > laid_out_slack(len(times), period):
            return times
        shares = np.arange(1, len(times) + 1) / len(times)
        return self._newest + (float(times[-1]) - self._newest) * shares

    def _follow(self, newest: float, arrival: float) -> None:
        """Take in when a packet came; begin anew where the device's clock did."""
        if newest < self._newest or self._clock.leaps(newest, arrival):
            self._clock.restart()
            if self._sensors is not None:
                self._sensors.restart()
        self._newest = newest
        self._clock.observe(newest, arrival)


class _Rate:
    """A nominal rate that changes when several packets in a row tell another, all the same."""

    def __init__(self, rate_hz: float) -> None:
        self.hz = rate_hz
        self._other = rate_hz
        self._packets = 0

    def changes(self, rate_hz: float) -> bool:
        """Take in a packet's rate; return whether it is the nominal one from now on."""
        if _near(rate_hz, self.hz):
            self._packets = 0
            return False
        self._packets = self._packets + 1 if _near(rate_hz, self._other) else 1
        self._other = rate_hz
        if self._packets < RATE_PACKETS:
            return False
        self.hz, self._packets = rate_hz, 0
        return True


def _near(rate_hz: float, other_hz: float) -> bool:
    return abs(rate_hz - other_hz) <= RATE_TOLERANCE * other_hz


class _Sensors:
    """Puts sensors that are sampled apart on the time base of the first."""

    def __init__(self, payloads: PayloadFormat, rate_hz: float) -> None:
        sensors = payloads.sensors or {}
        widths = tuple(sensors.values())
        self._payloads = payloads
        self._began: float | None = None
        self._starts = np.cumsum([0, *widths]).tolist()
        self._absent = dict(zip(sensors, self._starts, strict=False))
        self._merger = Merger(widths, rate_hz)
        self._untold_lost = 0

    @property
    def untold_lost(self) -> int:
        """Samples that are lost, of which no sample has told yet."""
        return self._untold_lost + self._merger.untold_lost

    def absent(self, now: float) -> list[str]:
        """Return the sensors that have never come, if they had their time to."""
        late = self._began is not None and now - self._began > MAX_WAIT_SECONDS
        return list(self._absent) if late else []

    def set_rate(self, rate_hz: float) -> None:
        """Change the nominal rate of all."""
        self._merger.set_rate(rate_hz)

    def restart(self) -> None:
        """Drop what waits: the clock begins anew."""
        self._merger.restart()

    def merge(
        self, times: NDArray[np.float64], values: NDArray[np.float32], lost: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], int] | None:
        """Return the samples that are complete now, and how many were lost before them."""
        self._untold_lost += lost
        if self._absent:
            self._note_absent(float(times[0]), values)
        complete = []
        # The first sensor's samples last: by then all that they are interpolated from is there.
        for sensor in reversed(range(len(self._starts) - 1)):
            own = values[:, self._starts[sensor] : self._starts[sensor + 1]]
            sampled = ~np.isnan(own[:, 0])
            if sampled.any():
                before = self._take_lost() if sensor == 0 else 0
                complete.append(self._merger.push(sensor, times[sampled], own[sampled], before))
        parts = [part for part in complete if part is not None]
        if not parts:
            return None
        return (
            np.concatenate([part[0] for part in parts]),
            self._payloads.merge(np.concatenate([part[1] for part in parts])),
            sum(part[2] for part in parts),
        )

    def _note_absent(self, begin: float, values: NDArray[np.float32]) -> None:
        if self._began is None:
            self._began = begin
        self._absent = {
            name: start for name, start in self._absent.items() if np.isnan(values[:, start]).all()
        }

    def _take_lost(self) -> int:
        """Return what was lost since the first sensor's samples came last."""
        lost, self._untold_lost = self._untold_lost, 0
        return lost
