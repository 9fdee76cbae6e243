"""Simulated wearables through mosquitto into the gateway: the labels are those of a replay.

Messages go through the broker as fast as they can. When each arrived is told by the simulated
network: at many times real time, a moment in which the machine does something else would look like
seconds of latency.

What "the same" means: the gateway places samples on its own clock, by the smallest latency that it
has seen, so all times are shifted by that clock's offset, which moves by milliseconds while better
packets come. Three things are held, from strict to useful:

1. The samples that reach the recogniser are those of the session, in order, none twice and, where
   no loss is simulated, none missing; and they are as far apart as they were, but for the 1 % of
   elapsed time by which the clock may move from one packet to the next.
2. Replayed at the times at which they were placed, they give the live labels: words, windows, and
   probabilities, all of them.
3. Against the replay of the session, all its times shifted by that clock's median offset, window by
   window (the nearest in time, which lies within one sample): the label is the same, save where the
   two likeliest were within `DOUBT` of each other. Without the shift the model's grid would lie
   elsewhere between the samples, and the first window begin up to 0.1 s earlier.

Where loss is simulated, the replay lacks the same samples; windows that lost none are also held
against the whole replay, beside whose windows they may lie by half a hop.
"""

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typing_extensions import override

from conftest import Mosquitto
from device_adapters.adapter import DeviceAdapter
from device_adapters.mqtt.client import Message
from device_adapters.mqtt.payloads import payload_names
from device_adapters.mqtt.simulation import Simulation, SimulationOptions
from device_adapters.mqtt.subscriber import MqttAdapter, MqttOptions
from device_adapters.replay import ReplayAdapter, ReplayOptions
from device_adapters.samples import SampleBatch, StreamInfo
from streamer.messages import Label
from streamer.recognizer import Recognizer

SECONDS = 60.0
BATCH = 10
NETWORK = {"jitter_s": 0.01, "reorder": 0.05, "drift_ppm": 40.0, "seed": 3}
"""Latencies of up to 5 % of the time between messages; 5 % of messages overtaken."""

DOUBT = 0.1
"""Two labels whose probabilities differ by less are both right answers to a shifted window."""


@dataclass(frozen=True)
class Run:
    batches: list[SampleBatch]
    labels: list[Label]

    @property
    def times(self) -> np.ndarray[Any, Any]:
        return np.concatenate([batch.times for batch in self.batches])

    @property
    def values(self) -> np.ndarray[Any, Any]:
        return np.concatenate([batch.values for batch in self.batches])


def recognized(bundle: Path, info: StreamInfo, batches: list[SampleBatch]) -> Run:
    recognizer = Recognizer.load(bundle)
    recognizer.open(info)
    return Run(batches, [label for batch in batches for label in recognizer.push(batch)])


async def read(adapter: DeviceAdapter, seconds: float) -> list[SampleBatch]:
    batches: list[SampleBatch] = []
    async for batch in adapter:
        if batches and batch.times[-1] >= batches[0].times[0] + seconds:
            break
        batches.append(batch)
    return batches


class SimulatedTime(MqttAdapter):
    """Takes messages as arrived when the simulated network says; to it that is now."""

    def __init__(self, options: MqttOptions, arrivals: dict[bytes, float]) -> None:
        super().__init__(options, lambda: self.now)
        self._arrivals = arrivals
        self.now = 0.0
        self.taken = 0

    @override
    def _take(self, messages: list[Message], arrival: float) -> None:
        for message in messages:
            self.now = max(self.now, self._arrivals[message.payload])
            super()._take([message], self._arrivals[message.payload])
            self.taken += 1


async def live(
    mosquitto: Mosquitto, session: Path, bundle: Path, payload: str, **network: Any
) -> tuple[Run, MqttAdapter, Simulation]:
    gateway = MqttOptions(url=mosquitto.url, payload=payload, reorder_s=0.5)
    options = SimulationOptions.model_validate(
        {"session": session, "speed": None, "seconds": SECONDS, "batch": BATCH} | NETWORK | network
    )
    twin = Simulation(gateway, options)
    arrivals = {message.payload: time async for time, message in twin.in_order_of_arrival()}
    simulation = Simulation(gateway, options)
    async with SimulatedTime(gateway, arrivals) as adapter:
        await adapter.subscribed()
        await simulation.run()
        async with asyncio.timeout(20):
            while adapter.taken < len(arrivals):
                await asyncio.sleep(0.01)
            adapter.now += 10  # what still waits for a lost message need not any more
            while adapter._waiting:
                await asyncio.sleep(0.01)
        batches = list(adapter._queue._entries)
        (info,) = adapter.streams.values()
    return recognized(bundle, info, batches), adapter, simulation


@pytest.fixture(scope="module")
def session(real_session: Path) -> tuple[StreamInfo, SampleBatch]:
    """Return the beginning of the session, in one batch."""

    async def replay() -> tuple[StreamInfo, SampleBatch]:
        options = ReplayOptions(file=real_session, speed="max", batch=BATCH)
        async with ReplayAdapter(options) as adapter:
            batches = await read(adapter, SECONDS)
            (info,) = adapter.streams.values()
        run = Run(batches, [])
        return info, SampleBatch(info.device, run.times, run.values)

    return asyncio.run(replay())


