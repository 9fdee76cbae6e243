import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from blockbuster import BlockBuster
from typing_extensions import override

from conftest import counted_samples, cut, stream_info, worn_samples
from device_adapters.adapter import AdapterStatistics, DeviceAdapter
from device_adapters.replay import ReplayAdapter, ReplayOptions
from device_adapters.samples import STANDARD_GRAVITY, SampleBatch, StreamInfo
from device_adapters.session_file import EmittedLabel, SessionReader
from device_adapters.synthetic import SyntheticAdapter, SyntheticOptions
from streamer.errors import NameInUseError
from streamer.gateway import Gateway
from streamer.messages import Label, Segment, SegmentEvent, StreamStatus, parse_label
from streamer.publishers import Publisher, PublisherStatistics
from streamer.recognizer import Recognizer
from streamer.recorder import Recorder


class Collector(Publisher):
    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.segments: list[Segment] = []
        self.open = False

    @override
    async def __aenter__(self) -> Self:
        self.open = True
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        self.open = False

    @override
    async def publish(self, label: Label) -> None:
        assert self.open
        self.payloads.append(label.to_json())

    @override
    async def publish_segment(self, segment: Segment) -> None:
        assert self.open
        self.segments.append(segment)

    @override
    def statistics(self) -> PublisherStatistics:
        return PublisherStatistics(len(self.payloads))


class Scripted(DeviceAdapter):
    """Yields these batches, then fails if there is an error to raise."""

    def __init__(
        self, info: StreamInfo, batches: list[SampleBatch], error: Exception | None = None
    ) -> None:
        self._streams = {info.device: info}
        self._batches = batches
        self._error = error

    @property
    @override
    def streams(self) -> Mapping[str, StreamInfo]:
        return self._streams

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        pass

    @override
    async def __aiter__(self) -> AsyncIterator[SampleBatch]:
        for batch in self._batches:
            yield batch
            await asyncio.sleep(0)
        if self._error is not None:
            raise self._error

    @override
    def statistics(self) -> AdapterStatistics:
        return AdapterStatistics(0, 0, 0)


async def run_replay(bundle: Path, **options: Any) -> Collector:
    collector = Collector()
    adapter = ReplayAdapter(ReplayOptions.model_validate(options))
    await Gateway([adapter], Recognizer.load(bundle), [collector]).run()
    return collector


@pytest.fixture(scope="module")
def expected(bundle: Path, real_session: Path) -> list[bytes]:
    return asyncio.run(run_replay(bundle, file=real_session, speed="max")).payloads


@pytest.mark.parametrize("batch", [1, 7, 50])
async def test_a_replay_gives_the_same_bytes_however_it_is_cut(
    bundle: Path, real_session: Path, expected: list[bytes], batch: int
) -> None:
    collector = await run_replay(bundle, file=real_session, speed="max", batch=batch)
    assert collector.payloads == expected


@pytest.mark.parametrize("speed", [40, 100])
async def test_a_replay_gives_the_same_bytes_at_every_speed(
    bundle: Path, real_session: Path, expected: list[bytes], speed: float
) -> None:
    collector = await run_replay(bundle, file=real_session, speed=speed)
    assert collector.payloads == expected


