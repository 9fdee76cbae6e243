"""Simulated wearables through mosquitto into the gateway: the labels are those of a replay.

Messages go through the broker as fast as they can. When each arrived is told by the simulated
network: at many times real time, a moment in which the machine does something else would look like
seconds of latency. The network's time is the session's own, so the gateway should find the times of
the session again, but for the smallest latency.
"""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typing_extensions import override

from commands import streamer
from conftest import Mosquitto
from device_adapters.adapter import DeviceAdapter
from device_adapters.clock import ENVELOPE_SECONDS
from device_adapters.errors import InvalidStreamError
from device_adapters.mqtt.client import Message
from device_adapters.mqtt.payloads import payload_names
from device_adapters.mqtt.simulation import Simulation, SimulationOptions
from device_adapters.mqtt.subscriber import MqttAdapter, MqttOptions
from device_adapters.replay import ReplayAdapter, ReplayOptions
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import SessionWriter
from streamer.messages import Label
from streamer.recognizer import Recognizer

Floats = NDArray[np.float64]
SECONDS = 60.0
BATCH = 10
NETWORK = {"jitter_s": 0.01, "reorder": 0.05, "seed": 3}
"""Latencies of up to 5 % of the time between messages; 5 % of messages overtaken."""

ROUNDED = 1e-3
"""What a payload's rounding of times and values may make of a probability."""

LATENESS_SECONDS = 0.011
"""The clock errs by the smallest latency, which is at most the network's jitter."""


@dataclass(frozen=True)
class Run:
    batches: list[SampleBatch]
    labels: list[Label]

    @property
    def times(self) -> Floats:
        return np.concatenate([batch.times for batch in self.batches])

    @property
    def shared_times(self) -> Floats:
        return np.concatenate([batch.shared_times for batch in self.batches])

    @property
    def values(self) -> NDArray[np.float32]:
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
        batches = list(filter(None, adapter._queue._entries))
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


def arrived(samples: SampleBatch, run: Run, rate_hz: float) -> NDArray[np.intp]:
    """Return which of a session's samples are in a live run; checks that they are."""
    numbers: NDArray[np.intp] = np.rint((run.shared_times - samples.times[0]) * rate_hz).astype(
        np.intp
    )
    np.testing.assert_allclose(run.values, samples.values[numbers], rtol=1e-5, atol=1e-5)
    return numbers


def assert_same_labels(labels: list[Label], reference: list[Label]) -> None:
    """Check all that does not depend on where the stream's line lies for the host."""
    assert len(labels) == len(reference) > 20
    for got, want in zip(labels, reference, strict=True):
        assert (got.label, got.words) == (want.label, want.words)
        assert (got.observed, got.lost, got.seq) == (want.observed, want.lost, want.seq)
        assert got.p == pytest.approx(want.p, abs=ROUNDED)
        others = {other.label: other.p for other in want.alternatives}
        for other in got.alternatives:
            assert other.p == pytest.approx(others.get(other.label, 0.0), abs=ROUNDED)


def lateness(labels: list[Label], reference: list[Label]) -> Floats:
    """Return by how much windows are told to end later than they did, seconds."""
    return np.array(
        [got.window.end - want.window.end for got, want in zip(labels, reference, strict=True)]
    )


@pytest.mark.parametrize("drift_ppm", [0.0, 400.0])
@pytest.mark.parametrize("payload", payload_names())
async def test_what_is_simulated_is_labelled_as_the_session(
    payload: str,
    drift_ppm: float,
    mosquitto: Mosquitto,
    real_session: Path,
    bundle: Path,
    session: tuple[StreamInfo, SampleBatch],
) -> None:
    run, adapter, simulation = await live(
        mosquitto, real_session, bundle, payload, drift_ppm=drift_ppm
    )
    info, samples = session
    assert simulation.statistics().overtaken > 0
    assert adapter.statistics().lost == adapter.statistics().rejected == 0
    assert arrived(samples, run, info.rate_hz).tolist() == list(range(len(samples)))
    # Who is late changes where the stream lies for the host, and nothing else: a clock that drifts
    # gives the labels of a recording by that clock.
    (drift,) = (sender.drift for sender in simulation._senders.values())
    assert (drift != 0) is (drift_ppm > 0)
    since = samples.times - samples.times[0]
    stamped = replace(samples, times=samples.times[0] + since * (1 + drift))
    reference = recognized(bundle, info, [stamped]).labels
    assert_same_labels(run.labels, reference)
    # Late by what the network adds, and told by a packet that is up to 30 s old.
    gained = np.array([drift * (label.window.end - samples.times[0]) for label in reference])
    late = lateness(run.labels, reference) + gained
    aged = ENVELOPE_SECONDS * abs(drift)
    assert (late > -0.001 - aged).all()
    assert (late < LATENESS_SECONDS + aged).all()


