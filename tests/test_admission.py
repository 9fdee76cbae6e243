"""When streams are taken, turned away, and taken again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray
from typing_extensions import override

from conftest import CHANNELS, cut, stream_info, worn_samples
from device_adapters.samples import STANDARD_GRAVITY, SampleBatch, StreamInfo
from streamer.admission import Admission
from streamer.errors import NameInUseError
from streamer.messages import Label
from streamer.recognizer import Recognizer
from streamer.resample import GridRuns
from streamer.share.runtime import ShareModel
from streamer.wearers import WearerConfig, Wearers

INFO = stream_info()
CHECKED = 250
FIRST_LABELS = (CHECKED - 128) // 25 + 1
ALL_LABELS = (1000 - 128) // 25 + 1


def later(batch: SampleBatch, seconds: float) -> SampleBatch:
    return SampleBatch(batch.device, batch.times + seconds, batch.values)


def in_g(batch: SampleBatch) -> SampleBatch:
    values = batch.values.copy()
    values[:, :3] /= np.float32(STANDARD_GRAVITY)
    return SampleBatch(batch.device, batch.times, values)


def arrivals(
    info: StreamInfo, batch: SampleBatch, size: int
) -> list[tuple[StreamInfo, SampleBatch]]:
    return [(info, piece) for piece in cut(batch, [size])]


@pytest.fixture
def admission(bundle: Path) -> Admission:
    return Admission(Wearers(Recognizer.load(bundle), {}), check_streams=True)


WRONG = in_g(worn_samples(1000))


@pytest.mark.parametrize("size", [1, 13, 1000])
@pytest.mark.parametrize("calls", [1, 1000])
def test_a_refused_stream_that_comes_back_mended_is_taken_again(
    admission: Admission, size: int, calls: int
) -> None:
    came = arrivals(INFO, WRONG, size) + arrivals(INFO, later(worn_samples(1000), 60), size)
    step = -(-len(came) // calls)
    labels = []
    for begin in range(0, len(came), step):
        labels += admission.push_all(came[begin : begin + step])
    before = [label for label in labels if label.window.start < WRONG.times[0] + 50]
    after = [label for label in labels if label.window.start > WRONG.times[0] + 50]
    assert len(before) == FIRST_LABELS
    assert len(after) == (1000 - CHECKED - 128) // 25 + 1
    assert after[0].window.start == pytest.approx(WRONG.times[0] + 60 + CHECKED / 50)
    assert admission.refused == {}


def test_one_that_comes_back_as_it_was_stays_refused_and_unlabelled(
    admission: Admission, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(admission.push_all([(INFO, WRONG)])) == FIRST_LABELS
    for turn in range(1, 4):
        assert admission.push_all(arrivals(INFO, later(WRONG, 60 * turn), 10)) == []
        assert list(admission.refused) == ["wrist"]
    assert caplog.text.count("looks like g") == 1


def test_one_that_never_pauses_is_not_checked_again(admission: Admission) -> None:
    admission.push_all([(INFO, WRONG)])
    assert admission.push_all(arrivals(INFO, later(worn_samples(1000), 20.5), 10)) == []
    assert list(admission.refused) == ["wrist"]


def test_an_offset_that_moves_is_no_silence(admission: Admission) -> None:
    admission.push_all([(INFO, WRONG)])
    moved = replace(later(worn_samples(1000), 20), clock_offset_s=-0.03)
    assert admission.push_all([(INFO, moved)]) == []
    assert list(admission.refused) == ["wrist"]


def test_another_description_opens_the_stream_anew(admission: Admission) -> None:
    labels = admission.push_all(
        [(INFO, WRONG), (replace(INFO, conversion="g to m/s2"), later(worn_samples(1000), 20))]
    )
    assert len(labels) == FIRST_LABELS + ALL_LABELS
    assert admission.refused == {}


def test_a_description_that_does_not_fit_any_more_ends_the_stream(
    admission: Admission, caplog: pytest.LogCaptureFixture
) -> None:
    slow = replace(INFO, rate_hz=20.0)
    sound, after = worn_samples(1000), later(worn_samples(1000, rate_hz=20.0), 100)
    assert len(admission.push_all([(INFO, sound), (slow, after)])) == ALL_LABELS
    assert "20 Hz" in str(admission.refused["wrist"])
    assert admission.push_all([(slow, later(after, 500))]) == []
    assert caplog.text.count("20 Hz") == 1


@pytest.mark.parametrize("size", [1, 13, 1000])
def test_every_sample_is_recognised_or_counted(bundle: Path, size: int) -> None:
    recognizer = Recognizer.load(bundle)
    admission = Admission(Wearers(recognizer, {}), check_streams=True)
    mended = later(worn_samples(1000), 60)
    for arrival in arrivals(INFO, WRONG, size) + arrivals(INFO, mended, size):
        admission.push_all([arrival])
    assert recognizer.statistics().samples == CHECKED + 1000 - CHECKED
    assert admission.turned_away == 1000
    assert admission.devices == 1


def test_warnings_do_not_stop_labels(
    admission: Admission, caplog: pytest.LogCaptureFixture
) -> None:
    still = worn_samples(1000)
    still.values[:, 5] = 0
    assert len(admission.push_all([(INFO, still)])) == ALL_LABELS
    assert admission.refused == {}
    assert "stream of 'wrist': gyro_z never changes" in caplog.text


def test_what_became_of_a_stream_is_told_when_it_changes(admission: Admission) -> None:
    still = worn_samples(1000)
    still.values[:, 5] = 0
    told = []
    for batch in (later(still, -100), WRONG, later(WRONG, 60), later(worn_samples(1000), 120)):
        info = INFO if batch is not WRONG else replace(INFO, conversion="none")
        for arrival in arrivals(info, batch, 10):
            admission.push_all([arrival])
            told += admission.news()
    assert [(status.device, status.recognised) for status in told] == [
        ("wrist", True),
        ("wrist", False),
        ("wrist", True),
    ]
    assert "gyro_z never changes" in told[0].findings[0]
    assert "looks like g" in told[1].findings[0]
    assert told[2].findings == ()


@pytest.mark.parametrize("size", [13, 1000])
def test_one_that_left_and_comes_back_is_labelled_as_if_it_had_been_waited_for(
    bundle: Path, size: int
) -> None:
    came = [*cut(worn_samples(1000), [size]), *cut(later(worn_samples(1000), 4000.013), [size])]
    told: list[list[Label]] = []
    for leaves in (False, True):
        recognizer = Recognizer.load(bundle)
        admission = Admission(Wearers(recognizer, {}), check_streams=True)
        labels = []
        for number, piece in enumerate(came):
            if leaves and number == len(came) // 2:
                admission.forget_all_but({"hip"})
                assert recognizer.statistics().streams == 0
            labels += admission.push_all([(INFO, piece)])
        assert admission.devices == recognizer.statistics().streams == 1
        told.append(labels)
    waited_for, left = told
    assert len(waited_for) == 2 * ALL_LABELS
    assert waited_for[ALL_LABELS].lost == 199_001
    # It lost none: it was away.
    waited_for[ALL_LABELS] = structs.replace(waited_for[ALL_LABELS], lost=0)
    assert waited_for == left


def test_it_is_told_that_one_has_left_and_that_it_is_back(admission: Admission) -> None:
    admission.push_all([(INFO, worn_samples(1000))])
    assert [status.recognised for status in admission.news()] == [True]
    admission.forget_all_but({"wrist"})
    assert admission.news() == []
    admission.forget_all_but({"hip"})
    [left] = admission.news()
    assert (left.device, left.recognised) == ("wrist", False)
    assert "forgotten until it comes back" in left.findings[0]
    admission.push_all([(INFO, later(worn_samples(1000), 4000))])
    assert [status.recognised for status in admission.news()] == [True]


def test_no_samples_are_no_news(admission: Admission) -> None:
    none = worn_samples(0)
    assert admission.push_all([(INFO, none)]) == []
    assert admission.push_all([]) == []


def test_batches_that_waited_while_their_stream_got_other_channels_are_turned_away() -> None:
    recognizer = Recognizer.load("waist-acc")
    admission = Admission(Wearers(recognizer, {}), check_streams=True)
    batch = worn_samples(1000)
    narrow = SampleBatch(batch.device, batch.times, batch.values[:, :3])
    info = replace(INFO, channels=INFO.channels[:3], units=INFO.units[:3])
    labels = admission.push_all([(info, later(batch, -60)), (info, narrow)])
    assert len(labels) == ALL_LABELS
    assert admission.turned_away == recognizer.statistics().samples == 1000


class Noting(Recognizer):
    """Notes the grid points that it is given."""

    def __init__(self, model: ShareModel, hop_s: float | None = None) -> None:
        super().__init__(model, hop_s)
        self.points: list[NDArray[np.float32]] = []

    @override
    def push_grid(self, runs: GridRuns) -> list[Label]:
        self.points.append(runs.values)
        return super().push_grid(runs)


@pytest.mark.parametrize("size", [1, 13])
@pytest.mark.parametrize("calls", [1, 1000])
def test_a_wearer_goes_on_without_its_refused_device_as_if_that_was_never_there(
    bundle: Path, size: int, calls: int
) -> None:
    sources = {own: f"{'wrist' if own in CHANNELS[:3] else 'hip'}/{own}" for own in CHANNELS}
    recognizer = Noting.load(bundle)
    wearers = Wearers(recognizer, {"anna": WearerConfig(channels=sources)})
    admission = Admission(wearers, check_streams=True)
    hip = arrivals(stream_info("hip"), worn_samples(1000, "hip"), size)
    came = [each for both in zip(arrivals(INFO, WRONG, size), hip, strict=True) for each in both]
    step = -(-len(came) // calls)
    for begin in range(0, len(came), step):
        admission.push_all(came[begin : begin + step])
    assert list(admission.refused) == ["wrist"]
    acceleration = np.concatenate(recognizer.points)[:, :3]
    assert len(acceleration) > 900
    assert acceleration[: CHECKED - 5].all()
    assert not acceleration[CHECKED:].any()


def test_a_wearers_device_that_left_goes_on_to_count_as_it_lay(bundle: Path) -> None:
    sources = {own: f"{'wrist' if own in CHANNELS[:3] else 'hip'}/{own}" for own in CHANNELS}
    recognizer = Noting.load(bundle)
    wearers = Wearers(recognizer, {"anna": WearerConfig(channels=sources)})
    admission = Admission(wearers, check_streams=True)
    hip = stream_info("hip")
    admission.push_all([(INFO, worn_samples(500)), (hip, worn_samples(500, "hip"))])
    admission.forget_all_but({"hip"})
    admission.push_all([(hip, later(worn_samples(500, "hip"), 10))])
    assert recognizer.points[-1][:, :3].all()


def test_a_name_is_its_first_adapters_while_that_sends(
    admission: Admission, caplog: pytest.LogCaptureFixture
) -> None:
    rival = replace(INFO, adapter="ble")
    pieces = cut(worn_samples(1000), [10])
    labels = []
    for piece in pieces:
        labels += admission.push_all([(INFO, piece), (rival, piece)])
    assert len(labels) == ALL_LABELS
    assert admission.turned_away == 1000
    error = admission.refused["wrist"]
    assert isinstance(error, NameInUseError)
    assert (error.adapter, error.known) == ("ble", "test")
    assert [(status.recognised, status.findings) for status in admission.news()] == [
        (True, (str(error),))
    ]
    assert caplog.text.count("rename either device") == 1


def test_a_name_passes_to_another_adapter_after_a_silence(admission: Admission) -> None:
    rival = replace(INFO, adapter="ble")
    admission.push_all([(INFO, worn_samples(1000)), (rival, later(worn_samples(1000), 22))])
    assert "ble" in str(admission.refused["wrist"])
    labels = admission.push_all([(rival, later(worn_samples(1000), 60))])
    assert len(labels) == ALL_LABELS
    assert admission.refused == {}
    assert admission.turned_away == 1000


def test_another_adapter_that_falls_silent_is_forgotten(admission: Admission) -> None:
    rival = replace(INFO, adapter="ble")
    told = []
    for number, piece in enumerate(cut(worn_samples(1000), [50])):
        admission.push_all([(INFO, piece), (rival, piece)][: 2 if number < 10 else 1])
        told += [(number, status.recognised, len(status.findings)) for status in admission.news()]
    assert told == [(0, True, 1), (15, True, 0)]
    assert admission.refused == {}
