from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_adapters.merge import MAX_WAIT_SECONDS, MAX_WAITING_SAMPLES, Merger

Merged = tuple[np.ndarray, np.ndarray, int]


def line(times: np.ndarray) -> np.ndarray:
    """Return three channels that linear interpolation does not change."""
    return np.stack([times, 2 * times, -times], axis=1).astype(np.float32)


def packets(times: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    start, turn = 0, 0
    while start < len(times):
        size = sizes[turn % len(sizes)]
        yield times[start : start + size]
        start, turn = start + size, turn + 1


def in_order_of_arrival(
    acc: np.ndarray, gyro: np.ndarray, acc_sizes: list[int], gyro_sizes: list[int]
) -> list[tuple[int, np.ndarray]]:
    sent = [(0, part) for part in packets(acc, acc_sizes)]
    sent += [(1, part) for part in packets(gyro, gyro_sizes)]
    return sorted(sent, key=lambda packet: (packet[1][-1], packet[0]))


def merge(sent: list[tuple[int, np.ndarray]], merger: Merger) -> Merged:
    out = [merger.push(sensor, times, line(times), 0) for sensor, times in sent]
    whole = [each for each in out if each is not None]
    return (
        np.concatenate([times for times, _, _ in whole]),
        np.concatenate([values for _, values, _ in whole]),
        sum(lost for _, _, lost in whole),
    )


@given(
    st.floats(-0.019, 0.019),
    st.lists(st.integers(1, 50), min_size=1, max_size=4),
    st.lists(st.integers(1, 50), min_size=1, max_size=4),
)
def test_sensors_that_come_apart_are_joined_at_the_times_of_the_first(
    offset: float, acc_sizes: list[int], gyro_sizes: list[int]
) -> None:
    acc = np.arange(200) / 50
    gyro = acc + offset
    merger = Merger((3, 3), 50)
    times, values, lost = merge(in_order_of_arrival(acc, gyro, acc_sizes, gyro_sizes), merger)
    paired = acc[(acc >= gyro[0]) & (acc <= gyro[-1])]
    # At the end some may still wait for their pair; at the start some may have had none.
    assert len(paired) - 50 <= len(times) <= len(paired)
    assert set(times) <= set(paired)
    assert (np.diff(times) < 0.021).all()
    assert np.abs(values[:, :3] - line(times)).max() < 1e-5
    assert np.abs(values[:, 3:] - line(times)).max() < 1e-5
    assert lost == merger.unpaired


def test_the_other_sensor_may_be_faster() -> None:
    acc, gyro = np.arange(100) / 50, np.arange(400) / 200 + 0.001
    times, values, _ = merge(in_order_of_arrival(acc, gyro, [5], [20]), Merger((3, 3), 50))
    assert len(times) >= 90
    assert np.abs(values[:, 3:] - line(times)).max() < 1e-5


def test_nothing_is_interpolated_across_a_gap_and_what_has_no_pair_is_counted() -> None:
    acc = np.arange(300) / 50
    gyro = np.delete(acc + 0.005, np.arange(100, 120))
    merger = Merger((3, 3), 50)
    times, _, lost = merge(in_order_of_arrival(acc, gyro, [10], [10]), merger)
    missing = [number for number in range(1, 290) if number / 50 not in times]
    assert missing == list(range(100, 121))
    assert lost == merger.unpaired == 1 + 21


def test_a_sensor_that_falls_silent_does_not_hold_the_other_back_nor_fill_memory() -> None:
    merger = Merger((3, 3), 50)
    acc = np.arange(50 * 60) / 50
    for part in packets(acc, [10]):
        assert merger.push(0, part, line(part), 0) is None
    assert merger.unpaired == pytest.approx(len(acc) - MAX_WAIT_SECONDS * 50, abs=11)
    silent_first = Merger((3, 3), 50)
    for part in packets(acc, [10]):
        assert silent_first.push(1, part, line(part), 0) is None
    assert len(silent_first._times[1]) <= MAX_WAIT_SECONDS * 50 + 11


def test_a_clock_that_crawls_does_not_fill_memory() -> None:
    merger = Merger((3, 3), 50)
    times = np.arange(100, dtype=np.float64) * 1e-9
    for number in range(100):
        part = times + number * 1e-7
        merger.push(0, part, line(part), 0)
    assert len(merger._times[0]) <= MAX_WAITING_SAMPLES + 100
    assert merger.unpaired + len(merger._times[0]) == 100 * 100


def test_a_clock_that_goes_back_starts_the_merger_anew() -> None:
    merger = Merger((3, 3), 50)
    times = np.arange(10) / 50
    merger.push(0, 100 + times, line(times), 0)
    merger.push(0, times, line(times), 0)
    merged = merger.push(1, times, line(times), 0)
    assert merged is not None
    assert merged[0].tolist() == times.tolist()
    assert merged[2] == merger.unpaired == 10


def test_what_was_lost_is_told_with_what_comes_after_it() -> None:
    merger = Merger((3, 3), 50)
    one, missing, other = packets(np.arange(30) / 50, [10])
    assert merger.push(0, one, line(one), 0) is None
    assert merger.push(0, other, line(other), 10) is None
    told = []
    for part in (one, missing, other):
        merged = merger.push(1, part, line(part), 0)
        told.append(merged and (len(merged[0]), merged[2]))
    assert told == [(10, 0), None, (10, 10)]


def test_losses_of_the_first_sensor_are_handed_on() -> None:
    merger = Merger((3, 3), 50)
    times = np.arange(10) / 50
    assert merger.push(0, times, line(times), 7) is None
    merged = merger.push(1, times, line(times), 3)
    assert merged is not None
    assert merged[2] == 7
