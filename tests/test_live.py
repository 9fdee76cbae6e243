"""Adapters whose samples come by themselves: how their iteration ends."""

import asyncio
from collections.abc import Mapping

import pytest
from typing_extensions import override

from conftest import counted_samples, cut, stream_info
from device_adapters.adapter import AdapterStatistics
from device_adapters.live import LiveAdapter
from device_adapters.mqtt.subscriber import MqttAdapter, MqttOptions
from device_adapters.samples import StreamInfo
from device_adapters.synthetic import SyntheticAdapter, SyntheticOptions

BATCHES = cut(counted_samples(50), [10])


class Scripted(LiveAdapter):
    """Puts batches in its queue, and then ends, fails or waits for ever."""

    @override
    def __init__(self, capacity: int, *, fails: bool = False, waits: bool = False) -> None:
        super().__init__(capacity)
        self._fails, self._waits = fails, waits

    @property
    @override
    def streams(self) -> Mapping[str, StreamInfo]:
        return {"wrist": stream_info()}

    @override
    def statistics(self) -> AdapterStatistics:
        return self._statistics(lost=1, rejected=2)

    @override
    async def _run(self) -> None:
        for batch in BATCHES:
            self._queue.put(batch)
        if self._waits:
            await asyncio.Event().wait()
        if self._fails:
            raise ValueError("a fault")


async def test_the_iteration_ends_with_the_task_after_all_that_it_sent(
    no_leaked_tasks: None,
) -> None:
    async with Scripted(10) as adapter:
        assert [batch async for batch in adapter] == BATCHES
    assert adapter.statistics() == AdapterStatistics(50, 1, 0, 0, 10, 2)


async def test_what_ends_the_task_is_raised_after_the_batches_before_it(
    no_leaked_tasks: None,
) -> None:
    async with Scripted(10, fails=True) as adapter:
        iterator = aiter(adapter)
        assert [await anext(iterator) for _ in BATCHES] == BATCHES
        with pytest.raises(ValueError, match="a fault"):
            await anext(iterator)


async def test_a_task_that_goes_on_ends_with_the_context(no_leaked_tasks: None) -> None:
    async with Scripted(3, waits=True) as adapter:
        iterator = aiter(adapter)
        assert await anext(iterator) is BATCHES[2]
    assert adapter.statistics().dropped == 20


@pytest.mark.parametrize(
    ("adapter", "part"),
    [
        (MqttAdapter(MqttOptions()), "_stay_subscribed"),
        (SyntheticAdapter(SyntheticOptions()), "_options"),
    ],
)
async def test_no_adapter_dies_in_silence(
    adapter: LiveAdapter, part: str, monkeypatch: pytest.MonkeyPatch, no_leaked_tasks: None
) -> None:
    monkeypatch.setattr(adapter, part, None)
    async with asyncio.timeout(5), adapter:
        with pytest.raises((AttributeError, ExceptionGroup)):
            await anext(aiter(adapter))
