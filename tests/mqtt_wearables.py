"""Wearables for tests: packets whose samples carry their number."""

import asyncio
from collections.abc import Iterable
from typing import Any

import numpy as np

from conftest import EPOCH
from device_adapters.mqtt.client import Message, connection
from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.mqtt.payloads import Packet, PayloadFormat, payload_class
from device_adapters.mqtt.subscriber import MqttAdapter, MqttOptions
from device_adapters.samples import SampleBatch

RATE_HZ = 50.0
BATCH = 10


def make_format(name: str, **options: Any) -> PayloadFormat:
    payloads = payload_class(name)
    return payloads(payloads.Options.model_validate(options))


def counted_packet(
    number: int, payloads: PayloadFormat, device: str = "w1", start: float = EPOCH
) -> Packet:
    """Return the packet `number`, whose every channel is the sample's number and some tenths."""
    samples = np.arange(number * BATCH, (number + 1) * BATCH)
    values = (samples[:, None] + np.arange(6) / 10).astype(np.float32)
    counter = None
    if payloads.counts is not None:
        counter = number * BATCH if payloads.counts == "samples" else number
    return Packet(start + samples / RATE_HZ, values, counter, 1 / RATE_HZ, device)


def message(number: int, device: str = "w1", name: str = "raw", start: float = EPOCH) -> Message:
    payloads = make_format(name)
    payload = payloads.encode(counted_packet(number, payloads, device, start))
    return Message(f"wearables/{device}/imu", payload)


def sample_numbers(batches: Iterable[SampleBatch], device: str = "w1") -> list[int]:
    return [
        round(float(value))
        for batch in batches
        if batch.device == device
        for value in batch.values[:, 0]
    ]


def numbers_of(*packets: int) -> list[int]:
    return [number * BATCH + i for number in packets for i in range(BATCH)]


class OfflineAdapter(MqttAdapter):
    """Gets its messages from the test."""

    def __init__(self, **options: Any) -> None:
        super().__init__(MqttOptions.model_validate(options))
        self.batches: list[SampleBatch] = []

    def take(self, messages: list[Message], arrival: float) -> None:
        self._take(messages, arrival)
        self.collect()

    def go_on(self, now: float) -> None:
        self._go_on(now)
        self.collect()

    def call_the_roll(self, now: float) -> None:
        self._forget_who_left(now)

    def collect(self) -> None:
        self.batches += filter(None, self._queue._entries)
        self._queue._entries.clear()

    @property
    def numbers(self) -> list[int]:
        return sample_numbers(self.batches)

    @property
    def lost(self) -> int:
        assert sum(batch.lost for batch in self.batches) == self.statistics().lost
        return self.statistics().lost


async def publish(address: BrokerAddress, messages: Iterable[Message]) -> None:
    async with connection(address) as broker:
        for each in messages:
            await broker.publish(each)


async def receive(adapter: MqttAdapter, batches: int) -> list[SampleBatch]:
    """Return so many batches, which must come within some seconds."""
    received: list[SampleBatch] = []
    async with asyncio.timeout(15):
        async for batch in adapter:
            received.append(batch)
            if len(received) == batches:
                break
    return received
