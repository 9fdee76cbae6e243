"""Wires adapters, recogniser, recorder and publishers; the only place that knows them all."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from device_adapters.adapter import AdapterStatistics, DeviceAdapter
from device_adapters.samples import SampleBatch, StreamInfo
from streamer.errors import StreamMismatchError
from streamer.messages import Label
from streamer.publishers import Publisher, PublisherStatistics
from streamer.recognizer import Recognizer, RecognizerStatistics
from streamer.recorder import Recorder
from streamer.segments import SegmentTracker

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayStatistics:
    """What every part has done; refused streams by device, with the reason."""

    adapters: tuple[AdapterStatistics, ...]
    recognizer: RecognizerStatistics
    publishers: tuple[PublisherStatistics, ...]
    refused: dict[str, StreamMismatchError]


class Gateway:
    """Runs until all its adapters end, or until it is cancelled.

    Args:
        adapters: the sources of samples.
        recognizer: what turns them into labels.
        publishers: who gets the labels.
        recorder: writes samples and labels to a session, if given.
    """

    def __init__(
        self,
        adapters: Sequence[DeviceAdapter],
        recognizer: Recognizer,
        publishers: Sequence[Publisher],
        recorder: Recorder | None = None,
    ) -> None:
        self._adapters = adapters
        self._recognizer = recognizer
        self._publishers = publishers
        self._recorder = recorder
        self._segments = SegmentTracker(recognizer.manifest, recognizer.hop)
        self._opened: set[str] = set()
        self._refused: dict[str, StreamMismatchError] = {}
        self._turn = asyncio.Lock()

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
            async with asyncio.TaskGroup() as tasks:
                for adapter in self._adapters:
                    tasks.create_task(self._pump(adapter), name=f"pump {type(adapter).__name__}")

    def statistics(self) -> GatewayStatistics:
        """Return the counts of every part."""
        return GatewayStatistics(
            adapters=tuple(adapter.statistics() for adapter in self._adapters),
            recognizer=self._recognizer.statistics(),
            publishers=tuple(publisher.statistics() for publisher in self._publishers),
            refused=dict(self._refused),
        )

    async def _pump(self, adapter: DeviceAdapter) -> None:
        async for batch in adapter:
            # One batch at a time: labels leave in the order of their samples.
            async with self._turn:
                await self._take(adapter.streams[batch.device], batch)

    async def _take(self, info: StreamInfo, batch: SampleBatch) -> None:
        if info.device not in self._opened:
            await self._open(info)
        if self._recorder is not None:
            await self._recorder.add_batch(batch)
        if info.device in self._refused:
            return
        # onnxruntime releases the interpreter while it computes; the event loop goes on.
        labels = await asyncio.to_thread(self._recognizer.push, batch)
        for label in labels:
            await self._deliver(label)

    async def _open(self, info: StreamInfo) -> None:
        self._opened.add(info.device)
        if self._recorder is not None:
            await self._recorder.add_stream(info)
        try:
            self._recognizer.open(info)
        except StreamMismatchError as error:
            self._refused[info.device] = error
            _log.error("%s; its samples are not recognised", error)

    async def _deliver(self, label: Label) -> None:
        segments = self._segments.push(label)
        if self._recorder is not None:
            await self._recorder.add_label(label)
        for publisher in self._publishers:
            await publisher.publish(label, segments)
