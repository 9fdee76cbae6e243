"""The adapter `ble`: wearables over Bluetooth Low Energy."""

import asyncio
from collections.abc import Mapping

from pydantic import Field, field_validator
from typing_extensions import override

from device_adapters.adapter import AdapterOptions, AdapterStatistics
from device_adapters.ble.link import Link, LinkStatus
from device_adapters.ble.scanner import Scanner
from device_adapters.ble.wearable import WearableOptions
from device_adapters.live import LiveAdapter
from device_adapters.samples import StreamInfo

QUEUED_BATCHES = 1024
"""Some ten seconds of the fastest wearable, which sends a batch for every sample or few."""


class BleOptions(AdapterOptions):
    """Which wearables to read.

    Attributes:
        wearables: each a table of its own.
    """

    wearables: tuple[WearableOptions, ...] = Field(min_length=1)

    @field_validator("wearables")
    @classmethod
    def _can_be_told_apart(
        cls, wearables: tuple[WearableOptions, ...]
    ) -> tuple[WearableOptions, ...]:
        names = [wearable.name for wearable in wearables]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two wearables are named {name!r}; each needs a name of its own")
        addresses = [wearable.address for wearable in wearables if wearable.address]
        for address in addresses:
            if addresses.count(address) > 1:
                raise ValueError(f"two wearables have the address {address}")
        unset = [wearable.name for wearable in wearables if wearable.adapter is None]
        if 0 < len(unset) < len(wearables):
            raise ValueError(f"set adapter for {', '.join(unset)} too, or for none")
        return wearables


class BleAdapter(LiveAdapter):
    """Keeps a link to every wearable, whatever happens to it."""

    Options = BleOptions
    alone = True  # two would scan, connect and end each other's links on one radio

    def __init__(self, options: BleOptions) -> None:
        super().__init__(QUEUED_BATCHES)
        self._scanners = {
            wearable.adapter: Scanner(wearable.adapter) for wearable in options.wearables
        }
        taken: set[str] = set()
        self._links = {
            wearable.name: Link(wearable, self._scanners[wearable.adapter], taken, self._queue.put)
            for wearable in options.wearables
        }

    @property
    @override
    def streams(self) -> Mapping[str, StreamInfo]:
        return {name: link.info for name, link in self._links.items() if link.info is not None}

    @override
    def statistics(self) -> AdapterStatistics:
        links = self._links.values()
        return self._statistics(
            sum(link.lost for link in links), sum(link.malformed for link in links)
        )

    def links(self) -> tuple[LinkStatus, ...]:
        """Return what every link is doing."""
        return tuple(link.status() for link in self._links.values())

    @override
    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for adapter, scanner in self._scanners.items():
                tasks.create_task(scanner.run(), name=f"ble scanner {adapter or ''}")
            for name, link in self._links.items():
                tasks.create_task(link.run(), name=f"ble link {name}")
