import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CHANNELS, UNITS
from device_adapters.errors import InvalidBatchError, InvalidNameError, InvalidStreamError
from device_adapters.samples import SampleBatch, StreamInfo, check_name


@pytest.mark.parametrize("name", ["", "a/b", "a+", "#", "x" * 65, "tab\there", "nul\0"])
def test_names_that_would_break_a_topic_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        check_name(name)
    assert caught.value.name == name


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=80))
def test_accepted_names_are_exactly_one_topic_level(name: str) -> None:
    try:
        check_name(name)
    except InvalidNameError:
        return
    assert 1 <= len(name) <= 64
    assert not set(name) & set("/+#\0")


@pytest.mark.parametrize(
    ("channels", "units", "rate_hz", "told"),
    [
        ((), (), 50.0, "channels"),
        (("acc_x", "acc_x"), ("m/s2", "m/s2"), 50.0, "each once"),
        (("acc_x",), ("m/s2", "m/s2"), 50.0, "2 units"),
        (("acc_x",), ("g",), 50.0, "'g'; it must be in m/s2, rad/s, uT"),
        (("acc_x",), ("m/s2",), 0.0, "rate 0"),
        (("acc_x",), ("m/s2",), float("nan"), "rate nan"),
    ],
)
def test_streams_that_contradict_themselves_are_refused(
    channels: tuple[str, ...], units: tuple[str, ...], rate_hz: float, told: str
) -> None:
    with pytest.raises(InvalidStreamError, match=told):
        StreamInfo("wrist", channels, units, rate_hz, "test", "counter")


def test_a_sound_stream_is_accepted() -> None:
    assert StreamInfo("wrist", CHANNELS, UNITS, 52.0, "test", "device").units == UNITS


@pytest.mark.parametrize(
    ("times", "values", "lost"),
    [
        (np.zeros(3), np.zeros((2, 6), np.float32), 0),
        (np.zeros(2), np.zeros(2, np.float32), 0),
        (np.zeros(2, np.float32), np.zeros((2, 6), np.float32), 0),
        (np.zeros(2), np.zeros((2, 6)), 0),
        (np.zeros(2), np.zeros((2, 6), np.float32), -1),
    ],
)
def test_batches_whose_arrays_do_not_fit_are_refused(
    times: np.ndarray, values: np.ndarray, lost: int
) -> None:
    with pytest.raises(InvalidBatchError, match="'wrist'"):
        SampleBatch("wrist", times, values, lost)
