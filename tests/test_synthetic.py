import asyncio

import numpy as np

from device_adapters.samples import SampleBatch
from device_adapters.synthetic import SyntheticAdapter, SyntheticOptions


async def test_wearables_send_in_real_time_and_end(no_leaked_tasks: None) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    batches: list[SampleBatch] = []
    async with SyntheticAdapter(SyntheticOptions(devices=3, seconds=0.5, batch=5)) as adapter:
        batches = [batch async for batch in adapter]
    assert 0.4 < loop.time() - began < 2
    assert {batch.device for batch in batches} == {f"synthetic-{n}" for n in (1, 2, 3)}
    for device in adapter.streams:
        times = np.concatenate([batch.times for batch in batches if batch.device == device])
        assert len(times) == 25
        assert np.allclose(np.diff(times), 0.02, atol=0.002)


async def test_who_does_not_keep_up_loses_the_oldest_and_is_told() -> None:
    async with SyntheticAdapter(SyntheticOptions(rate_hz=1000, batch=1, seconds=0.3)) as adapter:
        await asyncio.sleep(0.6)
        batches = [batch async for batch in adapter]
    statistics = adapter.statistics()
    assert statistics.dropped > 0
    assert statistics.samples == sum(map(len, batches))
    assert statistics.samples + statistics.dropped == 300
