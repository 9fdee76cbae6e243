import numpy as np
import pytest

from device_adapters.clock import DeviceClock
from device_adapters.frames import ACCELEROMETER, GYROSCOPE, Frame, Sensor
from device_adapters.samples import ClockSource, SampleBatch, StreamInfo
from device_adapters.timeline import Timeline
from sample_clock import RATE_HZ, Link

BOTH = (ACCELEROMETER, GYROSCOPE)


def timeline(
    clock: ClockSource,
    sensors: tuple[Sensor, ...] = BOTH,
    device_clock: DeviceClock | None = None,
) -> Timeline:
    channels = tuple(channel for sensor in sensors for channel in sensor.channels)
    units = tuple(unit for sensor in sensors for unit in sensor.units)
    info = StreamInfo("wrist", channels, units, RATE_HZ, "test", clock)
    return Timeline(info, sensors, device_clock or DeviceClock())


def counted(numbers: np.ndarray) -> np.ndarray:
    return np.repeat(numbers[:, None], 3, axis=1).astype(np.float32)


def test_sensors_with_stamps_are_joined_on_the_devices_clock() -> None:
    placed, sensors = timeline("device"), []
    for packet in Link(packets=500).run():
        numbers = packet.first + np.arange(packet.count)
        times = packet.stamp + np.arange(1 - packet.count, 1) / RATE_HZ
        # The gyroscope's packet comes some connection events later.
        for sensor, late in ((0, 0.0), (1, 0.09)):
            frame = Frame(counted(numbers), times, 0, sensor)
            batch = placed.push(frame, packet.arrival + late)
            if batch is not None:
                sensors.append((batch, packet.taken))
    values = np.concatenate([batch.values for batch, _ in sensors])
    times = np.concatenate([batch.shared_times for batch, _ in sensors])
    assert values.shape == (6000, 6)
    assert (values[:, :3] == values[:, 3:]).all(), "the same instant's samples meet exactly"
    assert (np.diff(values[:, 0]) == 1).all()
    assert (np.diff(times) > 0).all()
    errors = [batch.shared_times[-1] - taken for batch, taken in sensors[300:]]
    assert abs(np.mean(errors)) < 0.006
    assert np.std(errors) < 0.001


def test_sensors_without_a_clock_are_joined_by_their_numbers() -> None:
    placed = timeline("count")
    batches: list[SampleBatch] = []
    for packet in Link(packets=8000, samples=3).run():
        numbers = packet.first + np.arange(packet.count)
        for sensor in (0, 1):
            arrival = packet.arrival + 0.001 * sensor
            batch = placed.push(Frame(counted(numbers), sensor=sensor), arrival)
            if batch is not None:
                batches.append(batch)
    values = np.concatenate([batch.values for batch in batches])
    settled = values[60 * 52 :]
    # Each is placed on its own; they meet within a third of a sample.
    assert np.abs(settled[:, 0] - settled[:, 3]).max() < 0.35
    assert placed.unpaired < 60
    assert sum(batch.lost for batch in batches) == placed.unpaired


def test_a_device_that_restarts_is_placed_anew() -> None:
    placed = timeline("device", (ACCELEROMETER,))
    values = np.zeros((5, 3), np.float32)
    times = np.arange(5) / 50
    placed.push(Frame(values, times + 1000), 2000.0)
    batch = placed.push(Frame(values, times), 2010.0)
    assert batch is not None
    assert batch.shared_times[-1] == pytest.approx(2010.0)


@pytest.mark.parametrize("back_after", [0.4, 30.0, 36_000.0])
@pytest.mark.parametrize("keeps_its_time", [True, False])
def test_the_next_connection_goes_on_where_the_device_kept_its_time(
    back_after: float, keeps_its_time: bool
) -> None:
    clock = DeviceClock()
    values, times = np.zeros((50, 3), np.float32), 500 + np.arange(50) / 50
    before = timeline("device", (ACCELEROMETER,), clock).push(Frame(values, times), 2000.0)
    away = back_after if keeps_its_time else 7.0 - times[-1]
    stamps = times + 1 + away
    after = timeline("device", (ACCELEROMETER,), clock).push(
        Frame(values, stamps), 2001.0 + back_after
    )
    assert before is not None
    assert after is not None
    assert after.shared_times[-1] == pytest.approx(2001.0 + back_after)
    gap = after.times[0] - before.end
    if keeps_its_time:
        assert gap == pytest.approx(back_after + 0.02)
    else:
        assert gap >= 0.5
        assert after.times[0] % 1 == pytest.approx(0, abs=1e-6)


def test_a_restart_of_joined_sensors_drops_and_counts_what_waited() -> None:
    placed = timeline("device")
    values = np.zeros((5, 3), np.float32)
    times = np.arange(5) / 50
    assert placed.push(Frame(values, times + 1000), 2000.0) is None
    assert placed.push(Frame(values, times), 2010.0) is None
    batch = placed.push(Frame(values, times, sensor=1), 2010.1)
    assert batch is not None
    assert batch.lost == placed.unpaired == 5
    assert batch.shared_times == pytest.approx(times + 2009.92)
