"""Recordings to sessions and back."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import Annotation, SessionReader, SessionWriter
from streamer.datasets.dataset import RESTART_SECONDS, Recording, usable
from streamer.datasets.names import renamed

BATCHES_PER_SECOND = 5
"""What a wearable sends."""


def write_session(recording: Recording, path: Path, names: Mapping[str, str] | None = None) -> None:
    """Write a recording as a session, its annotations under these names, in place of another.

    Raises:
        SessionError: the file can't be written.
    """
    times, values, info = recording.times, recording.values, recording.stream
    size = max(1, round(info.rate_hz / BATCHES_PER_SECOND))
    pending = sorted(recording.annotations, key=lambda annotation: annotation.start)
    path.unlink(missing_ok=True)
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
    """Read a session, a recording for each device.

    A device whose description changed, or during whose recording the host's clock was set back, has
    several.

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
        elif isinstance(event, SampleBatch) and len(event):
            batches[streams[event.device]].append(event)
        elif isinstance(event, Annotation):
            annotations.append(event)
    for stream, received in batches.items():
        own = tuple(a for a in annotations if a.wearer == stream.device)
        damage = "" if reader.damage is None else f"session {path} is {reader.damage}"
        for part in _parts(received):
            times = np.concatenate([batch.times + batch.host_offset_s for batch in part])
            values = np.concatenate([batch.values for batch in part])
            kept, without_reading, out_of_order = usable(times, values)
            yield Recording(
                path.stem,
                stream,
                times[kept],
                values[kept],
                own,
                without_reading=without_reading,
                out_of_order=out_of_order,
                damage=damage,
            )


def _parts(batches: Iterable[SampleBatch]) -> Iterator[list[SampleBatch]]:
    """Part batches where the host's clock was set back."""
    part: list[SampleBatch] = []
    latest = -np.inf
    for batch in batches:
        times = batch.times + batch.host_offset_s
        if part and times[0] < latest - RESTART_SECONDS:
            yield part
            part, latest = [], -np.inf
        part.append(batch)
        latest = max(latest, times[-1])
    if part:
        yield part
