from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from device_adapters.clock import CounterUnwrapper, CountingClock, DeviceClock
from sample_clock import RATE_HZ, Link, place

Floats = NDArray[np.float64]


@given(st.integers(1, 40), st.lists(st.integers(0, 30_000), max_size=50))
def test_a_wrapping_counter_is_unwrapped(start: int, steps: list[int]) -> None:
    true = np.cumsum([start, *steps])
    unwrapper = CounterUnwrapper(16)
    assert [unwrapper.unwrap(int(value) % 65536) for value in true] == true.tolist()


@pytest.mark.parametrize("bits", [16, 32])
def test_counters_and_stamps_go_on_over_their_wrap(bits: int) -> None:
    true = 2**bits - 1000 + 300 * np.arange(10)
    unwrapper = CounterUnwrapper(bits)
    assert [unwrapper.unwrap(int(value) % 2**bits) for value in true] == true.tolist()


def test_a_counter_that_steps_back_a_little_stays_near() -> None:
    unwrapper = CounterUnwrapper(8)
    assert [unwrapper.unwrap(reading) for reading in (250, 3, 255, 4)] == [250, 259, 255, 260]


@pytest.mark.parametrize("seed", range(5))
def test_jitter_of_a_radio_link_does_not_reach_stamped_samples(seed: int) -> None:
    outcome = place(Link(seed=seed), "device")
    assert abs(outcome.mean_ms) < 6
    assert outcome.sd_ms < 1
    assert outcome.counted == 0


@pytest.mark.parametrize("seed", range(5))
def test_stamps_tell_exactly_what_was_lost(seed: int) -> None:
    outcome = place(Link(loss=0.02, seed=seed), "device")
    assert outcome.lost > 0
    assert outcome.counted == outcome.lost
    assert abs(outcome.mean_ms) < 6
    assert outcome.sd_ms < 1


@pytest.mark.parametrize("true_rate", [0.99, 1.0, 1.01])
def test_a_rate_that_is_not_nominal_is_learned(true_rate: float) -> None:
    outcome = place(Link(true_rate=true_rate, loss=0.02), "counter")
    assert abs(outcome.mean_ms) < 6
    assert outcome.sd_ms < 5
    assert outcome.counted == outcome.lost


@pytest.mark.parametrize("true_rate", [0.99, 1.0, 1.01])
@pytest.mark.parametrize("samples", [1, 12])
def test_without_a_loss_none_is_found(samples: int, true_rate: float) -> None:
    link = Link(packets=12_000 // samples, samples=samples, true_rate=true_rate)
    assert place(link, "count").counted == 0


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_lasting_rise_of_latency_tells_what_was_lost(seed: int) -> None:
    outcome = place(Link(loss=0.02, seed=seed), "count")
    assert outcome.lost > 500
    assert outcome.counted == outcome.lost


@pytest.mark.parametrize("true_rate", [0.99, 1.01])
@pytest.mark.parametrize("seed", [2, 3])
def test_while_a_rate_is_learned_a_packet_may_be_missed(seed: int, true_rate: float) -> None:
    outcome = place(Link(loss=0.02, seed=seed, true_rate=true_rate), "count")
    assert outcome.lost - 12 <= outcome.counted <= outcome.lost


def test_a_burst_lost_by_a_device_that_sends_single_samples_is_found() -> None:
    clock, found, host = CountingClock(50, numbered=False), 0, 0.0
    for number in range(6000):
        if 3000 <= number < 3025:
            continue
        times, lost = clock.place(1, 0, arrival=number / 50 + 0.004 * (number % 7))
        found += lost
        host = float(times[-1])
    assert found == 25
    assert host == pytest.approx(5999 / 50, abs=0.01)


def shared_times(clock: DeviceClock, stamps: Floats, arrival: float) -> Floats:
    """Return a packet's times on the gateway's clock."""
    clock.observe(float(stamps[-1]), arrival)
    times, offset = clock.place(stamps)
    return times + offset


def line(stamps: Sequence[Floats], latencies: Sequence[float]) -> Floats:
    """Return the times of packets on the stream's own line."""
    clock, times = DeviceClock(), []
    for own, latency in zip(stamps, latencies, strict=True):
        clock.observe(float(own[-1]), 1e9 + float(own[-1]) + latency)
        times.append(clock.place(own)[0])
    return np.concatenate(times)


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=30),
    st.floats(0, 1e6),
)
def test_packets_lateness_moves_no_sample_against_another(
    latencies: list[tuple[float, float]], began: float
) -> None:
    stamps = [began + number / 5 + np.arange(10) / 50 for number in range(len(latencies))]
    one, other = (line(stamps, late) for late in zip(*latencies, strict=True))
    assert one[0] % 1 == pytest.approx(0, abs=1e-6)
    assert one - one[0] == pytest.approx(np.concatenate(stamps) - began, abs=1e-6)
    assert one - one[0] == pytest.approx(other - other[0], abs=1e-6)


