import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CHANNELS, EPOCH, UNITS, counted_samples, cut, stream_info
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import SessionReader
from streamer.errors import BundleError, HopError, StreamMismatchError
from streamer.messages import Label
from streamer.recognizer import Recognizer


def recorded(path: Path, seconds: float, device: str = "wrist") -> SampleBatch:
    batches = [event for event in SessionReader(path) if isinstance(event, SampleBatch)]
    count = int(seconds * 50)
    times = np.concatenate([batch.times for batch in batches])[:count]
    return SampleBatch(device, times, np.concatenate([b.values for b in batches])[:count])


def payloads(labels: list[Label]) -> list[bytes]:
    return [label.to_json() for label in labels]


def test_labels_come_every_hop_once_the_window_is_full(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle)
    labels = recognizer.push(counted_samples(500))
    assert [label.seq for label in labels] == list(range((500 - 128) // 25 + 1))
    assert labels[0].window.start == EPOCH
    assert labels[0].window.end == EPOCH + 127 / 50
    assert np.diff([label.window.end for label in labels]) == pytest.approx(0.5)
    for label in labels:
        assert label.words == tuple(label.label.split())
        assert label.p >= max(other.p for other in label.alternatives)
        assert (label.observed, label.lost) == (1.0, 0)


@pytest.mark.parametrize("hop_s", [0.0, -1.0, 61.0, float("inf"), float("nan")])
def test_what_can_not_be_between_two_labels_is_refused(bundle: Path, hop_s: float) -> None:
    with pytest.raises(HopError, match="it must be above 0 and at most 60 s"):
        Recognizer.load(bundle, hop_s)


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(1, 120), min_size=1, max_size=4))
def test_labels_do_not_depend_on_the_cut(
    bundle: Path, real_session: Path, sizes: list[int]
) -> None:
    batch = recorded(real_session, 20)
    whole = Recognizer.load(bundle).push(batch)
    pieces = Recognizer.load(bundle).push_all(cut(batch, sizes))
    assert payloads(whole) == payloads(pieces)


def test_labels_do_not_depend_on_who_else_is_there(bundle: Path, real_session: Path) -> None:
    alone = Recognizer.load(bundle).push(recorded(real_session, 20))
    crowd = Recognizer.load(bundle)
    parts = [cut(recorded(real_session, 20, f"d{n}"), [10 + n]) for n in range(20)]
    parts.append(cut(recorded(real_session, 20), [10]))
    mixed = [part[turn] for turn in range(100) for part in parts if turn < len(part)]
    labels = [label for label in crowd.push_all(mixed) if label.wearer == "wrist"]
    assert payloads(labels) == payloads(alone)


def test_a_faster_device_gets_the_same_activities(bundle: Path, real_session: Path) -> None:
    slow = recorded(real_session, 60)
    times = slow.times[0] + np.arange(6000) / 100
    columns = [np.interp(times, slow.times, slow.values[:, c]) for c in range(6)]
    fast = SampleBatch("wrist", times, np.stack(columns, axis=1).astype(np.float32))
    recognizer = Recognizer.load(bundle)
    recognizer.open(stream_info(rate_hz=100.0))
    expected = [label.label for label in Recognizer.load(bundle).push(slow)]
    got = [label.label for label in recognizer.push(fast)]
    agree = np.mean([a == b for a, b in zip(expected, got, strict=False)])
    assert len(expected) - len(got) <= 1
    assert agree > 0.9


@pytest.mark.parametrize(
    ("rate_hz", "told"),
    [(44.0, "44 Hz, needed at least 45 Hz"), (2001.0, "2001 Hz, needed at most 2000 Hz")],
)
def test_a_rate_far_from_the_models_is_refused(bundle: Path, rate_hz: float, told: str) -> None:
    recognizer = Recognizer.load(bundle)
    with pytest.raises(StreamMismatchError, match=told):
        recognizer.open(stream_info(rate_hz=rate_hz))


def test_channels_are_taken_by_name(bundle: Path, real_session: Path) -> None:
    batch = recorded(real_session, 20)
    info = StreamInfo("wrist", CHANNELS[::-1], UNITS[::-1], 50.0, "test", "counter")
    turned = SampleBatch("wrist", batch.times, np.ascontiguousarray(batch.values[:, ::-1]))
    recognizer = Recognizer.load(bundle)
    recognizer.open(info)
    assert payloads(recognizer.push(turned)) == payloads(Recognizer.load(bundle).push(batch))


