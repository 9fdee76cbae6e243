"""What adapters share whose samples come by themselves: a task of their own and its queue."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Self

from typing_extensions import override

from device_adapters.adapter import AdapterStatistics, DeviceAdapter
from device_adapters.queues import DropOldestQueue
from device_adapters.samples import SampleBatch


class LiveAdapter(DeviceAdapter):
    """Runs a task that puts batches in a queue; the iteration ends as that task does.

    Args:
        capacity: how many batches may wait; beyond it the oldest go, and their samples are counted.

    Raises (while iterating):
        Exception: what ended the task, after the batches before it.
    """

    def __init__(self, capacity: int) -> None:
        self._queue: DropOldestQueue[SampleBatch | None] = DropOldestQueue(
            capacity, weight=lambda batch: 0 if batch is None else len(batch)
        )
        self._samples = 0

    @abstractmethod
    async def _run(self) -> None:
        """Put batches in the queue, until there are no more to come."""

    @override
    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run_to_the_end(), name=type(self).__name__)
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    @override
    async def __aiter__(self) -> AsyncIterator[SampleBatch]:
        while (batch := await self._queue.get()) is not None:
            self._samples += len(batch)
            yield batch
        await self._running

    async def _run_to_the_end(self) -> None:
        try:
            await self._run()
        finally:
            self._queue.put(None)

    def _statistics(self, lost: int = 0, rejected: int = 0) -> AdapterStatistics:
        """Return the queue's counts beside those that a source keeps itself."""
        queue = self._queue.statistics()
        return AdapterStatistics(
            self._samples, lost, queue.dropped, queue.used, queue.capacity, rejected
        )