def test_times_told_never_run_backwards_while_the_device_runs() -> None:
    clock, times = DeviceClock(), []
    for packet in Link(packets=600).run():
        stamps = packet.stamp + np.arange(-11, 1) / RATE_HZ
        times.append(shared_times(clock, stamps, packet.arrival))
    assert (np.diff(np.concatenate(times)) > 0).all()


def test_after_hours_of_drift_times_are_right() -> None:
    outcome = place(Link(packets=40_000), "device")
    assert abs(outcome.mean_ms) < 6
    assert outcome.sd_ms < 1


@pytest.mark.parametrize("numbered", [True, False])
def test_counted_times_never_run_backwards(numbered: bool) -> None:
    clock, times = CountingClock(RATE_HZ, numbered=numbered), []
    for packet in Link(packets=2000, loss=0.02, true_rate=0.98).run():
        placed, _ = clock.place(12, packet.lost if numbered else 0, packet.arrival)
        times.append(placed)
    assert (np.diff(np.concatenate(times)) > 0).all()


@pytest.mark.parametrize("silence", [0.3, 10.0, 3600.0])
def test_a_line_that_begins_anew_lies_behind_what_was(silence: float) -> None:
    clock = DeviceClock()
    for second in range(3):
        told = shared_times(clock, np.array([1000.0 + second]), 50.7 + second)
        assert told == pytest.approx([50.7 + second])
    before = clock.place(np.array([1002.1]))[0][-1]
    clock.restart()
    clock.observe(0.1, 52.8 + silence)
    times, offset = clock.place(np.array([0.0, 0.1]))
    assert times[0] >= before + 0.5
    assert times[0] % 1 == 0
    assert times + offset == pytest.approx([52.7 + silence, 52.8 + silence])


def test_a_time_that_leaps_ahead_of_the_gateways_was_set() -> None:
    clock = DeviceClock()
    assert not clock.leaps(1000.0, 50.0)
    clock.observe(1000.0, 50.0)
    assert clock.leaps(1006.5, 51.0)
    assert not clock.leaps(1003600.0, 3650.0 + 1e6), "it was silent"
    assert not clock.leaps(1000.2, 110.0), "it sends what it kept"


@pytest.mark.parametrize("outage", [20.0, 40.0, 300.0])
def test_a_backlog_is_placed_by_the_latency_before_it(outage: float) -> None:
    clock, free = DeviceClock(), -1.0
    for packet in range(5000):
        sent = packet / 5
        # What the device kept is sent twenty times as fast as it is taken.
        free = max(sent, free + 0.01, 100 + outage if sent >= 100 else 0.0)
        stamps = 7000 + sent + np.arange(-9, 1) / 50
        assert shared_times(clock, stamps, free + 0.02)[-1] == pytest.approx(sent + 0.02)


def test_packets_that_come_in_bunches_do_not_hold_back_what_the_clock_drifts() -> None:
    clock = DeviceClock()
    for number in range(20_000):
        taken, came = number / 50, (number // 50 + 1) + number % 50 / 1000
        told = shared_times(clock, np.array([0.999 * taken]), came)
    assert told[-1] == pytest.approx(came, abs=0.04)


def test_a_clock_that_stands_still_does_not_fill_memory() -> None:
    clock = DeviceClock()
    for packet in range(1000):
        clock.observe(5.0, 100.0 + packet)
    assert len(clock._offsets) == 1


@pytest.mark.parametrize("pace", [1e-3, 0.1, 0.9])
def test_a_clock_that_crawls_does_not_fill_memory(pace: float) -> None:
    clock = DeviceClock()
    for packet in range(50_000):
        clock.observe(pace * packet / 50, packet / 50)
    assert len(clock._offsets) <= 301


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_step_of_the_hosts_clock_loses_no_counted_samples(step: float) -> None:
    clock, found = CountingClock(50, numbered=False), 0
    for number in range(3000):
        arrival = 1e6 + number / 50 + (step if number >= 1500 else 0)
        times, lost = clock.place(1, 0, arrival)
        found += lost
    assert found == 0
    assert times[-1] == pytest.approx(1e6 + 2999 / 50 + step)


def test_numbers_that_begin_anew_put_nothing_into_the_future() -> None:
    clock = CountingClock(50, numbered=True)
    for packet in range(500):
        times, lost = clock.place(10, 25_536 if packet == 250 else 0, packet / 5)
        assert lost == 0
        assert times[-1] == pytest.approx(packet / 5)


def test_what_was_lost_behind_packets_that_a_fade_held_back_is_counted() -> None:
    clock = CountingClock(50, numbered=True)
    for packet in range(250):
        clock.place(10, 0, packet / 5)
    clock.place(10, 0, 70.0)
    times, lost = clock.place(10, 990, 70.1)
    assert lost == 990
    assert times[-1] == pytest.approx(70.0, abs=0.1)


@pytest.mark.parametrize("true_rate", [0.96, 1.04])
def test_an_oscillator_far_off_is_still_followed(true_rate: float) -> None:
    outcome = place(Link(true_rate=true_rate), "count")
    assert outcome.counted == 0
    assert abs(outcome.mean_ms) < 15
    assert outcome.sd_ms < 10
