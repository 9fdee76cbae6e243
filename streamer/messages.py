"""What subscribers get: labels, segments and what became of streams, and their JSON.

The JSON holds nothing of the wall clock, so that a replay's messages equal the live ones byte by
byte; times are the samples' own.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated

import orjson
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from device_adapters.samples import check_name
from streamer.errors import MessageError

FIRST_YEAR, LAST_YEAR = -62_135_596_800.0, 253_402_300_799.0
"""Seconds since the epoch of the years 1 and 9999: times that a calendar knows."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} holds a character that can't be shown")
    return text


# What `parse_label` holds other people's messages to; labels of our own are so by construction.
Name = Annotated[str, AfterValidator(check_name)]
Words = Annotated[str, AfterValidator(_printable)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=FIRST_YEAR, le=LAST_YEAR)]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another label that the window might have had, and its probability."""

    label: Words
    p: Share


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """From the first sample to the last, seconds since the epoch."""

    start: Seconds
    end: Seconds

    @property
    def middle(self) -> float:
        """The moment that a window's label is about."""
        return (self.start + self.end) / 2


@dataclass(frozen=True, slots=True)
class Label:
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

    wearer: Name
    devices: tuple[Name, ...]
    label: Words
    words: tuple[Words, ...]
    p: Share
    alternatives: tuple[Alternative, ...]
    window: TimeSpan
    observed: Share
    lost: int
    model: str
    seq: int

    def to_json(self) -> bytes:
        """Return the message's payload."""
        return orjson.dumps(self)


class SegmentEvent(StrEnum):
    """What has become of a segment."""

    START = "start"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True, slots=True)
class Segment:
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
        return orjson.dumps(self)


@dataclass(frozen=True, slots=True)
class StreamStatus:
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
        return orjson.dumps(self)


@cache
def _label_type() -> TypeAdapter[Label]:
    return TypeAdapter(Label)


def parse_label(topic: str, payload: bytes) -> Label:
    """Return the label in an activity message.

    Raises:
        MessageError: the payload is not one: a key is missing or of another type, a share is not
            from 0 to 1, a time is of no year that a calendar knows, or a text can't be shown.
    """
    try:
        return _label_type().validate_json(payload)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        reason = fault["msg"].removeprefix("Value error, ")
        raise MessageError(topic, f"is no label: {place or 'payload'}: {reason}") from error
