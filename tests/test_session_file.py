import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mcap.reader import make_reader
from mcap.writer import Writer

from conftest import CHANNELS, EPOCH, UNITS, counted_samples, cut, stream_info, worn_samples
from device_adapters.errors import SessionError
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import (
    CHUNK_BYTES,
    Annotation,
    EmittedLabel,
    SessionReader,
    SessionWriter,
    read_annotations,
)
from streamer.datasets.sessions import read_session


def samples_of(path: Path) -> tuple[SessionReader, np.ndarray]:
    reader = SessionReader(path)
    batches = [event for event in reader if isinstance(event, SampleBatch)]
    values = [batch.values[:, 0] for batch in batches]
    return reader, np.concatenate([np.empty(0), *values])


@settings(max_examples=50)
@given(
    values=hnp.arrays(
        np.float32, (7, 6), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    ),
    start=st.floats(0, 4e9),
    lost=st.integers(0, 10_000),
)
def test_batches_come_back_bit_by_bit(
    tmp_path: Path, values: np.ndarray, start: float, lost: int
) -> None:
    batch = SampleBatch("wrist", start + np.arange(7) / 50, values, lost)
    path = tmp_path / "session.mcap"
    path.unlink(missing_ok=True)
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info())
        writer.add_batch(batch)
    info, read = list(SessionReader(path))
    assert isinstance(info, StreamInfo)
    assert isinstance(read, SampleBatch)
    assert read.times.tobytes() == batch.times.tobytes()
    assert read.values.tobytes() == batch.values.tobytes()
    assert read.lost == lost


def test_times_need_not_lie_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "session.mcap"
    every = counted_samples(20)
    second = SampleBatch("wrist", every.times[::2], every.values[::2])
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info())
        writer.add_batch(second)
    (read,) = (event for event in SessionReader(path) if isinstance(event, SampleBatch))
    assert np.array_equal(read.times, second.times)


def test_a_batch_of_nothing_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "session.mcap"
    empty = {"times": [], "values": {channel: [] for channel in CHANNELS}, "lost": 0}
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info())
        writer._add(writer._streams["wrist"][1], EPOCH, orjson.dumps(empty))
        writer.add_batch(counted_samples(20))
    info, batch = list(SessionReader(path))
    assert isinstance(info, StreamInfo)
    assert isinstance(batch, SampleBatch)
    assert len(batch) == 20


def test_a_session_is_not_written_over(counted_session: Path) -> None:
    before = counted_session.read_bytes()
    with (
        pytest.raises(SessionError, match="is there already; give another name"),
        SessionWriter(counted_session),
    ):
        pass
    assert counted_session.read_bytes() == before


def test_a_session_of_nothing_is_not_left(tmp_path: Path) -> None:
    path = tmp_path / "session.mcap"
    with SessionWriter(path):
        pass
    assert not path.exists()


def test_all_kinds_of_events_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "session.mcap"
    annotation = Annotation("wrist", "walk up stairs", EPOCH, EPOCH + 3)
    label = EmittedLabel("wrist", EPOCH + 2.54, b'{"label":"walk"}')
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info(rate_hz=52.0))
        writer.add_annotation(annotation)
        writer.add_batch(counted_samples(10))
        writer.add_label(label)
    reader = SessionReader(path)
    info, *events = list(reader)
    assert isinstance(info, StreamInfo)
    assert (info.device, info.rate_hz, info.clock) == ("wrist", 52.0, "recording")
    assert events[0] == annotation
    assert isinstance(events[1], SampleBatch)
    assert events[2] == label
    assert reader.damage is None
    assert read_annotations(path, "wrist") == [annotation]
    assert read_annotations(path, "ankle") == []


