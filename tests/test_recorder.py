"""Recording off the event loop: whatever is cancelled, the session is whole."""

import asyncio
import threading
from pathlib import Path

import pytest

from conftest import counted_samples, stream_info
from device_adapters.errors import SessionError
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import SessionReader, SessionWriter
from streamer.recorder import Recorder


class SlowWriting:
    """Makes every batch wait in the writing thread until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        write = SessionWriter.add_batch

        def add_batch(writer: SessionWriter, batch: SampleBatch) -> None:
            self.begun.set()
            assert self.let_go.wait(10)
            write(writer, batch)

        monkeypatch.setattr(SessionWriter, "add_batch", add_batch)


async def record(path: Path) -> None:
    async with Recorder(path) as recorder:
        await recorder.add_stream(stream_info())
        await recorder.add_batch(counted_samples(10))


@pytest.mark.parametrize("cancels", [1, 2])
async def test_what_is_being_written_when_it_is_cancelled_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cancels: int
) -> None:
    writing, path = SlowWriting(monkeypatch), tmp_path / "session.mcap"
    recording = asyncio.create_task(record(path))
    await asyncio.to_thread(writing.begun.wait, 10)
    for _ in range(cancels):
        recording.cancel()
        await asyncio.sleep(0.05)
    writing.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await recording
    async with asyncio.timeout(10):
        while threads_of_recorders():
            await asyncio.sleep(0.01)
    reader = SessionReader(path)
    info, batch = reader
    assert isinstance(info, StreamInfo)
    assert isinstance(batch, SampleBatch)
    assert reader.damage is None


async def test_a_file_that_cannot_be_written_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="can't be written"):
        await record(tmp_path / "missing" / "session.mcap")
    async with asyncio.timeout(10):
        while threads_of_recorders():
            await asyncio.sleep(0.01)


def threads_of_recorders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("recorder")]
