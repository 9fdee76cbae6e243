"""Wearables that are not there: they publish synthetic or recorded samples over a bad network."""

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import Field

from device_adapters.adapter import AdapterOptions
from device_adapters.errors import InvalidStreamError
from device_adapters.mqtt.client import IN_FLIGHT, Message, MqttConnection, connection
from device_adapters.mqtt.payloads import Packet
from device_adapters.mqtt.subscriber import DEVICE_LEVEL, MqttOptions
from device_adapters.mqtt.topics import published_topic
from device_adapters.pacing import Pacer
from device_adapters.replay import ReplayAdapter, ReplayOptions
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.synthetic import CHANNELS, UNITS, motion
from device_adapters.units import si_factors

NOISE = 0.05
"""Standard deviation of the synthetic sensors' noise, in SI units."""

OVERTAKEN = 1.5
"""How late a message is that its successor overtakes, in times between messages."""


class SimulationOptions(AdapterOptions):
    """Who sends, and what happens to it on the way.

    Attributes:
        devices: number of wearables; of a session, copies of each of its devices.
        session: the recording that they send; synthetic samples by default.
        rate_hz: samples a second of synthetic ones.
        batch: samples in a message.
        seconds: how long they send, in their own time; until the session ends, or for ever.
        speed: a multiple of real time, None for as fast as possible. A gateway in real time takes
            what comes faster for clocks that run fast, so another speed than 1 is for load.
        loss: share of messages that never arrive.
        reorder: share of messages that their successor overtakes.
        jitter_s: longest of the latencies, evenly spread, that messages have.
        drift_ppm: how fast or slow the wearables' clocks may run, millionths.
        seed: of all that is random.
    """

    devices: int = Field(default=1, ge=1, le=100_000)
    session: Path | None = None
    rate_hz: float = Field(default=50.0, gt=0, le=1000)
    batch: int = Field(default=10, ge=1, le=1000)
    seconds: float | None = Field(default=None, gt=0)
    speed: float | None = Field(default=1.0, gt=0)
    loss: float = Field(default=0.0, ge=0, le=1)
    reorder: float = Field(default=0.0, ge=0, le=1)
    jitter_s: float = Field(default=0.0, ge=0, le=60)
    drift_ppm: float = Field(default=0.0, ge=0, le=10_000)
    seed: int = Field(default=0, ge=0)


@dataclass(slots=True)
class SimulationStatistics:
    """What was sent: messages and their samples; messages lost and overtaken on purpose."""

    messages: int = 0
    samples: int = 0
    lost_messages: int = 0
    lost_samples: int = 0
    overtaken: int = 0


