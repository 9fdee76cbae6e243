"""A bounded queue that drops its oldest entry rather than make its producer wait."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """Entries waiting, of at most `capacity`, and the weight of what was dropped."""

    used: int
    capacity: int
    dropped: int


class DropOldestQueue(Generic[T]):
    """One consumer's queue; when full, the oldest entry goes and its weight is counted.

    Args:
        capacity: how many entries may wait.
        weight: what a dropped entry counts for, such as its samples; 1 each by default.
    """

    def __init__(self, capacity: int, weight: Callable[[T], int] = lambda _: 1) -> None:
        self._entries: deque[T] = deque()
        self._capacity = capacity
        self._weight = weight
        self._dropped = 0
        self._lent = 0
        self._filled = asyncio.Event()
        self._grown = asyncio.Event()
        self._has_room = asyncio.Event()
        self._empty = asyncio.Event()
        self._lossy = False
        self._update()

    def __iter__(self) -> Iterator[T]:
        return iter(self._entries)

    def put(self, entry: T) -> None:
        """Add an entry; drops the oldest if the queue is full."""
        if len(self._entries) == self._capacity:
            self._dropped += self._weight(self._entries.popleft())
            self._lent = max(0, self._lent - 1)
        self._entries.append(entry)
        self._grown.set()
        self._update()

    async def room(self) -> None:
        """Wait until an entry can be put without dropping another; not at all while `lossy`."""
        await self._has_room.wait()

    def set_lossy(self, lossy: bool) -> None:
        """Say whether entries may be dropped rather than waited for: the consumer is away."""
        self._lossy = lossy
        self._update()

    async def drained(self) -> None:
        """Wait until nothing is left."""
        await self._empty.wait()

    async def lend(self) -> T:
        """Wait for the oldest entry that is not lent; it stays in until it is settled."""
        while len(self._entries) <= self._lent:
            self._grown.clear()
            await self._grown.wait()
        self._lent += 1
        return self._entries[self._lent - 1]

    def settle(self, entry: T) -> None:
        """Take out the oldest lent entry; not if it was dropped meanwhile."""
        if self._lent and self._entries[0] is entry:
            self._entries.popleft()
            self._lent -= 1
            self._update()

    def reclaim(self) -> None:
        """Have the lent entries wait again: who they were lent to is gone."""
        self._lent = 0

    async def get(self) -> T:
        """Wait for the oldest entry and take it out."""
        await self._filled.wait()
        entry = self._entries.popleft()
        self._update()
        return entry

    def statistics(self) -> QueueStatistics:
        """Return what waits and what was dropped so far."""
        return QueueStatistics(len(self._entries), self._capacity, self._dropped)

    def _update(self) -> None:
        _set(self._filled, bool(self._entries))
        _set(self._has_room, self._lossy or len(self._entries) < self._capacity)
        _set(self._empty, not self._entries)


def _set(event: asyncio.Event, holds: bool) -> None:
    if holds != event.is_set():
        (event.set if holds else event.clear)()
