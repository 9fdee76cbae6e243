"""An adapter without a device: a recorded session, at any speed, cut into batches of any size."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field
from typing_extensions import override

from device_adapters.adapter import AdapterOptions, AdapterStatistics, DeviceAdapter
from device_adapters.errors import UnknownDeviceError
from device_adapters.pacing import Pacer
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import SessionEvent, SessionReader

READ_AHEAD_EVENTS = 256
"""Events read from the file in one go, off the event loop."""

_log = logging.getLogger(__name__)


class ReplayOptions(AdapterOptions):
    """Which session to replay, and how.

    Attributes:
        file: the session file.
        speed: a multiple of real time, or `max`.
        device: only this device of the session; all by default.
        batch: cut the samples into batches of this many; as recorded by default.
    """

    file: Path
    speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["max"] = 1.0
    device: str | None = None
    batch: int | None = Field(default=None, ge=1)


class ReplayAdapter(DeviceAdapter):
    """Yields a session's batches at the pace of their own times.

    Raises (while iterating):
        SessionError: the file can't be read or never was a session.
        UnknownDeviceError: the session does not hold the device asked for.
    """

    Options = ReplayOptions

    def __init__(self, options: ReplayOptions) -> None:
        self._options = options
        self._streams: dict[str, StreamInfo] = {}
        self._cutters: dict[str, _Cutter] = {}
        self._samples = 0
        self._lost = 0
        self.pacer = Pacer(None if options.speed == "max" else options.speed)

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
        async for batch in self._batches():
            await self.pacer.wait_until(batch.end + batch.clock_offset_s)
            self._samples += len(batch)
            self._lost += batch.lost
            yield batch

    @override
    def statistics(self) -> AdapterStatistics:
        return AdapterStatistics(samples=self._samples, lost=self._lost, dropped=0)

    async def _batches(self) -> AsyncIterator[SampleBatch]:
        found: set[str] = set()
        async for event in self._events():
            if isinstance(event, StreamInfo):
                found.add(event.device)
            for batch in self._cut(event):
                yield batch
        for cutter in self._cutters.values():
            for batch in cutter.flush():
                yield batch
        if self._options.device not in {None, *found}:
            raise UnknownDeviceError(str(self._options.device), str(self._options.file), found)

    def _cut(self, event: SessionEvent) -> Iterator[SampleBatch]:
        """Yield the batches that an event completes: samples, or a new description of a device."""
        if not isinstance(event, (StreamInfo, SampleBatch)):
            return
        if self._options.device not in {None, event.device}:
            return
        if isinstance(event, SampleBatch):
            yield from self._cutters[event.device].push(event)
            return
        if event.device in self._cutters:
            yield from self._cutters[event.device].flush()
        self._streams[event.device] = event
        self._cutters[event.device] = _Cutter(self._options.batch)

    async def _events(self) -> AsyncIterator[SessionEvent]:
        reader = SessionReader(self._options.file)
        remaining = iter(reader)
        while events := await asyncio.to_thread(_take, remaining):
            for event in events:
                yield event
        if reader.damage is not None:
            _log.warning("session %s is %s; replayed until there", reader.path, reader.damage)


def _take(events: Iterator[SessionEvent]) -> list[SessionEvent]:
    return list(islice(events, READ_AHEAD_EVENTS))


class _Cutter:
    """Cuts one device's batches anew, never where samples were lost or the clock's offset moved."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._pending: SampleBatch | None = None

    def push(self, batch: SampleBatch) -> Iterator[SampleBatch]:
        if self._size is None:
            yield batch
            return
        if self._pending is not None and not _follows(self._pending, batch):
            yield from self.flush()
        if self._pending is not None:
            batch = _joined(self._pending, batch)
        whole = len(batch) - len(batch) % self._size
        for start in range(0, whole, self._size):
            yield batch.part(start, start + self._size)
        self._pending = batch.part(whole, len(batch)) if whole < len(batch) else None

    def flush(self) -> Iterator[SampleBatch]:
        if self._pending is not None:
            yield self._pending
            self._pending = None


def _follows(first: SampleBatch, second: SampleBatch) -> bool:
    offsets = second.clock_offset_s, second.clock_set_s
    return not second.lost and offsets == (first.clock_offset_s, first.clock_set_s)


def _joined(first: SampleBatch, second: SampleBatch) -> SampleBatch:
    return replace(
        first,
        times=np.concatenate([first.times, second.times]),
        values=np.concatenate([first.values, second.values]),
    )
