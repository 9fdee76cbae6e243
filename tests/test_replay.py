import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conftest import EPOCH, counted_samples, cut, stream_info
from device_adapters.errors import SessionError, UnknownDeviceError
from device_adapters.replay import ReplayAdapter, ReplayOptions
from device_adapters.samples import SampleBatch
from device_adapters.session_file import SessionWriter


async def replayed(path: Path, **options: Any) -> tuple[ReplayAdapter, list[SampleBatch]]:
    adapter = ReplayAdapter(ReplayOptions(file=path, speed="max", **options))
    async with adapter:
        return adapter, [batch async for batch in adapter]


def numbers(batches: list[SampleBatch]) -> list[float]:
    return [float(value) for batch in batches for value in batch.values[:, 0]]


@pytest.mark.parametrize("size", [None, 1, 7, 50, 5000])
async def test_every_sample_comes_once_and_in_order(
    counted_session: Path, size: int | None
) -> None:
    adapter, batches = await replayed(counted_session, batch=size)
    assert numbers(batches) == list(range(3000))
    assert adapter.streams["wrist"].rate_hz == 50.0
    assert adapter.statistics().samples == 3000
    if size is not None:
        assert {len(batch) for batch in batches[:-1]} <= {size}


async def test_batches_are_not_joined_across_lost_samples(tmp_path: Path) -> None:
    path = tmp_path / "lossy.mcap"
    before, after = counted_samples(10), counted_samples(20)
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info())
        writer.add_batch(before)
        writer.add_batch(SampleBatch("wrist", after.times[14:], after.values[14:], lost=4))
    adapter, batches = await replayed(path, batch=8)
    assert [(len(batch), batch.lost) for batch in batches] == [(8, 0), (2, 0), (6, 4)]
    assert adapter.statistics().lost == 4


async def test_batches_are_not_joined_across_another_description(tmp_path: Path) -> None:
    path = tmp_path / "changed.mcap"
    with SessionWriter(path) as writer:
        for rate, batch in zip((50.0, 100.0, 50.0), cut(counted_samples(30), [10]), strict=True):
            writer.add_stream(stream_info(rate_hz=rate))
            writer.add_batch(batch)
    adapter = ReplayAdapter(ReplayOptions(file=path, speed="max", batch=8))
    async with adapter:
        came = [(len(batch), adapter.streams["wrist"].rate_hz) async for batch in adapter]
    assert came == [(8, 50.0), (2, 50.0), (8, 100.0), (2, 100.0), (8, 50.0), (2, 50.0)]


async def test_only_the_device_asked_for_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "two.mcap"
    with SessionWriter(path) as writer:
        for device in ("wrist", "ankle"):
            writer.add_stream(stream_info(device))
            writer.add_batch(counted_samples(10, device))
    _, batches = await replayed(path, device="ankle")
    assert {batch.device for batch in batches} == {"ankle"}
    with pytest.raises(UnknownDeviceError, match="ankle, wrist"):
        await replayed(path, device="knee")


async def test_the_pace_is_that_of_the_samples_times_the_speed(counted_session: Path) -> None:
    loop = asyncio.get_running_loop()
    adapter = ReplayAdapter(ReplayOptions(file=counted_session, speed=200.0))
    began = loop.time()
    async with adapter:
        async for batch in adapter:
            assert loop.time() >= adapter.pacer.due(float(batch.times[-1])) - 0.005
    assert 0.28 < loop.time() - began < 3.0


async def test_a_cut_session_is_told_about_once(
    counted_session: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counted_session.write_bytes(counted_session.read_bytes()[:20_000])
    _, batches = await replayed(counted_session)
    assert numbers(batches) == list(range(len(numbers(batches))))
    (told,) = [record.message for record in caplog.records]
    assert str(counted_session) in told
    assert "cut off" in told


async def test_a_file_that_is_no_session_ends_the_replay(tmp_path: Path) -> None:
    with pytest.raises(SessionError):
        await replayed(tmp_path / "missing.mcap")


@given(
    st.one_of(st.floats(max_value=0), st.just(float("inf")), st.text().filter(lambda t: t != "max"))
)
def test_speeds_that_make_no_sense_are_refused(speed: float | str) -> None:
    try:
        accepted = ReplayOptions.model_validate({"file": "x.mcap", "speed": speed}).speed
    except ValidationError:
        return
    assert np.isfinite(float(accepted))
    assert float(accepted) > 0


def test_the_counted_session_starts_at_its_epoch(counted_session: Path) -> None:
    _, batches = asyncio.run(replayed(counted_session))
    assert batches[0].times[0] == EPOCH
