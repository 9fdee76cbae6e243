import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device_adapters.clock import CounterUnwrapper, DeviceClock

RATE_HZ = 52.0
PACKET = 12


@given(st.integers(1, 40), st.lists(st.integers(0, 30_000), max_size=50))
def test_a_wrapping_counter_is_unwrapped(start: int, steps: list[int]) -> None:
    true = np.cumsum([start, *steps])
    unwrapper = CounterUnwrapper(16)
    assert [unwrapper.unwrap(int(value) % 65536) for value in true] == true.tolist()


def test_a_counter_that_steps_back_a_little_stays_near() -> None:
    unwrapper = CounterUnwrapper(8)
    assert [unwrapper.unwrap(reading) for reading in (250, 3, 255, 4)] == [250, 259, 255, 260]


def jittery_packets(seconds: float, drift: float) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return true times, device times and arrival of packets over a bursty radio link.

    Packets wait for a connection event every 45 ms, 8 % are sent again at the next one, and now
    and then a fade holds everything back for up to 0.8 s.
    """
    rng = np.random.default_rng(7)
    packets, busy_until = [], 0.0
    for first in range(0, int(seconds * RATE_HZ), PACKET):
        true = np.arange(first, first + PACKET) / RATE_HZ
        fade = rng.uniform(0.2, 0.8) if rng.random() < 0.02 else 0.0
        ready = max(true[-1] + 0.002 + fade, busy_until)
        arrival = np.ceil(ready / 0.045) * 0.045
        while rng.random() < 0.08:
            arrival += 0.045
        busy_until = arrival
        packets.append((true, true * (1 + drift), arrival))
    return packets


def test_jitter_of_a_radio_link_does_not_reach_the_samples() -> None:
    clock = DeviceClock()
    errors = [
        clock.place(device, arrival)[-1] - true[-1]
        for true, device, arrival in jittery_packets(240, drift=40e-6)
        if true is not None
    ]
    settled = np.array(errors[int(60 * RATE_HZ / PACKET) :])
    assert abs(settled.mean()) < 0.006
    assert settled.std() < 0.001


def test_times_never_run_backwards_while_the_device_runs() -> None:
    clock = DeviceClock()
    packets = jittery_packets(120, drift=-40e-6)
    times = np.concatenate([clock.place(device, arrival) for _, device, arrival in packets])
    assert (np.diff(times) > 0).all()


def test_a_restarted_device_is_placed_anew() -> None:
    clock = DeviceClock()
    clock.place(np.array([1000.0, 1000.1]), arrival=50.0)
    assert clock.place(np.array([0.0, 0.1]), arrival=60.0).tolist() == [59.9, 60.0]
