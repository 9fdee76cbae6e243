"""Writes what flows through a gateway to a session file, off the event loop."""

import asyncio
from pathlib import Path
from typing import Self

from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import EmittedLabel, SessionWriter
from streamer.messages import Label


class Recorder:
    """An async context manager that is given streams, batches and labels.

    Raises (when entered):
        SessionError: the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._writer = SessionWriter(path)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._writer.__enter__)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self._writer.__exit__)

    async def add_stream(self, info: StreamInfo) -> None:
        """Record a stream's description."""
        await asyncio.to_thread(self._writer.add_stream, info)

    async def add_batch(self, batch: SampleBatch) -> None:
        """Record a batch as it came."""
        await asyncio.to_thread(self._writer.add_batch, batch)

    async def add_label(self, label: Label) -> None:
        """Record a label as it is published."""
        emitted = EmittedLabel(label.wearer, label.window.end, label.to_json())
        await asyncio.to_thread(self._writer.add_label, emitted)
