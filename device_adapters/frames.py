"""What a wearable's payload decodes to, before it is placed in time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY


@dataclass(frozen=True, slots=True)
class Sensor:
    """Channels that a device samples and sends together.

    Attributes:
        channels: a name for each channel.
        units: the SI unit of each channel.
    """

    channels: tuple[str, ...]
    units: tuple[str, ...]


ACCELEROMETER = Sensor(("acc_x", "acc_y", "acc_z"), (ACCELERATION,) * 3)
GYROSCOPE = Sensor(("gyro_x", "gyro_y", "gyro_z"), (ANGULAR_VELOCITY,) * 3)
IMU = Sensor(ACCELEROMETER.channels + GYROSCOPE.channels, ACCELEROMETER.units + GYROSCOPE.units)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Consecutive samples of one sensor, at least one.

    Attributes:
        values: the samples in SI units, float32 [n, channels].
        times: when each was taken on the device's own clock, seconds, float64 [n], increasing and
            already unwrapped; None where it tells none, and samples are placed by their number.
        lost: samples known to be lost between the sensor's previous frame and this one.
        sensor: which of the decoder's `sensors` they are of.
    """

    values: NDArray[np.float32]
    times: NDArray[np.float64] | None = None
    lost: int = 0
    sensor: int = 0