async def test_a_recording_of_what_arrived_gives_the_same_messages(
    mosquitto: Mosquitto, real_session: Path, bundle: Path, tmp_path: Path
) -> None:
    run, adapter, _ = await live(mosquitto, real_session, bundle, "raw", drift_ppm=400, jitter_s=1)
    (info,) = adapter.streams.values()
    recorded = tmp_path / "recorded.mcap"
    with SessionWriter(recorded) as writer:
        writer.add_stream(info)
        for batch in run.batches:
            writer.add_batch(batch)
    assert len({batch.clock_offset_s for batch in run.batches}) > 20
    for size in (None, 7):
        replay = ReplayAdapter(ReplayOptions(file=recorded, speed="max", batch=size))
        recognizer = Recognizer.load(bundle)
        batches = [batch async for batch in replay]
        recognizer.open(replay.streams[info.device])
        at_once = [batches[begin : begin + 256] for begin in range(0, len(batches), 256)]
        assert [label for some in at_once for label in recognizer.push_all(some)] == run.labels


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
    numbers = arrived(samples, run, info.rate_hz)
    holed = SampleBatch(info.device, samples.times[numbers], samples.values[numbers])
    reference = recognized(bundle, info, [holed]).labels
    assert_same_labels(run.labels, reference)
    spared = [label for label in reference if label.observed == 1.0 and label.lost == 0]
    assert len(spared) > 20
    for label in spared:
        begin, end = np.searchsorted(
            samples.times, (label.window.start - 1e-4, label.window.end + 1e-4)
        )
        (alone,) = recognized(bundle, info, [samples.part(int(begin), int(end))]).labels
        assert (alone.label, alone.window) == (label.label, label.window)
        assert alone.p == pytest.approx(label.p, abs=ROUNDED)


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


@pytest.mark.parametrize("payload", ["raw", "json", "senml_json", "senml_cbor"])
def test_wearables_send_the_channels_that_are_expected(payload: str) -> None:
    channels = ("gyro_z", "acc_x")
    gateway = MqttOptions.model_validate(
        {
            "payload": payload,
            "payload_options": {"names": channels} if payload.startswith("senml") else {},
            "channels": channels,
            "units": ("deg/s", "g"),
        }
    )
    simulation = Simulation(gateway, SimulationOptions(seconds=1, speed=None))

    async def sent() -> list[Message]:
        return [message async for _, message in simulation.in_order_of_arrival()]

    packets = [gateway.payload_format().decode(m.payload) for m in asyncio.run(sent())]
    assert {packet.values.shape for packet in packets} == {(10, 2)}
    told = MqttOptions(channels=("mag_x",), units=("uT",))
    simulation = Simulation(told, SimulationOptions(seconds=1, speed=None))
    with pytest.raises(InvalidStreamError, match=r"lacks mag_x, .* give a session"):
        asyncio.run(sent())


def test_the_command_sends_and_tells_what_it_did(mosquitto: Mosquitto, real_session: Path) -> None:
    command = ["simulate", "--mqtt", mosquitto.url]
    options = ["--speed", "max", "--seconds", "10", "--loss", "0.2"]
    done = streamer(*command, "--session", real_session, *options)
    assert done.returncode == 0, done.stderr
    assert "messages sent" in done.stdout
    assert "lost on purpose" in done.stdout
    refused = streamer(*command, "--payload", "morse")
    assert refused.returncode == 1
    assert "installed are cbor, json" in refused.stderr
