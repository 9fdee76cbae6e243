"""From a wearable's packets to batches in host time, with what was lost on the way."""

import math

from device_adapters.clock import CounterUnwrapper, DeviceClock
from device_adapters.mqtt.payloads import Packet, PayloadFormat
from device_adapters.samples import SampleBatch

LATE_SECONDS = 5.0
"""A packet less than this behind the newest came late or twice; one further, after a restart."""


class Wearable:
    """Follows one wearable's counter and clock.

    Args:
        device: its name.
        payloads: the format that it speaks.
    """

    def __init__(self, device: str, payloads: PayloadFormat) -> None:
        self._device = device
        self._payloads = payloads
        self._clock = DeviceClock()
        self._counter = CounterUnwrapper(payloads.counter_bits)
        self._expected: int | None = None
        self._newest = -math.inf
        self._turns = 0

    def place(self, packet: Packet, arrival: float) -> SampleBatch | None:
        """Return the packet's samples in host time; None if they came late, or came before.

        Args:
            packet: at least one sample.
            arrival: when it came, seconds since the epoch.
        """
        number = self._counter.unwrap(packet.counter)
        lost = 0 if self._expected is None else number - self._expected
        if lost < 0:
            if -lost * packet.period_s < LATE_SECONDS:
                return None
            self._restart()
            number, lost = self._counter.unwrap(packet.counter), 0
        self._expected = number + len(packet.values)
        turn = self._payloads.clock_turn_s
        if packet.times[0] < self._newest - turn / 2:
            self._turns += 1
        self._newest = float(packet.times[-1])
        times = self._clock.place(packet.times + self._turns * turn, arrival)
        return SampleBatch(self._device, times, packet.values, lost)

    def _restart(self) -> None:
        self._counter = CounterUnwrapper(self._payloads.counter_bits)
        self._newest = -math.inf
        self._turns = 0
