"""The whole way: a wearable over BLE, the packaged bundle, labels at a publisher."""

import asyncio
import time
from pathlib import Path
from typing import Self

from typing_extensions import override

from device_adapters.ble.adapter import BleAdapter, BleOptions
from fake_bluez import FakeBlueZ
from fake_wearables import FakePolar
from streamer.gateway import Gateway
from streamer.messages import Label
from streamer.publishers import Publisher, PublisherStatistics
from streamer.recognizer import Recognizer


class Collector(Publisher):
    def __init__(self) -> None:
        self.labels: list[Label] = []

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        pass

    @override
    async def publish(self, label: Label) -> None:
        self.labels.append(label)

    @override
    def statistics(self) -> PublisherStatistics:
        return PublisherStatistics(len(self.labels))

    async def reached(self, labels: int, since: float = 0.0) -> None:
        """Wait for so many labels of windows that began after `since`."""
        async with asyncio.timeout(60):
            while sum(label.window.start > since for label in self.labels) < labels:
                await asyncio.sleep(0.01)


async def test_labels_come_and_go_on_after_a_lost_link(bluez: FakeBlueZ, bundle: Path) -> None:
    fake, collector = FakePolar(bluez), Collector()
    options = {"wearables": [{"name": "anna", "format": "polar"}]}
    adapter = BleAdapter(BleOptions.model_validate(options))
    gateway = Gateway([adapter], Recognizer.load(bundle), [collector])
    running = asyncio.create_task(gateway.run(), name="gateway")
    taking = asyncio.create_task(fake.run(), name="taking")
    await collector.reached(2)
    bluez.drop_link(fake.peripheral)
    dropped = time.time()
    await collector.reached(2, since=dropped)
    statistics = gateway.statistics()
    running.cancel()
    taking.cancel()
    await asyncio.gather(running, taking, return_exceptions=True)

    assert {label.wearer for label in collector.labels} == {"anna"}
    windows = [label.window for label in collector.labels]
    # A window never reaches across an outage.
    assert all(window.end - window.start < 2.6 for window in windows)
    assert not [window for window in windows if window.start < dropped < window.end - 0.5]
    (link,) = adapter.links()
    assert link.reconnects == 1
    (adapters,) = statistics.adapters
    assert adapters.dropped == statistics.recognizer.out_of_order == 0
    assert adapters.lost == statistics.recognizer.lost > 0
    assert not fake.peripheral.connected
