"""The contract that every publisher keeps."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from streamer.messages import Label, Segment, StreamStatus


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """What a publisher has done.

    Attributes:
        published: messages that have left.
        dropped: messages thrown away because nobody could be reached for too long.
        queued: messages waiting, of at most `capacity`.
        capacity: how many may wait; 0 where none ever does.
    """

    published: int
    dropped: int = 0
    queued: int = 0
    capacity: int = 0

    @property
    def undelivered(self) -> int:
        """Messages that nobody has got, or not yet."""
        return self.dropped + self.queued


class Publisher(ABC):
    """An async context manager that is given labels; leaving it delivers what still waits."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *exc_info: object) -> None: ...

    @abstractmethod
    async def publish(self, label: Label) -> None:
        """Deliver a label; may wait for room."""

    async def publish_segment(self, segment: Segment) -> None:  # noqa: B027 - optional
        """Deliver what labels that were published mean for a segment; by default to nobody."""

    async def tell(self, status: StreamStatus) -> None:  # noqa: B027 - optional
        """Tell what became of a stream; by default nobody."""

    @abstractmethod
    def statistics(self) -> PublisherStatistics:
        """Return the counts so far."""