def test_a_device_whose_description_changes_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "session.mcap"
    infos = [
        stream_info(),
        replace(stream_info(), channels=CHANNELS[:3], units=UNITS[:3], rate_hz=100.0),
        stream_info(),
    ]
    batches = [
        SampleBatch("wrist", piece.times, np.ascontiguousarray(piece.values[:, : len(i.channels)]))
        for i, piece in zip(infos, cut(counted_samples(30), [10]), strict=True)
    ]
    with SessionWriter(path) as writer:
        for info, batch in zip(infos, batches, strict=True):
            writer.add_stream(info)
            writer.add_batch(batch)
    events = list(SessionReader(path))
    read = [event for event in events if isinstance(event, StreamInfo)]
    assert events[::2] == read
    assert [(info.channels, info.rate_hz) for info in read] == [
        (info.channels, info.rate_hz) for info in infos
    ]
    for event, batch in zip(events[1::2], batches, strict=True):
        assert isinstance(event, SampleBatch)
        np.testing.assert_array_equal(event.values, batch.values)
    first, second = read_session(path)
    assert (first.values.shape, second.values.shape) == ((20, 6), (10, 3))


def test_other_mcap_tools_can_read_a_session(counted_session: Path) -> None:
    with counted_session.open("rb") as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        assert summary is not None
        assert {channel.topic for channel in summary.channels.values()} == {
            "/wrist/samples",
            "/wrist/annotation",
        }
        assert {channel.message_encoding for channel in summary.channels.values()} == {"json"}
        assert sum(1 for _ in reader.iter_messages(topics="/wrist/samples")) == 300


def test_what_was_written_is_on_the_disk_before_the_recorder_ends(tmp_path: Path) -> None:
    path = tmp_path / "session.mcap"
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info())
        for batch in cut(counted_samples(3000), [10]):
            writer.add_batch(batch)
        reader, numbers = samples_of(path)
        assert reader.damage is not None
        assert len(numbers) > 2500
        assert numbers.tolist() == list(range(len(numbers)))


@settings(max_examples=200)
@given(data=st.data())
def test_a_session_that_is_cut_anywhere_reads_up_to_there(
    tmp_path: Path, counted_session: Path, data: st.DataObject
) -> None:
    whole = counted_session.read_bytes()
    size = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path / "cut.mcap"
    path.write_bytes(whole[:size])
    try:
        reader, numbers = samples_of(path)
    except SessionError:
        assert size < 100, "the file's head is whole"
        return
    assert reader.damage is not None
    assert str(len(whole[:size])) in str(reader.damage)
    assert numbers.tolist() == list(range(len(numbers)))


@settings(max_examples=200)
@given(data=st.data())
def test_a_session_with_overwritten_bytes_never_yields_wrong_samples(
    tmp_path: Path, counted_session: Path, data: st.DataObject
) -> None:
    whole = bytearray(counted_session.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged.mcap"
    path.write_bytes(whole)
    try:
        _, numbers = samples_of(path)
    except SessionError:
        return
    assert numbers.tolist() == list(range(len(numbers)))


@pytest.mark.parametrize("content", [b"", b"not a session", b"\x89MCAP0\r\n", b"\x89MC"])
def test_what_never_was_a_session_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.mcap"
    path.write_bytes(content)
    with pytest.raises(SessionError, match=r"file\.mcap"):
        list(SessionReader(path))


def test_an_mcap_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "robot.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        writer.finish()
    with pytest.raises(SessionError, match="'ros2'"):
        list(SessionReader(path))


def test_a_missing_file_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="No such file"):
        list(SessionReader(tmp_path / "missing.mcap"))
    with pytest.raises(SessionError, match="can't be written"):
        SessionWriter(tmp_path / "missing" / "new.mcap").__enter__()


def write_batches(path: Path, batches: list[SampleBatch]) -> None:
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info())
        for batch in batches:
            writer.add_batch(batch)


def test_a_full_disk_is_told_with_the_file_and_what_was_written_is_kept(tmp_path: Path) -> None:
    path, batch = tmp_path / "long.mcap", worn_samples(50)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * CHUNK_BYTES, usual[1]))
    try:
        with pytest.raises(SessionError, match=r"long\.mcap: can't be written: File too large"):
            write_batches(path, [batch] * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    reader = SessionReader(path)
    assert sum(isinstance(event, SampleBatch) for event in reader) > 10
    assert reader.damage is not None
