"""What subscribers get: labels, segments and what became of streams, and their JSON.

The JSON holds nothing of the wall clock, so that a replay's messages equal the live ones byte by
byte; times are the samples' own.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder, Encoder

from device_adapters.errors import InvalidNameError
from device_adapters.samples import check_name
from streamer.errors import MessageError

FIRST_YEAR, LAST_YEAR = -62_135_596_800.0, 253_402_300_799.0
"""Seconds since the epoch of the years 1 and 9999: times that a calendar knows."""

# What `parse_label` holds other people's messages to; labels of our own are so by construction.
Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=FIRST_YEAR, le=LAST_YEAR)]

_encode = Encoder().encode


class Alternative(Struct, frozen=True):
    """Another label that the window might have had, and its probability."""

    label: str
    p: Share


class TimeSpan(Struct, frozen=True):
    """From the first sample to the last, seconds since the epoch."""

    start: Seconds
    end: Seconds

    @property
    def middle(self) -> float:
        """The moment that a window's label is about."""
        return (self.start + self.end) / 2


class Label(Struct, frozen=True):
    """What a wearer did in one window.

    Attributes:
        wearer: who, or what.
        devices: the wearables that were read.
        label: the activity's words in one string.
        words: the activity's words.
        p: its calibrated probability among the valid labels.
        alternatives: the next likeliest labels.
        window: the samples that the label speaks of.
        observed: share of the window that was not interpolated across gaps.
        lost: samples lost in the window or in the gap before it.
        model: which bundle said so.
        seq: counts the wearer's labels from 0.
    """

    wearer: str
    devices: tuple[str, ...]
    label: str
    words: tuple[str, ...]
    p: Share
    alternatives: tuple[Alternative, ...]
    window: TimeSpan
    observed: Share
    lost: int
    model: str
    seq: int

    def to_json(self) -> bytes:
        """Return the message's payload."""
        return _encode(self)


class SegmentEvent(StrEnum):
    """What has become of a segment."""

    START = "start"
    UPDATE = "update"
    END = "end"


class Segment(Struct, frozen=True):
    """A stretch of time in which a wearer did one thing.

    Attributes:
        event: whether it starts, goes on or has ended.
        wearer: who, or what.
        id: the same in all messages of the segment, and in no other's.
        label: the activity's words in one string.
        words: the activity's words.
        p: its probability given all labels so far.
        start: when it began, seconds since the epoch.
        end: until when it is known to have lasted.
        duration_s: the time between.
    """

    event: SegmentEvent
    wearer: str
    id: str
    label: str
    words: tuple[str, ...]
    p: float
    start: float
    end: float
    duration_s: float

    def to_json(self) -> bytes:
        """Return the message's payload."""
        return _encode(self)


class StreamStatus(Struct, frozen=True):
    """Whether a device's samples are recognised, and what was found wrong with them.

    Attributes:
        device: its name.
        recognised: False if its labels would be nonsense.
        findings: what does not fit, and what to do about it, in words.
    """

    device: str
    recognised: bool
    findings: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Return the message's payload."""
        return _encode(self)


_decode_label = Decoder(Label).decode


def parse_label(topic: str, payload: bytes) -> Label:
    """Return the label in an activity message.

    Raises:
        MessageError: the payload is not one: a key is missing or of another type, a share is not
            from 0 to 1, a time is of no year that a calendar knows, or a text can't be shown.
    """
    try:
        label = _decode_label(payload)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(topic, f"is no label: {error}") from error
    fault = next(_faults(label), None)
    if fault is not None:
        raise MessageError(topic, f"is no label: {fault}")
    return label


def _faults(label: Label) -> Iterator[str]:
    """Tell of texts that would break a topic or a terminal; anybody may publish a label."""
    for place, names in (("wearer", (label.wearer,)), ("devices", label.devices)):
        for name in names:
            try:
                check_name(name)
            except InvalidNameError as error:
                yield f"{place}: {error}"
    others = tuple(other.label for other in label.alternatives)
    texts = {"label": (label.label,), "words": label.words, "alternatives": others}
    for place, shown in texts.items():
        for text in shown:
            if not text.isprintable():
                yield f"{place}: {text!r} holds a character that can't be shown"
