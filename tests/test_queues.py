import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_adapters.queues import DropOldestQueue, QueueStatistics


@given(st.lists(st.integers(1, 9)), st.integers(1, 5))
def test_what_goes_in_comes_out_or_is_counted(entries: list[int], capacity: int) -> None:
    async def scenario() -> None:
        queue: DropOldestQueue[int] = DropOldestQueue(capacity, weight=lambda entry: entry)
        for entry in entries:
            queue.put(entry)
        statistics = queue.statistics()
        out = [await queue.get() for _ in range(statistics.used)]
        assert out == entries[-capacity:][: len(out)]
        assert sum(out) + statistics.dropped == sum(entries)

    asyncio.run(scenario())


async def test_getting_waits_for_an_entry() -> None:
    queue: DropOldestQueue[str] = DropOldestQueue(1)
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not getting.done()
    queue.put("entry")
    assert await getting == "entry"


async def test_room_is_waited_for_unless_entries_may_be_lost() -> None:
    queue: DropOldestQueue[str] = DropOldestQueue(1)
    queue.put("first")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await queue.room()
    queue.set_lossy(True)
    await queue.room()
    queue.put("second")
    assert queue.statistics() == QueueStatistics(used=1, capacity=1, dropped=1)


async def test_an_entry_that_was_dropped_meanwhile_is_not_taken_out_twice() -> None:
    queue: DropOldestQueue[str] = DropOldestQueue(1)
    queue.put("first")
    entry = await queue.lend()
    queue.put("second")
    queue.settle(entry)
    assert await queue.get() == "second"
    await queue.drained()


async def test_lent_entries_leave_when_settled_and_come_again_when_reclaimed() -> None:
    queue: DropOldestQueue[int] = DropOldestQueue(4)
    for number in range(3):
        queue.put(number)
    assert [await queue.lend() for _ in range(3)] == [0, 1, 2]
    queue.settle(0)
    waiting = asyncio.ensure_future(queue.lend())
    await asyncio.sleep(0)
    queue.settle(1)
    queue.put(3)
    assert await waiting == 3
    queue.reclaim()
    assert [await queue.lend() for _ in range(2)] == [2, 3]
    assert queue.statistics().used == 2