class Simulation:
    """Publishes what an `MqttAdapter` with the same options expects.

    Args:
        gateway: the adapter's options: broker, topic, payload, channels and units.
        options: who sends, and what happens to it.
    """

    def __init__(self, gateway: MqttOptions, options: SimulationOptions) -> None:
        self._gateway = gateway
        self._options = options
        self._topic = published_topic(gateway.topic)
        self._payloads = gateway.payload_format()
        self._factors = si_factors(gateway.units)
        self._senders: dict[str, _Sender] = {}
        self._messages = itertools.count()
        self._counts = SimulationStatistics()

    def statistics(self) -> SimulationStatistics:
        """Return what was sent so far."""
        return replace(self._counts)

    async def run(self) -> None:
        """Publish until the session, or the time, is over.

        Raises:
            InvalidStreamError: the session, or what is synthetic, lacks a channel.
            MqttConnectionError: the broker is away, or went.
            SessionError: the session can't be read.
        """
        async with connection(self._gateway) as broker:
            window: deque[asyncio.Future[None]] = deque()
            async for _, message in self.in_order_of_arrival():
                if len(window) == IN_FLIGHT:
                    await window.popleft()
                window.append(self._publish(broker, message))
            await asyncio.gather(*window)

    def _publish(self, broker: MqttConnection, message: Message) -> asyncio.Future[None]:
        self._counts.messages += 1
        return broker.publish(message)

    async def in_order_of_arrival(self) -> AsyncIterator[tuple[float, Message]]:
        """Yield messages at the pace of their arrival, which may not be the order of sending.

        With each comes the time of its arrival, in the wearables' own time.
        """
        pacer = Pacer(self._options.speed)
        on_the_way: list[tuple[float, int, Message]] = []
        async for batch in self._batches():
            sent = batch.end + batch.clock_offset_s
            while on_the_way and on_the_way[0][0] <= sent:
                arrival, _, message = heapq.heappop(on_the_way)
                await pacer.wait_until(arrival)
                yield arrival, message
            await pacer.wait_until(sent)
            latency, survivor = self._send(batch)
            if survivor is not None:
                heapq.heappush(on_the_way, (sent + latency, next(self._messages), survivor))
        while on_the_way:
            arrival, _, message = heapq.heappop(on_the_way)
            await pacer.wait_until(arrival)
            yield arrival, message

    def _send(self, batch: SampleBatch) -> tuple[float, Message | None]:
        """Return a batch's latency and message; None if it is lost."""
        options, counts = self._options, self._counts
        if batch.device not in self._senders:
            seeds = np.random.default_rng([options.seed, len(self._senders)])
            drift = seeds.uniform(-options.drift_ppm, options.drift_ppm) * 1e-6
            self._senders[batch.device] = _Sender(seeds, drift, float(batch.times[0]))
        sender = self._senders[batch.device]
        packet = sender.packet(batch, self._payloads.counts == "samples", options.rate_hz)
        lost, overtaken = sender.random.random(2) < (options.loss, options.reorder)
        latency = sender.random.uniform(0.0, options.jitter_s)
        if lost:
            counts.lost_messages += 1
            counts.lost_samples += len(batch)
            return latency, None
        if overtaken:
            counts.overtaken += 1
            latency += OVERTAKEN * len(batch) * packet.period_s + options.jitter_s
        counts.samples += len(batch)
        if self._factors is not None:
            packet = replace(packet, values=packet.values / self._factors)
        topic = self._topic.replace(DEVICE_LEVEL, batch.device)
        return latency, Message(topic, self._payloads.encode(packet))

    async def _batches(self) -> AsyncIterator[SampleBatch]:
        """Yield what the wearables measure, in the order of time."""
        options = self._options
        source = self._synthetic() if options.session is None else self._recorded(options.session)
        end: float | None = None
        async for batch in source:
            if end is None and options.seconds is not None:
                end = float(batch.times[0]) + options.seconds
            if end is not None and batch.times[-1] >= end:
                return
            yield batch

    async def _recorded(self, session: Path) -> AsyncIterator[SampleBatch]:
        options = ReplayOptions(file=session, speed="max", batch=self._options.batch)
        async with ReplayAdapter(options) as replay:
            async for batch in replay:
                info = replay.streams[batch.device]
                values = batch.values[:, self._columns(info)]
                for name in self._copies(batch.device):
                    yield replace(batch, device=name, values=values)

    async def _synthetic(self) -> AsyncIterator[SampleBatch]:
        """Yield batches of wearables that stand and walk in turn, from now on, for ever."""
        options = self._options
        noise = np.random.default_rng(options.seed)
        start = time.time()
        names = [f"synthetic-{number + 1}" for number in range(options.devices)]
        kind = StreamInfo(names[0], CHANNELS, UNITS, options.rate_hz, "synthetic", "counter")
        columns = self._columns(kind)
        for first in itertools.count(step=options.batch):
            elapsed = np.arange(first, first + options.batch) / options.rate_hz
            for name in names:
                values = motion(elapsed) + noise.normal(0, NOISE, (options.batch, len(CHANNELS)))
                yield SampleBatch(name, start + elapsed, values[:, columns].astype(np.float32))

    def _columns(self, info: StreamInfo) -> list[int]:
        missing = set(self._gateway.channels) - set(info.channels)
        if missing:
            told = f"lacks {', '.join(sorted(missing))}, which the gateway expects"
            raise InvalidStreamError(info.device, f"{told}; give a session that has all of it")
        return [info.channels.index(channel) for channel in self._gateway.channels]

    def _copies(self, device: str) -> list[str]:
        count = self._options.devices
        return [device] if count == 1 else [f"{device}-{number + 1}" for number in range(count)]


class _Sender:
    """One wearable: its clock, and its counters of samples and messages."""

    def __init__(self, random: np.random.Generator, drift: float, start: float) -> None:
        self.random = random
        self.drift = drift
        self._start = start
        self._samples = 0
        self._messages = 0

    def packet(self, batch: SampleBatch, counts_samples: bool, rate_hz: float) -> Packet:
        times = batch.times + (batch.times - self._start) * self.drift
        period = float(np.median(np.diff(batch.times))) if len(batch) > 1 else 1 / rate_hz
        self._samples += batch.lost
        number = self._samples if counts_samples else self._messages
        self._samples += len(batch)
        self._messages += 1
        return Packet(times, batch.values, number, round(period, 6), batch.device)