def shifted(samples: SampleBatch, run: Run, rate_hz: float) -> tuple[SampleBatch, list[int]]:
    """Return a session on the live run's clock, and which of its samples arrived."""
    nearly = np.rint((run.times - run.times[0]) * rate_hz).astype(int)
    offset = float(np.median(run.times - samples.times[nearly]))
    arrived = np.rint((run.times - offset - samples.times[0]) * rate_hz).astype(int)
    np.testing.assert_allclose(run.values, samples.values[arrived], rtol=1e-5, atol=1e-5)
    return SampleBatch(samples.device, samples.times + offset, samples.values), arrived.tolist()


def margin(label: Label, other: str) -> float:
    """Return by how much a label is likelier than another that could have been."""
    return label.p - max((a.p for a in label.alternatives if a.label == other), default=0.0)


def nearest(label: Label, labels: list[Label]) -> Label:
    return min(labels, key=lambda other: abs(other.window.end - label.window.end))


def disagreements(labels: list[Label], replayed: list[Label]) -> list[str]:
    """Return the windows whose labels differ though one of them was sure."""
    pairs = [(label, nearest(label, replayed)) for label in labels]
    return [
        f"{want.window.middle:.2f}: {got.label} ({got.p}), not {want.label} ({want.p})"
        for got, want in pairs
        if got.label != want.label and max(margin(want, got.label), margin(got, want.label)) > DOUBT
    ]


def beside(labels: list[Label], replayed: list[Label]) -> float:
    """Return by how much, at most, a window lies beside the nearest of the replay; seconds."""
    return max(abs(label.window.end - nearest(label, replayed).window.end) for label in labels)


def replayed_in_sevens(run: Run, bundle: Path, info: StreamInfo) -> list[Label]:
    """Return the labels of what arrived, cut otherwise."""
    cuts = [slice(start, start + 7) for start in range(0, len(run.times), 7)]
    batches = [SampleBatch(info.device, run.times[part], run.values[part]) for part in cuts]
    return recognized(bundle, info, batches).labels


@pytest.mark.parametrize("payload", payload_names())
async def test_what_is_simulated_is_labelled_as_the_session(
    payload: str,
    mosquitto: Mosquitto,
    real_session: Path,
    bundle: Path,
    session: tuple[StreamInfo, SampleBatch],
) -> None:
    run, adapter, simulation = await live(mosquitto, real_session, bundle, payload)
    info, samples = session
    assert simulation.statistics().overtaken > 0
    assert adapter.statistics().lost == adapter.statistics().rejected == 0
    steps = np.diff(run.times) / np.diff(samples.times)
    assert abs(steps - 1).max() < 0.01 * BATCH + 0.002
    (live_info,) = adapter.streams.values()
    assert run.labels == replayed_in_sevens(run, bundle, live_info)
    reference = recognized(bundle, info, [shifted(samples, run, info.rate_hz)[0]]).labels
    assert abs(len(run.labels) - len(reference)) <= 1
    assert beside(run.labels, reference) <= 1.01 / info.rate_hz
    assert not disagreements(run.labels, reference)
    same = sum(label.label == nearest(label, reference).label for label in run.labels)
    assert same >= 0.97 * len(run.labels)


@pytest.mark.parametrize("payload", ["raw", "senml_cbor", "sensor_logger"])
async def test_what_the_network_loses_is_counted_and_spoils_nothing_else(
    payload: str,
    mosquitto: Mosquitto,
    real_session: Path,
    bundle: Path,
    session: tuple[StreamInfo, SampleBatch],
) -> None:
    run, adapter, simulation = await live(mosquitto, real_session, bundle, payload, loss=0.02)
    info, samples = session
    assert simulation.statistics().lost_messages > 0
    assert adapter.statistics().rejected == 0
    assert adapter.statistics().lost == simulation.statistics().lost_samples
    assert len(run.times) + adapter.statistics().lost == len(samples)
    whole, arrived = shifted(samples, run, info.rate_hz)
    holed = SampleBatch(info.device, whole.times[arrived], whole.values[arrived])
    reference = recognized(bundle, info, [holed]).labels
    assert beside(run.labels, reference) <= 1.01 / info.rate_hz
    assert not disagreements(run.labels, reference)
    spared = [label for label in run.labels if label.observed == 1.0 and label.lost == 0]
    assert len(spared) > 20
    wrong = disagreements(spared, recognized(bundle, info, [whole]).labels)
    assert len(wrong) <= 0.1 * len(spared)


def test_the_same_seed_gives_the_same_network() -> None:
    async def arrivals(seed: int) -> list[bytes]:
        options = SimulationOptions(
            devices=3, seconds=20, speed=None, loss=0.1, reorder=0.1, jitter_s=0.5, seed=seed
        )
        simulation = Simulation(MqttOptions(payload="raw"), options)
        return [message.payload[4:8] async for _, message in simulation.in_order_of_arrival()]

    first, again, other = (asyncio.run(arrivals(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_command_sends_and_tells_what_it_did(mosquitto: Mosquitto, real_session: Path) -> None:
    command = [sys.executable, "-m", "streamer", "simulate", "--mqtt", mosquitto.url]
    options = ["--session", str(real_session), "--speed", "max", "--seconds", "10", "--loss", "0.2"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=True, timeout=60
    )
    assert "messages sent" in done.stdout
    assert "lost on purpose" in done.stdout
    refused = subprocess.run(
        [*command, "--payload", "morse"], capture_output=True, text=True, check=False, timeout=60
    )
    assert refused.returncode == 1
    assert "installed are cbor, json" in refused.stderr
