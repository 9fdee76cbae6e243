"""Wires adapters, recogniser, recorder and publishers; the only place that knows them all."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import lru_cache

from device_adapters.adapter import AdapterStatistics, DeviceAdapter
from device_adapters.samples import SampleBatch, StreamInfo
from streamer.admission import Admission, has_channels_of
from streamer.errors import StreamerError
from streamer.messages import Label, Segment, StreamStatus
from streamer.publishers import Publisher, PublisherStatistics
from streamer.recognizer import Recognizer, RecognizerStatistics
from streamer.recorder import Recorder
from streamer.segments import SegmentTracker
from streamer.share.streaming import LARGEST_BATCH
from streamer.wearers import WearerConfig, Wearers, WearerStatistics

WAITING_BATCHES = 256
"""Batches of all devices that may wait for the recogniser."""

SPACING_SECONDS = 0.02
"""Calls of the recogniser begin at least so far apart, unless a full one waits: a wearable alone is
not held up, and many share a call."""

SENDING_TURNS = 4
"""Turns of the event loop after which what was published is on its way: a publisher's queue takes
one, a client's task another, and the writer of its socket two."""

ROLL_CALL_SECONDS = 60.0
"""Between two looks for devices that have left their adapters."""

ENDING_SECONDS = 5.0
"""How long the ends of segments may wait for a publisher that stalls."""

_log = logging.getLogger(__name__)

_Arrival = tuple[StreamInfo, SampleBatch]


@dataclass(frozen=True, slots=True)
class GatewayStatistics:
    """What every part has done.

    Attributes:
        adapters: of each adapter.
        waiting: batches that wait for the recogniser, of at most `WAITING_BATCHES`.
        recognizer: of the recogniser.
        wearers: of each wearer of several devices.
        publishers: of each publisher.
        devices: devices seen, recognised or not.
        refused: the devices of which a stream is not recognised, with the reason.
        turned_away: samples that the recogniser was not given.
    """

    adapters: tuple[AdapterStatistics, ...]
    waiting: int
    recognizer: RecognizerStatistics
    wearers: tuple[WearerStatistics, ...]
    publishers: tuple[PublisherStatistics, ...]
    devices: int
    refused: dict[str, StreamerError]
    turned_away: int


