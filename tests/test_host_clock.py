"""The host's clock is set, by hours or seconds, while wearables stream."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from conftest import CHANNELS, EPOCH, UNITS, Mosquitto, worn_samples
from device_adapters import host_clock
from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.mqtt.payloads import Packet
from device_adapters.mqtt.subscriber import MqttAdapter, MqttOptions
from device_adapters.samples import SampleBatch
from mqtt_wearables import (
    BATCH,
    OfflineAdapter,
    make_format,
    message,
    numbers_of,
    publish,
    receive,
    sample_numbers,
)
from streamer.messages import Label
from streamer.recognizer import Recognizer
from streamer.segments import SegmentTracker
from streamer.wearers import WearerConfig, Wearers

SAMPLES = 1000
PARTS: dict[str, slice] = {"acc": slice(0, 3), "gyro": slice(3, 6), "whole": slice(0, 6)}
JOINED = WearerConfig(
    channels={own: f"{own[: own.index('_')]}/{own}" for own in CHANNELS},
)
STEPS = [-3600.0, -2.0, 2.0, 3600.0]


@pytest.fixture
def set_by(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Set the host's clock by so many seconds."""
    step = {"seconds": 0.0}
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + step["seconds"])
    return step


def packets(whole: SampleBatch, device: str) -> list[Packet]:
    return [
        Packet(part.times, part.values[:, PARTS[device]], begin, 0.02, device)
        for begin in range(0, SAMPLES, BATCH)
        for part in [whole.part(begin, begin + BATCH)]
    ]


def labelled(
    bundle: Path, adapter: OfflineAdapter, configs: dict[str, WearerConfig]
) -> list[Label]:
    wearers = Wearers(Recognizer.load(bundle), configs)
    for info in adapter.streams.values():
        own = PARTS[info.device]
        channels, units = tuple(CHANNELS)[own], tuple(UNITS)[own]
        wearers.open(replace(info, channels=channels, units=units))
    return [label for batch in adapter.batches for label in wearers.push_all([batch])]


def sent(set_by: dict[str, float], step: float, *, joined: bool) -> OfflineAdapter:
    """Send ten seconds, the host's clock is set, ten more."""
    devices = ("acc", "gyro") if joined else ("whole",)
    channels = 6 // len(devices)
    adapter = OfflineAdapter(channels=CHANNELS[:channels], units=UNITS[:channels])
    raw = make_format("raw")
    set_by["seconds"] = 0.0
    for number, together in enumerate(
        zip(*(packets(worn_samples(SAMPLES), device) for device in devices), strict=True)
    ):
        if number == 50:
            set_by["seconds"] = step
        for packet in together:
            topic = f"wearables/{packet.device}/imu"
            arrival = EPOCH + number * 0.2 + 0.01
            adapter.take([message(0)._replace(topic=topic, payload=raw.encode(packet))], arrival)
    return adapter


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_only_the_times_told_change(
    bundle: Path, set_by: dict[str, float], step: float, joined: bool
) -> None:
    configs = {"anna": JOINED} if joined else {}
    as_it_was = labelled(bundle, sent(set_by, 0.0, joined=joined), configs)
    labels = labelled(bundle, sent(set_by, step, joined=joined), configs)
    assert len(labels) == len(as_it_was) > 30
    pairs = list(zip(labels, as_it_was, strict=True))
    moved = [got.window.end - want.window.end for got, want in pairs]
    assert [structs.replace(got, window=want.window) for got, want in pairs] == as_it_was
    first = next(number for number, by in enumerate(moved) if abs(by) > 1)
    assert moved[:first] == pytest.approx([0.0] * first, abs=0.01)
    assert moved[first:] == pytest.approx([step] * (len(moved) - first), abs=0.01)
    assert labels[first].window.end - step == pytest.approx(EPOCH + 10.3, abs=0.6)


@pytest.mark.parametrize("step", STEPS)
def test_a_segment_ends_where_the_clock_was_set(
    bundle: Path, set_by: dict[str, float], step: float
) -> None:
    recognizer = Recognizer.load(bundle)
    labels = labelled(bundle, sent(set_by, step, joined=False), {})
    tracker = SegmentTracker(recognizer.manifest, recognizer.hop)
    segments = tracker.push(labels)
    assert all(0 < segment.duration_s < 11 for segment in segments)
    assert len({segment.id for segment in segments}) > 1


async def test_a_message_that_waits_is_not_kept_for_an_hour(
    mosquitto: Mosquitto, set_by: dict[str, float]
) -> None:
    address = BrokerAddress(url=mosquitto.url)
    options = MqttOptions(url=mosquitto.url, reorder_s=0.1)
    async with MqttAdapter(options) as adapter:
        await adapter.subscribed()
        await publish(address, [message(0), message(2)])
        set_by["seconds"] = -3600.0
        assert sample_numbers(await receive(adapter, 2)) == numbers_of(0, 2)


def test_the_gateways_clock_never_steps(set_by: dict[str, float]) -> None:
    before = host_clock.now()
    for step in STEPS:
        set_by["seconds"] = step
        assert host_clock.set_by() == pytest.approx(step, abs=0.01)
        assert 0 <= host_clock.now() - before < 5
    set_by["seconds"] = 0.0
    assert abs(host_clock.set_by()) < 0.01


def test_who_is_interrupted_between_two_clocks_reads_them_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    true_time, pauses = time.time, iter([0.02, 0.05])

    def slow_time() -> float:
        time_of_day = true_time()
        time.sleep(next(pauses, 0.0))
        return time_of_day

    monkeypatch.setattr(time, "time", slow_time)
    assert abs(host_clock.set_by()) < 0.01
    assert next(pauses, None) is None
