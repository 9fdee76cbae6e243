"""Recordings to sessions and back."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import Annotation, SessionReader, SessionWriter
from streamer.datasets.dataset import Recording
from streamer.datasets.names import renamed

BATCHES_PER_SECOND = 5
"""What a wearable sends."""


def write_session(recording: Recording, path: Path, names: Mapping[str, str] | None = None) -> None:
    """Write a recording as a session, its annotations under these names.

    Raises:
        SessionError: the file can't be written.
    """
    times, values, info = recording.times, recording.values, recording.stream
    size = max(1, round(info.rate_hz / BATCHES_PER_SECOND))
    pending = sorted(recording.annotations, key=lambda annotation: annotation.start)
    with SessionWriter(path) as writer:
        writer.add_stream(info)
        for first in range(0, len(times), size):
            batch = slice(first, first + size)
            while pending and pending[0].start <= times[batch][-1]:
                span = pending.pop(0)
                (label,) = renamed([span.label], names or {})
                writer.add_annotation(Annotation(span.wearer, label, span.start, span.end))
            writer.add_batch(SampleBatch(info.device, times[batch], values[batch]))


def read_session(path: Path) -> Iterator[Recording]:
    """Read a session, a recording for each device; for each of its descriptions, if they changed.

    Raises:
        SessionError: the file can't be read.
    """
    streams: dict[str, StreamInfo] = {}
    batches: dict[StreamInfo, list[SampleBatch]] = {}
    annotations: list[Annotation] = []
    reader = SessionReader(path)
    for event in reader:
        if isinstance(event, StreamInfo):
            streams[event.device] = event
            batches.setdefault(event, [])
        elif isinstance(event, SampleBatch):
            batches[streams[event.device]].append(event)
        elif isinstance(event, Annotation):
            annotations.append(event)
    for stream, parts in batches.items():
        if parts:
            yield Recording(
                path.stem,
                stream,
                np.concatenate([batch.times + batch.host_offset_s for batch in parts]),
                np.concatenate([batch.values for batch in parts]),
                tuple(a for a in annotations if a.wearer == stream.device),
                damage="" if reader.damage is None else f"session {path} is {reader.damage}",
            )
