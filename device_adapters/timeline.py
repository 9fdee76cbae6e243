"""From a connection's frames to batches."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_adapters.clock import CountingClock, DeviceClock
from device_adapters.frames import Frame, Sensor
from device_adapters.merge import Merger
from device_adapters.samples import SampleBatch, StreamInfo


class Timeline:
    """Places one connection's frames in time and joins its sensors into one stream.

    Args:
        info: the stream; its clock and rate say how samples are placed.
        sensors: the sensors that the frames are of, in the order of the stream's channels.
        clock: the device's, which its connections share.
    """

    def __init__(self, info: StreamInfo, sensors: Sequence[Sensor], clock: DeviceClock) -> None:
        self._device = info.device
        self._clock = clock
        self._counting = [
            CountingClock(info.rate_hz, numbered=info.clock == "counter") for _ in sensors
        ]
        self._newest: list[float | None] = [None for _ in sensors]
        widths = tuple(len(sensor.channels) for sensor in sensors)
        self._merger = Merger(widths, info.rate_hz) if len(sensors) > 1 else None

    @property
    def unpaired(self) -> int:
        """Samples that were dropped, and counted as lost, for want of the other sensor's."""
        return self._merger.unpaired if self._merger else 0

    def push(self, frame: Frame, arrival: float) -> SampleBatch | None:
        """Return the samples that this frame completes; None while the other sensor's are missing.

        Args:
            frame: what was decoded.
            arrival: when the gateway received it, by its own clock.
        """
        if frame.times is None:
            return self._push_counted(frame, arrival)
        return self._push_stamped(frame, frame.times, arrival)

    def _push_stamped(
        self, frame: Frame, times: NDArray[np.float64], arrival: float
    ) -> SampleBatch | None:
        newest = float(times[-1])
        if not self._goes_on(frame.sensor, newest, arrival):
            self._restart()
        self._newest[frame.sensor] = newest
        self._clock.observe(newest, arrival)
        joined = self._join(frame, times, frame.lost)
        if joined is None:
            return None
        times, values, lost = joined
        times, offset = self._clock.place(times)
        return SampleBatch(self._device, times, values, lost, offset)

    def _push_counted(self, frame: Frame, arrival: float) -> SampleBatch | None:
        clock = self._counting[frame.sensor]
        times, lost = clock.place(len(frame.values), frame.lost, arrival)
        joined = self._join(frame, times, lost)
        return None if joined is None else SampleBatch(self._device, *joined)

    def _join(
        self, frame: Frame, times: NDArray[np.float64], lost: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], int] | None:
        if self._merger is None:
            return times, frame.values, lost
        return self._merger.push(frame.sensor, times, frame.values, lost)

    def _goes_on(self, sensor: int, newest: float, arrival: float) -> bool:
        """Tell whether the device's time is what it was."""
        if all(own is None for own in self._newest):
            return self._clock.resumes(newest, arrival)
        previous = self._newest[sensor]
        went_back = previous is not None and newest < previous
        return not went_back and not self._clock.leaps(newest, arrival)

    def _restart(self) -> None:
        self._clock.restart()
        self._newest = [None for _ in self._newest]
        if self._merger:
            self._merger.restart()
