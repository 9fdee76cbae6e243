"""Labels as lines of text, for people and for pipes."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from typing_extensions import override

from streamer.messages import Label
from streamer.publishers.publisher import Publisher, PublisherStatistics


class ConsolePublisher(Publisher):
    """Writes a line for each label to standard output."""

    def __init__(self, describe: Callable[[Label], str]) -> None:
        self._describe = describe
        self._published = 0

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        sys.stdout.flush()

    @override
    async def publish(self, label: Label) -> None:
        sys.stdout.write(f"{self._describe(label)}\n")
        self._published += 1

    @override
    def statistics(self) -> PublisherStatistics:
        return PublisherStatistics(self._published)


def as_text(label: Label) -> str:
    """Return a label as people read it."""
    time = datetime.fromtimestamp(label.window.end, UTC).strftime("%H:%M:%S.%f")[:-4]
    line = f"{time}  {label.wearer:<12} {label.label:<18} {label.p:6.1%}"
    gaps = f"  {label.observed:.0%} observed, {label.lost} lost" if label.observed < 1 else ""
    return line + gaps


def as_json(label: Label) -> str:
    """Return a label as its message's payload."""
    return label.to_json().decode()
