"""Recorded sessions: MCAP files that hold raw batches, stream infos, annotations and labels.

Every message is JSON with a schema, so that Foxglove and any MCAP tool can read a session. The
chunks are small, so that a recorder that dies loses seconds, and a file that is cut anywhere reads
up to its last whole chunk. Format: https://mcap.dev/spec.
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

import numpy as np
import orjson
from mcap.exceptions import InvalidMagic, McapError
from mcap.records import Channel, Header, Message
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from device_adapters.errors import (
    InvalidBatchError,
    InvalidNameError,
    InvalidStreamError,
    SessionError,
)
from device_adapters.samples import SampleBatch, StreamInfo

PROFILE = "share-streamer"
CHUNK_BYTES = 16 * 1024
"""About 5 s of one 50 Hz wearable: what a crash of the recorder may lose."""

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""No record of ours comes near."""

DAMAGED_BYTES_ERRORS = (
    McapError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
    struct.error,
    InvalidNameError,
    InvalidStreamError,
    InvalidBatchError,
)
"""What the MCAP reader, LZ4 and JSON raise over bytes that are cut or overwritten."""

SAMPLES_SCHEMA = {
    "type": "object",
    "title": "SampleBatch",
    "properties": {
        "times": {"type": "array", "items": {"type": "number"}},
        "values": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "number"}},
        },
        "lost": {"type": "integer"},
        "clock_offset_s": {"type": "number"},
        "clock_set_s": {"type": "number"},
    },
}
ANNOTATION_SCHEMA = {
    "type": "object",
    "title": "Annotation",
    "properties": {
        "label": {"type": "string"},
        "start": {"type": "number"},
        "end": {"type": "number"},
    },
}
ACTIVITY_SCHEMA = {"type": "object", "title": "Activity"}


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a wearer truly did from `start` until `end` (seconds since the epoch)."""

    wearer: str
    label: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class EmittedLabel:
    """A label message as it was published, to the byte, with the end of its window."""

    wearer: str
    time: float
    payload: bytes


SessionEvent = StreamInfo | SampleBatch | Annotation | EmittedLabel


class SessionWriter:
    """Writes a session; a context manager.

    Args:
        path: the new file; without any event it is none in the end.

    Raises:
        SessionError: the file is there already, or can't be written, now or when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._channels: dict[tuple[str, ...], int] = {}
        self._schemas: dict[str, int] = {}
        self._streams: dict[str, tuple[StreamInfo, int]] = {}

    def __enter__(self) -> Self:
        with self._writing():
            self._file: IO[bytes] = self._path.open("xb")
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.LZ4)
        self._writer.start(profile=PROFILE)
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._writing(), self._file:
            self._writer.finish()
        if not self._channels:
            self._path.unlink(missing_ok=True)

    def add_stream(self, info: StreamInfo) -> None:
        """Announce a device, or its new description; needed before its first batch."""
        metadata = {
            "device": info.device,
            "channels": orjson.dumps(info.channels).decode(),
            "units": orjson.dumps(info.units).decode(),
            "rate_hz": repr(info.rate_hz),
            "adapter": info.adapter,
            "clock": info.clock,
            "conversion": info.conversion,
        }
        channel = self._channel(f"/{info.device}/samples", SAMPLES_SCHEMA, metadata)
        self._streams[info.device] = info, channel

    def add_batch(self, batch: SampleBatch) -> None:
        """Record a batch of an announced device."""
        if not len(batch):
            return
        info, channel = self._streams[batch.device]
        columns = np.ascontiguousarray(batch.values.T)
        payload = orjson.dumps(
            {
                "times": np.ascontiguousarray(batch.times),
                "values": dict(zip(info.channels, columns, strict=True)),
                "lost": batch.lost,
                "clock_offset_s": batch.clock_offset_s,
                "clock_set_s": batch.clock_set_s,
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        recorded_at = batch.end + batch.host_offset_s
        self._add(channel, recorded_at, payload)

    def add_annotation(self, annotation: Annotation) -> None:
        """Record what a wearer truly did."""
        channel = self._channel(
            f"/{annotation.wearer}/annotation", ANNOTATION_SCHEMA, {"wearer": annotation.wearer}
        )
        payload = orjson.dumps(
            {"label": annotation.label, "start": annotation.start, "end": annotation.end}
        )
        self._add(channel, annotation.start, payload)

    def add_label(self, label: EmittedLabel) -> None:
        """Record a label message as it was published."""
        channel = self._channel(
            f"/{label.wearer}/activity", ACTIVITY_SCHEMA, {"wearer": label.wearer}
        )
        self._add(channel, label.time, label.payload)

    def _channel(self, topic: str, schema: dict[str, Any], metadata: dict[str, str]) -> int:
        key = (topic, *metadata.values())
        if key not in self._channels:
            title = str(schema["title"])
            if title not in self._schemas:
                self._schemas[title] = self._writer.register_schema(
                    title, "jsonschema", orjson.dumps(schema)
                )
            self._channels[key] = self._writer.register_channel(
                topic, "json", self._schemas[title], metadata
            )
        return self._channels[key]

    def _add(self, channel: int, time: float, payload: bytes) -> None:
        nanoseconds = max(0, round(time * 1e9))
        with self._writing():
            self._writer.add_message(channel, nanoseconds, payload, nanoseconds)
            # A chunk that was just finished must outlive this process.
            self._file.flush()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            raise SessionError(self._path, "is there already; give another name") from error
        except OSError as error:
            raise SessionError(self._path, f"can't be written: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Damage:
    """Where a session stops being whole."""

    byte: int
    size: int
    reason: str

    def __str__(self) -> str:
        return f"whole up to byte {self.byte} of {self.size} ({self.reason})"


class SessionReader:
    """Reads a session's events in the order in which they were recorded.

    A device's `StreamInfo` comes before its first batch, and wherever its description changes. A
    file that is cut or damaged yields what is whole; `damage` then tells where it ends.

    Args:
        path: the session file.

    Raises:
        SessionError: the file can't be read or never was a session.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: Damage | None = None
        self._streams: dict[int, StreamInfo] = {}
        self._latest: dict[str, StreamInfo] = {}
        self._channels: dict[int, Channel] = {}

    def __iter__(self) -> Iterator[SessionEvent]:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise SessionError(self.path, f"can't be read: {error.strerror}") from error
        with file:
            yield from self._events(file)

    def _events(self, file: IO[bytes]) -> Iterator[SessionEvent]:
        size = os.fstat(file.fileno()).st_size
        whole = 0
        bounded = cast("IO[bytes]", _BoundedFile(file, size))
        reader = StreamReader(bounded, validate_crcs=True, record_size_limit=MAX_RECORD_BYTES)
        records = iter(reader.records)
        while True:
            try:
                events = self._events_of(next(records))
            except StopIteration:
                return
            except InvalidMagic as error:
                if whole == 0:
                    raise SessionError(self.path, "is not a session (MCAP) file") from error
                self.damage = Damage(whole, size, "its end is missing")
                return
            except DAMAGED_BYTES_ERRORS as error:
                if whole == 0:
                    raise SessionError(self.path, "is cut before its first record") from error
                self.damage = Damage(whole, size, "cut off" if file.read(1) == b"" else str(error))
                return
            whole = file.tell()
            yield from events

    def _events_of(self, record: object) -> tuple[SessionEvent, ...]:
        if isinstance(record, Header) and record.profile != PROFILE:
            raise SessionError(self.path, f"is an MCAP file of {record.profile!r}, not a session")
        if isinstance(record, Channel) and record.id not in self._channels:
            self._channels[record.id] = record
            return self._stream(record)
        if isinstance(record, Message):
            return self._message(self._channels[record.channel_id], record)
        return ()

    def _stream(self, channel: Channel) -> tuple[SessionEvent, ...]:
        metadata = channel.metadata
        if "device" not in metadata:
            return ()
        info = StreamInfo(
            device=metadata["device"],
            channels=tuple(orjson.loads(metadata["channels"])),
            units=tuple(orjson.loads(metadata["units"])),
            rate_hz=float(metadata["rate_hz"]),
            adapter=metadata["adapter"],
            clock="recording",
            conversion=metadata["conversion"],
        )
        self._streams[channel.id] = self._latest[info.device] = info
        return (info,)

    def _message(self, channel: Channel, message: Message) -> tuple[SessionEvent, ...]:
        if channel.id in self._streams:
            info = self._streams[channel.id]
            batch = self._batch(info, message.data)
            if not len(batch):
                return ()
            if self._latest[info.device] is info:
                return (batch,)
            self._latest[info.device] = info
            return info, batch
        wearer, kind = channel.metadata["wearer"], channel.topic.rpartition("/")[2]
        if kind == "annotation":
            content = orjson.loads(message.data)
            return (Annotation(wearer, content["label"], content["start"], content["end"]),)
        if kind == "activity":
            return (EmittedLabel(wearer, message.log_time / 1e9, message.data),)
        return ()

    @staticmethod
    def _batch(info: StreamInfo, payload: bytes) -> SampleBatch:
        content = orjson.loads(payload)
        columns = [content["values"][channel] for channel in info.channels]
        values = np.array(columns, dtype=np.float32).T
        times = np.array(content["times"], dtype=np.float64)
        return SampleBatch(
            info.device,
            times,
            np.ascontiguousarray(values),
            content["lost"],
            content.get("clock_offset_s", 0.0),
            content.get("clock_set_s", 0.0),
        )


class _BoundedFile:
    """Never reads beyond the end: a damaged length field must not reserve memory."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size

    def read(self, length: int) -> bytes:
        return self._file.read(min(length, self._size - self._file.tell()))


def read_annotations(path: Path, device: str | None = None) -> list[Annotation]:
    """Return a session's annotations, of one wearer or of all.

    Raises:
        SessionError: the file can't be read.
    """
    return [
        event
        for event in SessionReader(path)
        if isinstance(event, Annotation) and device in {None, event.wearer}
    ]