async def test_a_live_recording_replays_to_the_labels_that_were_emitted(
    bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "live.mcap"
    adapter = SyntheticAdapter(SyntheticOptions(devices=2, seconds=4, batch=5))
    live = Collector()
    await Gateway([adapter], Recognizer.load(bundle), [live], Recorder(path)).run()
    recorded = [event for event in SessionReader(path) if isinstance(event, EmittedLabel)]
    replayed = await run_replay(bundle, file=path, speed="max")
    assert len(live.payloads) >= 4
    assert [label.payload for label in recorded] == live.payloads
    assert sorted(replayed.payloads) == sorted(live.payloads)
    assert adapter.statistics().dropped == 0


async def test_batches_that_waited_while_their_stream_got_other_channels_are_not_recorded(
    bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "live.mcap"
    narrow, *wide = cut(worn_samples(300), [50])
    narrow = SampleBatch(narrow.device, narrow.times, narrow.values[:, :3])
    live = Collector()
    adapter = Scripted(stream_info(), [narrow, *wide])
    gateway = Gateway([adapter], Recognizer.load(bundle), [live], Recorder(path))
    await gateway.run()
    assert gateway.statistics().turned_away == 50
    recorded = [event for event in SessionReader(path) if isinstance(event, SampleBatch)]
    assert [len(batch) for batch in recorded] == [50] * 5
    assert live.payloads
    assert (await run_replay(bundle, file=path, speed="max")).payloads == live.payloads


async def test_a_stream_that_does_not_fit_is_refused_and_the_others_go_on(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Scripted(stream_info("slow", 20.0), cut(counted_samples(200, "slow", 20.0), [10]))
    sound = Scripted(stream_info("sound"), cut(counted_samples(200, "sound"), [10]))
    collector = Collector()
    gateway = Gateway([slow, sound], Recognizer.load(bundle), [collector])
    await gateway.run()
    assert len(collector.payloads) == 3
    assert list(gateway.statistics().refused) == ["slow"]
    assert caplog.text.count("does not fit the bundle") == 1


async def test_an_adapter_that_cannot_go_on_ends_the_gateway_tidily(
    bundle: Path, no_leaked_tasks: None
) -> None:
    broken = Scripted(stream_info(), cut(counted_samples(10), [10]), RuntimeError("unplugged"))
    endless = SyntheticAdapter(SyntheticOptions())
    collector = Collector()
    with pytest.raises(ExceptionGroup) as caught:
        await Gateway([broken, endless], Recognizer.load(bundle), [collector]).run()
    assert caught.group_contains(RuntimeError, match="unplugged")
    assert not collector.open


async def test_a_cancelled_gateway_leaves_nothing_behind(
    bundle: Path, tmp_path: Path, no_leaked_tasks: None
) -> None:
    path = tmp_path / "cancelled.mcap"
    collector = Collector()
    adapter = SyntheticAdapter(SyntheticOptions(batch=2))
    gateway = Gateway([adapter], Recognizer.load(bundle), [collector], Recorder(path))
    running = asyncio.create_task(gateway.run())
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not collector.open
    reader = SessionReader(path)
    assert any(isinstance(event, SampleBatch) for event in reader)
    assert reader.damage is None


async def test_the_event_loop_is_never_blocked(bundle: Path, tmp_path: Path) -> None:
    adapter = SyntheticAdapter(SyntheticOptions(seconds=3.5))
    gateway = Gateway(
        [adapter], Recognizer.load(bundle), [Collector()], Recorder(tmp_path / "s.mcap")
    )
    detector = BlockBuster()
    detector.activate()
    try:
        await gateway.run()
    finally:
        detector.deactivate()
    assert gateway.statistics().recognizer.labels >= 1


async def test_of_two_adapters_of_one_kind_under_one_name_the_second_is_refused(
    bundle: Path, worn_session: Path
) -> None:
    options = ReplayOptions(file=worn_session, speed="max")
    adapters = [ReplayAdapter(options), ReplayAdapter(options)]
    gateway = Gateway(adapters, Recognizer.load(bundle), [])
    await gateway.run()
    (refused,) = gateway.statistics().refused.values()
    assert isinstance(refused, NameInUseError)
    assert {refused.adapter, refused.known} == {"test", "test 2"}
    assert gateway.statistics().turned_away == gateway.statistics().recognizer.samples


async def test_the_counts_of_every_part_add_up(bundle: Path) -> None:
    batches = cut(worn_samples(300), [10])
    gateway = Gateway([Scripted(stream_info(), batches)], Recognizer.load(bundle), [Collector()])
    await gateway.run()
    statistics = gateway.statistics()
    assert statistics.recognizer.samples == 300
    assert statistics.recognizer.labels == statistics.publishers[0].published == 7


def in_g(batch: SampleBatch) -> SampleBatch:
    values = batch.values.copy()
    values[:, :3] /= np.float32(STANDARD_GRAVITY)
    return SampleBatch(batch.device, batch.times, values)


@pytest.mark.parametrize("size", [1, 7, 300])
async def test_a_stream_in_another_unit_is_labelled_until_the_check_is_done(
    bundle: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    wrong = Scripted(stream_info("wrong"), cut(in_g(worn_samples(1000, "wrong")), [size]))
    sound = Scripted(stream_info("sound"), cut(worn_samples(1000, "sound"), [size]))
    collector = Collector()
    gateway = Gateway([wrong, sound], Recognizer.load(bundle), [collector])
    await gateway.run()
    wearers = [parse_label("test", payload).wearer for payload in collector.payloads]
    assert wearers.count("wrong") == (250 - 128) // 25 + 1
    assert wearers.count("sound") == (1000 - 128) // 25 + 1
    assert "looks like g, not m/s2" in str(gateway.statistics().refused["wrong"])
    assert gateway.statistics().recognizer.streams == 1
    assert caplog.text.count("looks like g") == 1


def ends(collector: Collector) -> list[tuple[str, SegmentEvent]]:
    return [(segment.wearer, segment.event) for segment in collector.segments[-1:]]


async def test_the_end_of_a_recording_ends_its_segments(bundle: Path, worn_session: Path) -> None:
    collector = await run_replay(bundle, file=worn_session, speed="max")
    assert ends(collector) == [("wrist", SegmentEvent.END)]


async def test_a_gateway_that_is_stopped_ends_its_segments(bundle: Path) -> None:
    collector = Collector()
    batches = cut(worn_samples(300), [10])
    endless = SyntheticAdapter(SyntheticOptions(batch=100))
    gateway = Gateway(
        [Scripted(stream_info(), batches), endless], Recognizer.load(bundle), [collector]
    )
    running = asyncio.create_task(gateway.run())
    async with asyncio.timeout(10):
        while not collector.segments:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert ends(collector) == [("wrist", SegmentEvent.END)]


async def test_a_refused_stream_ends_its_segment(bundle: Path) -> None:
    wrong = Scripted(stream_info("wrong"), cut(in_g(worn_samples(1000, "wrong")), [50]))
    collector = Collector()
    gateway = Gateway([wrong], Recognizer.load(bundle), [collector])
    ended: list[tuple[str, SegmentEvent]] = []
    tell = gateway._tell

    async def noted(news: Sequence[StreamStatus]) -> None:
        await tell(news)
        if news:
            ended.extend(ends(collector))

    gateway._tell = noted  # type: ignore[method-assign]
    await gateway.run()
    assert ended == [("wrong", SegmentEvent.END)]


async def test_a_device_that_left_ends_its_segment(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.gateway.ROLL_CALL_SECONDS", 0.01)
    collector = Collector()
    leaving = Scripted(stream_info(), cut(worn_samples(300), [10]))
    staying = SyntheticAdapter(SyntheticOptions(batch=10_000))
    gateway = Gateway([leaving, staying], Recognizer.load(bundle), [collector])
    running = asyncio.create_task(gateway.run())
    async with asyncio.timeout(10):
        while not collector.segments:
            await asyncio.sleep(0.01)
        leaving._streams.clear()
        while ends(collector) != [("wrist", SegmentEvent.END)]:
            await asyncio.sleep(0.01)
    assert gateway.statistics().recognizer.streams == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_check_can_be_turned_off(bundle: Path) -> None:
    wrong = Scripted(stream_info(), cut(in_g(worn_samples(500)), [50]))
    collector = Collector()
    gateway = Gateway([wrong], Recognizer.load(bundle), [collector], check_streams=False)
    await gateway.run()
    assert len(collector.payloads) == (500 - 128) // 25 + 1
    assert not gateway.statistics().refused