class Gateway:
    """Runs until all its adapters end, or until it is cancelled.

    Args:
        adapters: the sources of samples.
        recognizer: what turns them into labels.
        publishers: who gets the labels.
        recorder: writes samples and labels to a session, if given.
        wearers: those of several devices, by name.
        check_streams: whether to refuse streams whose first samples are not what they should be.

    Raises:
        WearerError: a wearer's channels or fallback are not what the bundle needs.
        BundleError: a fallback is missing, damaged or no bundle.
    """

    def __init__(
        self,
        adapters: Sequence[DeviceAdapter],
        recognizer: Recognizer,
        publishers: Sequence[Publisher],
        recorder: Recorder | None = None,
        wearers: Mapping[str, WearerConfig] | None = None,
        *,
        check_streams: bool = True,
    ) -> None:
        self._adapters = adapters
        self._recognizer = recognizer
        self._publishers = publishers
        self._recorder = recorder
        self._segments = SegmentTracker(recognizer.manifest, recognizer.hop)
        self._wearers = Wearers(recognizer, wearers or {})
        self._admission = Admission(self._wearers, check_streams=check_streams)
        self._recorded: dict[str, StreamInfo] = {}
        self._waiting: asyncio.Queue[_Arrival | None] = asyncio.Queue(WAITING_BATCHES)
        self._recognizing = asyncio.Lock()

    async def run(self) -> None:
        """Let samples flow until the adapters end.

        Raises:
            ExceptionGroup: of what an adapter raised because it can't go on.
        """
        async with AsyncExitStack() as stack:
            if self._recorder is not None:
                await stack.enter_async_context(self._recorder)
            for publisher in self._publishers:
                await stack.enter_async_context(publisher)
            for adapter in self._adapters:
                await stack.enter_async_context(adapter)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._recognize(), name="recognize")
                    roll_call = tasks.create_task(self._call_the_roll(), name="roll call")
                    await self._pump_all()
                    roll_call.cancel()
                    await self._waiting.put(None)
            finally:
                await self._end_segments()

    def statistics(self) -> GatewayStatistics:
        """Return the counts of every part."""
        return GatewayStatistics(
            adapters=tuple(adapter.statistics() for adapter in self._adapters),
            waiting=self._waiting.qsize(),
            recognizer=self._recognizer.statistics(),
            wearers=self._wearers.statistics(),
            publishers=tuple(publisher.statistics() for publisher in self._publishers),
            devices=self._admission.devices,
            refused=self._admission.refused,
            turned_away=self._admission.turned_away,
        )

    async def _pump_all(self) -> None:
        alike = Counter[type[DeviceAdapter]]()
        async with asyncio.TaskGroup() as tasks:
            for adapter in self._adapters:
                alike[type(adapter)] += 1
                pump = self._pump(adapter, alike[type(adapter)])
                tasks.create_task(pump, name=f"pump {type(adapter).__name__}")

    async def _pump(self, adapter: DeviceAdapter, number: int) -> None:
        # Waits while the queue is full: a recording can wait, a live adapter drops and counts.
        async for batch in adapter:
            info = adapter.streams[batch.device]
            await self._waiting.put((info if number == 1 else _numbered(info, number), batch))

    async def _recognize(self) -> None:
        """Take whatever waits, from all devices, in one call, until there is no more to come."""
        loop = asyncio.get_running_loop()
        ended, earliest = False, 0.0
        while not ended:
            arrivals = [await self._waiting.get()]
            if self._waiting.qsize() < LARGEST_BATCH and (early := earliest - loop.time()) > 0:
                await asyncio.sleep(early)
            earliest = loop.time() + SPACING_SECONDS
            while not self._waiting.empty():
                arrivals.append(self._waiting.get_nowait())
            ended = None in arrivals
            taken = [arrival for arrival in arrivals if arrival is not None]
            await self._record(taken)
            async with self._recognizing:
                # onnxruntime releases the interpreter while it computes; the event loop goes on.
                await self._deliver(await asyncio.to_thread(self._admission.push_all, taken))
                await self._tell(self._admission.news())
        await self._deliver(await asyncio.to_thread(self._wearers.flush))

    async def _call_the_roll(self) -> None:
        """Forget the devices that have left."""
        while True:
            await asyncio.sleep(ROLL_CALL_SECONDS)
            present = {device for adapter in self._adapters for device in adapter.streams}
            async with self._recognizing:
                self._admission.forget_all_but(present)
                await self._tell(self._admission.news())

    async def _record(self, arrivals: Sequence[_Arrival]) -> None:
        if self._recorder is None:
            return
        for info, batch in arrivals:
            if self._recorded.get(info.device) != info:
                self._recorded[info.device] = info
                await self._recorder.add_stream(info)
            if has_channels_of(info, batch):
                await self._recorder.add_batch(batch)

    async def _tell(self, news: Sequence[StreamStatus]) -> None:
        for status in news:
            for publisher in self._publishers:
                await publisher.tell(status)
        newest = {status.device: status for status in news}
        for device, status in newest.items():
            if not status.recognised and self._wearers.is_lone(device):
                await self._publish_segments(self._segments.end(device))

    async def _deliver(self, labels: Sequence[Label]) -> None:
        if not labels:
            return
        for label in labels:
            if self._recorder is not None:
                await self._recorder.add_label(label)
            for publisher in self._publishers:
                await publisher.publish(label)
        # The labels leave now; what they mean for the segments is worked out meanwhile.
        for _ in range(SENDING_TURNS):
            await asyncio.sleep(0)
        await self._publish_segments(self._segments.push(labels))

    async def _publish_segments(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            for publisher in self._publishers:
                await publisher.publish_segment(segment)

    async def _end_segments(self) -> None:
        ended = self._segments.end_all()
        try:
            async with asyncio.timeout(ENDING_SECONDS):
                await self._publish_segments(ended)
        except TimeoutError:
            _log.warning("not all of %d segments could be ended: a publisher stalls", len(ended))


@lru_cache(maxsize=10_000)
def _numbered(info: StreamInfo, number: int) -> StreamInfo:
    """Return the description with its adapter told from others of its kind."""
    return replace(info, adapter=f"{info.adapter} {number}")
