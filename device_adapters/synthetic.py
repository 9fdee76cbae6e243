"""An adapter without a device: wearables that never existed, for trying things out and for load."""

import asyncio
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from device_adapters import host_clock
from device_adapters.adapter import AdapterOptions, AdapterStatistics
from device_adapters.live import LiveAdapter
from device_adapters.samples import (
    ACCELERATION,
    ANGULAR_VELOCITY,
    STANDARD_GRAVITY,
    SampleBatch,
    StreamInfo,
)

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS = (ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3
QUEUED_BATCHES = 64
STEPS_HZ = 1.8
"""A usual walking cadence."""

BOUT_SECONDS = 20.0
"""The wearer stands and walks in turn, this long each."""


class SyntheticOptions(AdapterOptions):
    """How many wearables there are, and what they send.

    Attributes:
        devices: number of wearables, named `synthetic-1` and so on.
        rate_hz: samples a second of each.
        batch: samples in each batch.
        seconds: how long they send; for ever by default.
        seed: of the sensors' noise.
    """

    devices: int = Field(default=1, ge=1)
    rate_hz: float = Field(default=50.0, gt=0, le=1000)
    batch: int = Field(default=10, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    seed: int = 0


class SyntheticAdapter(LiveAdapter):
    """Wearables that stand and walk in turn, placed in time by their sample counter."""

    Options = SyntheticOptions

    def __init__(self, options: SyntheticOptions) -> None:
        super().__init__(QUEUED_BATCHES)
        self._options = options
        self._streams = {
            name: StreamInfo(name, CHANNELS, UNITS, options.rate_hz, "synthetic", "counter")
            for name in (f"synthetic-{number + 1}" for number in range(options.devices))
        }

    @property
    @override
    def streams(self) -> Mapping[str, StreamInfo]:
        return self._streams

    @override
    def statistics(self) -> AdapterStatistics:
        return self._statistics()

    @override
    async def _run(self) -> None:
        options = self._options
        loop = asyncio.get_running_loop()
        start = loop.time()
        epoch = host_clock.now()
        noise = np.random.default_rng(options.seed)
        first = 0
        while options.seconds is None or first < options.seconds * options.rate_hz:
            device_times = np.arange(first, first + options.batch) / options.rate_hz
            await asyncio.sleep(max(0.0, start + float(device_times[-1]) - loop.time()))
            set_by = host_clock.set_by()
            for device in self._streams:
                values = motion(device_times) + noise.normal(0, 0.05, (options.batch, 6))
                self._queue.put(
                    SampleBatch(
                        device,
                        epoch + device_times,
                        values.astype(np.float32),
                        clock_set_s=set_by,
                    )
                )
            first += options.batch


def motion(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return acceleration and angular velocity of a wearer who stands and walks in turn, [n, 6]."""
    walks = (times // BOUT_SECONDS % 2 == 1).astype(np.float64)
    phase = 2 * np.pi * STEPS_HZ * times
    return np.stack(
        [
            STANDARD_GRAVITY + walks * 3.0 * np.sin(phase),
            walks * 1.5 * np.sin(phase / 2),
            walks * 2.0 * np.cos(phase),
            walks * 0.6 * np.sin(phase / 2 + 0.5),
            walks * 0.8 * np.sin(phase + 0.3),
            walks * 0.4 * np.cos(phase / 2),
        ],
        axis=1,
    )
