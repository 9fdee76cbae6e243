"""Writes what flows through a gateway to a session file, off the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVarTuple

from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import EmittedLabel, SessionWriter
from streamer.messages import Label

Ts = TypeVarTuple("Ts")


class Recorder:
    """An async context manager that is given streams, batches and labels.

    Raises (when entered):
        SessionError: the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._writer = SessionWriter(path)
        # One thread: what is cancelled while it is written is written before the session ends.
        self._thread = ThreadPoolExecutor(1, "recorder")

    async def __aenter__(self) -> Self:
        try:
            await self._write(self._writer.__enter__)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        ended = self._write(self._writer.__exit__)
        self._thread.shutdown(wait=False)
        await asyncio.shield(ended)

    async def add_stream(self, info: StreamInfo) -> None:
        """Record a stream's description."""
        await self._write(self._writer.add_stream, info)

    async def add_batch(self, batch: SampleBatch) -> None:
        """Record a batch as it came."""
        await self._write(self._writer.add_batch, batch)

    async def add_label(self, label: Label) -> None:
        """Record a label as it is published."""
        emitted = EmittedLabel(label.wearer, label.window.end, label.to_json())
        await self._write(self._writer.add_label, emitted)

    def _write(self, write: Callable[[*Ts], object], *arguments: *Ts) -> asyncio.Future[object]:
        return asyncio.get_running_loop().run_in_executor(self._thread, write, *arguments)
