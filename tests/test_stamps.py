import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_adapters.clock import LONGEST_SILENCE_SECONDS
from device_adapters.stamps import TRUSTED_PACKETS, StampSpreader


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=60),
    st.sampled_from(["first", "last"]),
    st.floats(0.95, 1.05),
)
def test_packets_of_any_size_are_spread_and_losses_counted(
    packets: list[tuple[int, bool]], stamped: str, off: float
) -> None:
    period = 1 / (52 * off)
    spreader = StampSpreader(52, "first" if stamped == "first" else "last")
    number = missed = 0
    newest = -1.0
    for count, comes in [*[(10, True)] * TRUSTED_PACKETS, (10, True), *packets]:
        if comes:
            stamp = (number if stamped == "first" else number + count - 1) * period
            times, lost = spreader.spread(stamp, count)
            if number >= 10:
                assert times == pytest.approx((number + np.arange(count)) * period, abs=1e-9)
            assert lost == (missed if stamp - newest <= LONGEST_SILENCE_SECONDS else 0)
            newest, missed = stamp, 0
        else:
            missed += count
        number += count


@pytest.mark.parametrize("stamped", ["first", "last"])
def test_losses_are_exact_once_the_rate_is_learned(stamped: str) -> None:
    period = 1 / 53.0
    spreader = StampSpreader(52, "first" if stamped == "first" else "last")
    numbers = [*range(50), 54, 55, 75, 76]
    lost = [spreader.spread(number * 10 * period, 10)[1] for number in numbers]
    assert lost[50:] == [40, 0, 190, 0]


def test_coarse_stamps_do_not_shake_the_samples() -> None:
    spreader = StampSpreader(52, "first")
    for number in range(200):
        times, lost = spreader.spread(round(number * 4 / 52, 3), 4)
        assert lost == 0
    assert np.diff(times) == pytest.approx([1 / 52] * 3, abs=3e-5)


@pytest.mark.parametrize("stamp", [0.0, 100.0, 1000.0])
def test_a_restart_counts_nothing_as_lost(stamp: float) -> None:
    spreader = StampSpreader(50, "first")
    spreader.spread(100.0, 5)
    times, lost = spreader.spread(stamp, 5)
    assert lost == 0
    assert times[0] == stamp