@pytest.mark.parametrize(
    ("info", "told"),
    [
        (StreamInfo("w", CHANNELS[:3], UNITS[:3], 50.0, "t", "device"), "acc_x, acc_y, acc_z, n"),
        (StreamInfo("w", CHANNELS, UNITS[::-1], 50.0, "t", "device"), "acc_x is in rad/s"),
        (StreamInfo("w", CHANNELS, UNITS, 25.0, "t", "device"), "25 Hz, needed at least 45 Hz"),
    ],
)
def test_a_stream_that_does_not_fit_is_refused(bundle: Path, info: StreamInfo, told: str) -> None:
    with pytest.raises(StreamMismatchError, match=told):
        Recognizer.load(bundle).open(info)


def test_a_batch_of_other_channels_is_refused(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle)
    recognizer.open(stream_info())
    narrow = SampleBatch("wrist", np.zeros(1), np.zeros((1, 3), np.float32))
    with pytest.raises(StreamMismatchError, match="3 channels"):
        recognizer.push(narrow)


def test_gaps_are_told_in_the_labels_and_counted(bundle: Path) -> None:
    whole = counted_samples(600)
    keep = np.ones(600, dtype=bool)
    keep[200:204] = False
    keep[300:350] = False
    recognizer = Recognizer.load(bundle)
    labels = recognizer.push(SampleBatch("wrist", whole.times[keep], whole.values[keep]))
    across = [
        la for la in labels if la.window.start <= EPOCH + 4.0 and la.window.end >= EPOCH + 4.1
    ]
    assert across
    assert {(label.observed, label.lost) for label in across} == {(round(124 / 128, 4), 4)}
    assert not [la for la in labels if la.window.start < EPOCH + 6 < la.window.end]
    after = [label for label in labels if label.window.start >= EPOCH + 7]
    assert after[0].window.start == EPOCH + 7
    assert after[0].lost == 50
    assert recognizer.statistics().lost == 54


def test_hops_can_be_chosen(bundle: Path) -> None:
    labels = Recognizer.load(bundle, hop_s=0.2).push(counted_samples(300))
    assert np.diff([label.window.end for label in labels]) == pytest.approx(0.2)


def test_a_closed_stream_starts_afresh(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle)
    recognizer.push(counted_samples(127))
    recognizer.close("wrist")
    assert recognizer.statistics().streams == 0
    assert recognizer.push(counted_samples(127)) == []
    recognizer.close("nobody")


def test_what_was_counted_outlives_its_stream(bundle: Path) -> None:
    batch = counted_samples(300)
    batch.values[250] = np.nan
    recognizer = Recognizer.load(bundle)
    labels = recognizer.push(replace(batch, lost=7))
    recognizer.push(batch)
    before = recognizer.statistics()
    assert (before.lost, before.impossible, before.out_of_order) == (8, 2, 299)
    recognizer.close("wrist")
    assert recognizer.statistics() == replace(before, streams=0)
    recognizer.open(stream_info("another"))
    labels += recognizer.push(counted_samples(300))
    after = recognizer.statistics()
    assert (after.samples, after.labels) == (900, len(labels))
    assert [label.seq for label in labels] == list(range(len(labels)))


def test_what_a_stream_lost_is_counted_though_it_ends_before_a_point_tells(bundle: Path) -> None:
    whole = counted_samples(300)
    # Between the grid's points, the newest samples wait for others.
    off_grid = SampleBatch("wrist", whole.times + 0.007, whole.values)
    recognizer = Recognizer.load(bundle)
    recognizer.push(off_grid.part(0, 200))
    recognizer.push(replace(off_grid.part(200, 203), lost=7))
    recognizer.close("wrist")
    assert recognizer.statistics().lost == 7
    recognizer.push(off_grid.part(0, 200))
    impossible = SampleBatch("wrist", off_grid.times[200:203], whole.values[:3] * np.nan, 5)
    recognizer.push(impossible)
    recognizer.open(stream_info())
    recognizer.push(off_grid.part(0, 200))
    assert recognizer.statistics().lost == 12


def test_a_time_that_is_no_number_does_not_hold_the_hosts_offset(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle)
    labels = []
    whole = counted_samples(600)
    for number in range(24):
        batch = whole.part(25 * number, 25 * number + 25)
        times = batch.times.copy()
        times[-1] = np.nan if number == 8 else times[-1]
        labels += recognizer.push(
            SampleBatch("wrist", times, batch.values, clock_offset_s=float(number))
        )
    assert labels[-1].window.end == pytest.approx(whole.times[577] + 23, abs=1e-5)
    assert recognizer.statistics().impossible == 1


def test_statistics_can_be_asked_for_while_another_thread_opens_streams(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle)
    opening = threading.Thread(
        target=lambda: [recognizer.open(stream_info(f"d{number}")) for number in range(1500)]
    )
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        opening.start()
        while opening.is_alive():
            recognizer.statistics()
    finally:
        sys.setswitchinterval(interval)
        opening.join()
    assert recognizer.statistics().streams == 1500


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        Recognizer.load(tmp_path / "none.onnx")
