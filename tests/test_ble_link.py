"""Links against bleak's real BlueZ backend and a fake BlueZ on a private D-Bus."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blockbuster import BlockBuster
from pydantic import ValidationError

from conftest import counted_samples, forget_bluez, needs, stream_info
from device_adapters.ble import connection, scanner
from device_adapters.ble.adapter import QUEUED_BATCHES, BleAdapter, BleOptions
from device_adapters.ble.formats import polar
from device_adapters.ble.link import Link, LinkState
from device_adapters.ble.wearable import WearableOptions
from device_adapters.errors import UnrecognisedWearableError
from device_adapters.samples import STANDARD_GRAVITY, SampleBatch
from fake_bluez import FakeBlueZ, PrivateBus
from fake_wearables import (
    NUMBERS,
    FakeInfiniTime,
    FakeMetaMotion,
    FakeMovellaDot,
    FakeMovesense,
    FakePolar,
    FakeSketch,
    FakeThingy52,
    FakeWearable,
    FakeWitMotion,
)

KINDS: dict[str, Callable[[FakeBlueZ], FakeWearable]] = {
    "polar": FakePolar,
    "movesense": FakeMovesense,
    "movella_dot": FakeMovellaDot,
    "metamotion": FakeMetaMotion,
    "thingy52": FakeThingy52,
    "witmotion": FakeWitMotion,
    "infinitime": FakeInfiniTime,
    "generic": FakeSketch,
}


class Reader:
    """Reads an adapter in the background."""

    def __init__(self, adapter: BleAdapter) -> None:
        self.adapter = adapter
        self.batches: dict[str, list[SampleBatch]] = {}
        self._received: Counter[str] = Counter()
        self._task = asyncio.create_task(self._read(), name="reader")

    async def _read(self) -> None:
        async for batch in self.adapter:
            assert batch.device in self.adapter.streams
            self.batches.setdefault(batch.device, []).append(batch)
            self._received[batch.device] += len(batch)

    def received(self, device: str = "wrist") -> int:
        return self._received[device]

    def values(self, device: str = "wrist") -> np.ndarray:
        return np.concatenate([batch.values for batch in self.batches[device]])

    def times(self, device: str = "wrist") -> np.ndarray:
        return np.concatenate([batch.times for batch in self.batches[device]])

    def lost(self, device: str = "wrist") -> int:
        return sum(batch.lost for batch in self.batches[device])

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def reading(*wearables: dict[str, Any]) -> AsyncIterator[Reader]:
    options = BleOptions.model_validate(
        {"wearables": [{"name": "wrist", "adapter": "hci0", **each} for each in wearables]}
    )
    async with BleAdapter(options) as adapter:
        reader = Reader(adapter)
        try:
            yield reader
        finally:
            await reader.close()


def spoken(format_name: str, folder: Path) -> dict[str, Any]:
    """Return the options that choose a format."""
    described = {"description": FakeSketch.describe(folder)} if format_name == "generic" else {}
    return {"format": format_name, **described}


def assert_consecutive(numbers: np.ndarray) -> None:
    assert (np.diff(numbers) % NUMBERS == 1).all()


@pytest.mark.parametrize("format_name", KINDS)
async def test_every_format_streams_complete_and_in_order(
    bluez: FakeBlueZ, tmp_path: Path, format_name: str
) -> None:
    fake = KINDS[format_name](bluez)
    async with reading(spoken(format_name, tmp_path)) as reader:
        taking = asyncio.create_task(fake.run(), name="taking")
        await until(lambda: reader.received() >= fake.rate_hz / 2)
        taking.cancel()
        numbers = fake.numbers(reader.values())
        assert_consecutive(numbers)
        assert numbers[-1] >= fake.taken - 1 - fake.samples
        (link,) = reader.adapter.links()
        assert link.state is LinkState.STREAMING
        assert (link.wearable, link.adapter) == ("wrist", "hci0")
        assert (link.address, link.rssi) == (fake.peripheral.address, -60)
        assert link.samples == reader.received()
        assert link.rate_hz == pytest.approx(fake.rate_hz, rel=0.35)
        assert link.last_sample == pytest.approx(time.time(), abs=1.5)
        assert link.malformed == link.reconnects == 0
        # Of sensors that come apart without a time, the first samples may find no pair.
        assert link.lost <= (fake.samples if format_name == "metamotion" else 0)
        info = reader.adapter.streams["wrist"]
        assert info.rate_hz == fake.rate_hz
        assert info.adapter == "ble"
        assert reader.values()[:, 2] == pytest.approx(STANDARD_GRAVITY, abs=0.01)
        times = reader.times()
        assert (np.diff(times) > 0).all()
        assert np.diff(times).mean() == pytest.approx(1 / fake.rate_hz, rel=0.35)


async def test_twenty_thousand_notifications_come_complete_and_in_order(
    bluez: FakeBlueZ, tmp_path: Path
) -> None:
    fake = FakeSketch(bluez)
    async with reading(spoken("generic", tmp_path)) as reader:
        await until(lambda: fake.streaming)
        for _ in range(20_000):
            assert fake.send()
            # More than the fake's socket holds would be its own fault.
            while fake.taken - reader.received() > 40 * fake.samples:
                await asyncio.sleep(0)
        await until(lambda: reader.received() == 20_000 * fake.samples)
        assert_consecutive(fake.numbers(reader.values()))
        assert reader.lost() == reader.adapter.statistics().dropped == 0


@pytest.mark.parametrize("format_name", ["polar", "movesense", "movella_dot", "generic"])
async def test_what_the_radio_loses_is_counted_to_the_sample(
    bluez: FakeBlueZ, tmp_path: Path, format_name: str
) -> None:
    fake = KINDS[format_name](bluez)
    fates = np.random.default_rng(3)
    async with reading(spoken(format_name, tmp_path)) as reader:
        await until(lambda: fake.streaming)
        for _ in range(5):
            fake.send()
        await until(reader.received)
        for _ in range(300):
            fake.send(lost=bool(fates.random() < 0.1))
            await asyncio.sleep(0)
        for _ in range(3):
            fake.send()
        await until(lambda: fake.numbers(reader.values())[-1] == (fake.taken - 1) % NUMBERS)
        first = int(fake.numbers(reader.values())[0])
        assert reader.lost() > 20 * fake.samples
        assert reader.received() + reader.lost() == fake.taken - first
        statistics = reader.adapter.statistics()
        assert (statistics.samples, statistics.lost) == (reader.received(), reader.lost())
        assert statistics.dropped == 0


@dataclass
class Scene:
    """What can happen to a link, and what brings the wearable back."""

    bluez: FakeBlueZ
    fake: FakeWearable

    async def the_wearer_walks_away(self) -> None:
        self.fake.peripheral.in_range = False
        self.bluez.drop_link(self.fake.peripheral)
        await asyncio.sleep(0.3)
        self.fake.peripheral.in_range = True

    async def the_adapter_is_pulled_out(self) -> None:
        self.bluez.pull_out("hci0")
        await asyncio.sleep(0.3)
        self.bluez.plug_in("hci0")

    async def the_adapter_is_switched_off(self) -> None:
        self.bluez.switch("hci0", on=False)
        self.bluez.drop_link(self.fake.peripheral)
        await asyncio.sleep(0.3)
        self.bluez.switch("hci0", on=True)

    async def bluetoothd_dies(self) -> None:
        await self.bluez.crash()
        await asyncio.sleep(0.3)
        await self.bluez.start()

    async def connecting_fails_three_times(self) -> None:
        self.fake.peripheral.connect_errors = ["le-connection-abort-by-remote"] * 3
        self.bluez.drop_link(self.fake.peripheral)

    async def connecting_fails_six_times(self) -> None:
        self.fake.peripheral.connect_errors = ["Software caused connection abort"] * 6
        self.bluez.drop_link(self.fake.peripheral)

    async def it_falls_silent(self) -> None:
        self.fake.streaming = False


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (Scene.the_wearer_walks_away, "the link is lost"),
        (Scene.the_adapter_is_pulled_out, "the link is lost"),
        (Scene.the_adapter_is_switched_off, "the link is lost"),
        (Scene.bluetoothd_dies, "bluetoothd is gone"),
        (Scene.connecting_fails_three_times, "the link is lost"),
        (Scene.connecting_fails_six_times, "the link is lost"),
        (Scene.it_falls_silent, "no samples came for 0.5 s"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_a_stream_goes_on_when(
    bluez: FakeBlueZ,
    caplog: pytest.LogCaptureFixture,
    happens: Callable[[Scene], Awaitable[None]],
    told: str,
) -> None:
    fake = FakeMovesense(bluez)
    # Long enough, but for the one scene, that the watchdog is not what helps.
    silence = 0.5 if happens is Scene.it_falls_silent else 60
    async with reading({"format": "movesense", "silence_s": silence}) as reader:
        taking = asyncio.create_task(fake.run(), name="taking")
        await until(lambda: reader.received() > 20)
        await happens(Scene(bluez, fake))
        await until(lambda: reader.adapter.links()[0].state is not LinkState.STREAMING)
        before = reader.received()
        await until(lambda: reader.received() > before + 20)
        taking.cancel()
        (link,) = reader.adapter.links()
        assert link.state is LinkState.STREAMING
        assert link.reconnects == 1
        assert link.fault is not None
        numbers = np.unwrap(fake.numbers(reader.values()), period=NUMBERS)
        steps = np.diff(numbers)
        assert (steps > 0).all()
        assert (steps > 1).sum() == 1
        missing = int(numbers[-1] - numbers[0]) + 1 - reader.received()
        # Packets are late by different times: right but for a sample or two.
        assert abs(reader.lost() - missing) <= 2
        assert reader.lost() == link.lost > 5
    assert caplog.text.count("wearable 'wrist'") == 2
    assert f"wearable 'wrist': {told}; trying again" in caplog.text
    assert "wearable 'wrist': connected again" in caplog.text


async def test_two_wearables_on_two_adapters_do_not_disturb_each_other(bluez: FakeBlueZ) -> None:
    left, right = FakePolar(bluez), FakeMovesense(bluez, adapter="hci1")
    async with reading(
        {"name": "left", "format": "polar"},
        {"name": "right", "format": "movesense", "adapter": "00:00:00:00:5E:01"},
    ) as reader:
        taking = [asyncio.create_task(fake.run(), name="taking") for fake in (left, right)]
        await until(lambda: reader.received("left") > 20 and reader.received("right") > 20)
        bluez.pull_out("hci1")
        await until(lambda: reader.adapter.links()[1].state is LinkState.WAITING)
        before = reader.received("left")
        await until(lambda: reader.received("left") > before + 20)
        bluez.plug_in("hci1")
        before = reader.received("right")
        await until(lambda: reader.received("right") > before + 20)
        for task in taking:
            task.cancel()
        assert_consecutive(left.numbers(reader.values("left")))
        assert [link.adapter for link in reader.adapter.links()] == ["hci0", "hci1"]
        assert [link.reconnects for link in reader.adapter.links()] == [0, 1]


async def test_wearables_known_by_their_format_alone_are_shared_out(bluez: FakeBlueZ) -> None:
    for number in range(3):
        FakePolar(bluez, f"A0:9E:1A:00:00:0{number}", f"Polar Sense A1B2C30{number}")
    wanted = [{"name": f"wearer {number}", "format": "polar"} for number in range(3)]
    async with reading(*wanted) as reader:
        await until(lambda: all(device.connected for device in bluez.peripherals))
        await until(lambda: len({link.address for link in reader.adapter.links()}) == 3)
    assert [device.connections for device in bluez.peripherals] == [1, 1, 1]


async def test_a_stream_goes_on_when_d_bus_itself_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = PrivateBus(needs("dbus-daemon"), tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
    async with FakeBlueZ(bus.address) as bluez, reading({"format": "movesense"}) as reader:
        fake = FakeMovesense(bluez)
        taking = asyncio.create_task(fake.run(), name="taking")
        await until(lambda: reader.received() > 20)
        bus.stop()
        await bluez.crash()
        bus = PrivateBus(needs("dbus-daemon"), tmp_path)
        await bluez.start()
        before = reader.received()
        await until(lambda: reader.received() > before + 20)
        taking.cancel()
    bus.stop()
    await forget_bluez()


async def test_what_is_lost_while_a_link_is_away_is_counted_once() -> None:
    received: list[SampleBatch] = []
    options = WearableOptions(name="wrist", format="polar")
    link = Link(options, scanner.Scanner(None), set(), received.append)
    link.info = stream_info()
    samples = counted_samples(50)
    for part, lost in ((slice(0, 10), 0), (slice(40, 50), 12)):
        link._state = LinkState.CONNECTING
        link._received(SampleBatch("wrist", samples.times[part], samples.values[part], lost))
    assert [batch.lost for batch in received] == [0, 30]
    assert link.lost == 30


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_an_outage_is_not_mistaken_when_the_hosts_clock_is_set(
    bluez: FakeBlueZ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    fake = FakeSketch(bluez)
    async with reading(spoken("generic", tmp_path)) as reader:
        taking = asyncio.create_task(fake.run(), name="taking")
        await until(lambda: reader.received() > 20)
        true_time = time.time
        monkeypatch.setattr(time, "time", lambda: true_time() + step)
        bluez.drop_link(fake.peripheral)
        await until(lambda: reader.adapter.links()[0].reconnects == 1 and reader.lost())
        taking.cancel()
        steps = np.diff(reader.times())
        assert steps.min() > 0
        assert steps.max() < 20
        assert reader.batches["wrist"][-1].clock_set_s == pytest.approx(step, abs=0.01)
        (link,) = reader.adapter.links()
        assert link.last_sample == pytest.approx(time.time(), abs=2)
        assert 0 < reader.lost() < 20 * fake.rate_hz


@pytest.mark.parametrize("happens", ["bluetoothd dies", "BlueZ forgets it"])
async def test_connecting_is_given_up_when_it_leads_nowhere(bluez: FakeBlueZ, happens: str) -> None:
    fake = FakePolar(bluez)
    fake.peripheral.connect_seconds = 60
    async with reading({"format": "polar"}) as reader:
        await until(lambda: reader.adapter.links()[0].state is LinkState.CONNECTING)
        await until(lambda: bluez.is_connecting(fake.peripheral))
        fake.peripheral.connect_seconds = 0
        began = time.monotonic()
        if happens == "bluetoothd dies":
            await bluez.crash()
            await bluez.start()
        else:
            bluez.forget(fake.peripheral)
        await until(lambda: fake.streaming)
        # bleak-retry-connector alone waits for 4 s and more.
        assert time.monotonic() - began < 3.5


async def test_bluetoothd_may_come_later(system_bus: str, caplog: pytest.LogCaptureFixture) -> None:
    async with reading({"format": "polar", "adapter": None}) as reader:
        await until(lambda: reader.adapter.links()[0].fault)
        async with FakeBlueZ(system_bus) as bluez:
            fake = FakePolar(bluez)
            await until(lambda: fake.streaming)
    assert "wearable 'wrist': Bluetooth: bluetoothd does not run" in caplog.text


@pytest.mark.parametrize(
    "known_by",
    [
        {"address": "a0:9e:1a:00:00:01"},
        {"advertised": "Polar Sense A1B2C301"},
        {"service": polar.SERVICE.upper()},
        {"address": "A0:9E:1A:00:00:01", "format": "polar"},
    ],
)
async def test_a_wearable_is_known_by_address_name_or_service(
    bluez: FakeBlueZ, known_by: dict[str, str]
) -> None:
    FakeMovesense(bluez)
    fake = FakePolar(bluez)
    async with reading(known_by) as reader:
        await until(lambda: fake.streaming)
        assert reader.adapter.links()[0].advertised == "Polar Sense A1B2C301"


async def test_a_wearable_is_told_to_stop_in_the_end(
    bluez: FakeBlueZ, no_leaked_tasks: None
) -> None:
    fake = FakePolar(bluez)
    async with reading({"format": "polar"}):
        await until(lambda: fake.streaming)
    stops = [bytes([polar.STOP, kind]) for kind in (polar.ACC, polar.GYRO)]
    assert [value for _, value in fake.peripheral.writes[-2:]] == stops
    assert not fake.peripheral.connected
    assert not bluez.is_discovering()
    await forget_bluez()


@pytest.mark.parametrize("stage", ["looking", "connecting", "starting", "waiting"])
async def test_cancelled_at_any_stage_nothing_is_left_behind(
    bluez: FakeBlueZ, no_leaked_tasks: None, stage: str
) -> None:
    fake = FakePolar(bluez)
    peripheral = fake.peripheral
    if stage == "looking":
        peripheral.in_range = False
    elif stage == "connecting":
        peripheral.connect_seconds = 60
    elif stage == "starting":
        peripheral.characteristic(polar.CONTROL).on_write = None
    else:
        bluez.switch("hci0", on=False)
    async with reading({"format": "polar"}) as reader:
        expected = "connecting" if stage == "starting" else stage
        await until(lambda: reader.adapter.links()[0].state == expected)
        await until(lambda: stage != "starting" or peripheral.writes)
        await asyncio.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert not peripheral.connected
    assert not bluez.is_discovering()
    await forget_bluez()


async def test_a_link_that_outlived_its_program_is_ended(
    bluez: FakeBlueZ, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakePolar(bluez)
    async with reading({"format": "polar"}):
        await until(lambda: fake.streaming)
    bluez.leave_connected(fake.peripheral)
    async with reading({"format": "polar"}) as reader:
        taking = asyncio.create_task(fake.run(), name="taking")
        await until(reader.received)
        taking.cancel()
    assert "is connected already" in caplog.text


async def test_a_wearable_that_does_not_answer_is_tried_again(
    bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)
    fake = FakePolar(bluez)
    control = fake.peripheral.characteristic(polar.CONTROL)
    answering, control.on_write = control.on_write, None
    async with reading({"format": "polar"}) as reader:
        await until(lambda: reader.adapter.links()[0].fault)
        assert "no answer to 01 02 in 0.2 s" in str(reader.adapter.links()[0].fault)
        control.on_write = answering
        await until(lambda: fake.streaming)


async def test_another_format_than_the_wearables_is_told(bluez: FakeBlueZ) -> None:
    FakePolar(bluez)
    options = {"address": "A0:9E:1A:00:00:01", "format": "movesense"}
    async with reading(options) as reader:
        await until(lambda: reader.adapter.links()[0].fault)
        assert "set another format" in str(reader.adapter.links()[0].fault)


async def test_a_wearable_that_does_not_say_its_format_is_told(bluez: FakeBlueZ) -> None:
    FakeSketch(bluez)
    async with reading({"advertised": "Sketch"}) as reader:
        await until(lambda: reader.adapter.links()[0].fault)
        fault = reader.adapter.links()[0].fault
        assert isinstance(fault, UnrecognisedWearableError)
        assert "wearable with name Sketch does not advertise" in str(fault)
        assert "polar" in str(fault)


async def test_who_is_not_in_range_is_looked_for_until_it_comes(
    bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "ROUND_SECONDS", 0.3)
    fake = FakePolar(bluez)
    fake.peripheral.in_range = False
    async with reading({"format": "polar"}) as reader:
        await until(lambda: reader.adapter.links()[0].fault)
        assert "no polar wearable was heard by hci0 in 0.3 s" in str(
            reader.adapter.links()[0].fault
        )
        # BlueZ may lose hold of a discovery; the next round is a new one.
        bluez.pull_out("hci0")
        bluez.plug_in("hci0")
        fake.peripheral.in_range = True
        await until(lambda: fake.streaming)


async def test_a_name_made_to_harm_terminals_is_made_harmless(bluez: FakeBlueZ) -> None:
    FakePolar(bluez, name="Polar Sense \x1b[2J\n[bold]x")
    (sighting,) = await scanner.scan("hci0", 0.2)
    assert sighting.name == "Polar Sense [2J[bold]x"


async def test_what_cannot_be_read_is_counted_and_passed_over(
    bluez: FakeBlueZ, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakePolar(bluez)
    async with reading({"format": "polar"}) as reader:
        await until(lambda: fake.streaming)
        fake.send()
        for garbage in (b"\xff" * 30, b"", bytes(600)):
            bluez.notify(fake.peripheral, polar.DATA, garbage)
        fake.send()
        await until(lambda: reader.received() == 2 * fake.samples)
        assert reader.adapter.links()[0].malformed == 3
        assert reader.adapter.statistics().rejected == 3
        assert_consecutive(fake.numbers(reader.values()))
    assert caplog.text.count("passed over") == 1


async def test_what_the_gateway_is_too_slow_for_is_dropped_and_counted(
    bluez: FakeBlueZ, tmp_path: Path
) -> None:
    fake = FakeSketch(bluez)
    options = {"name": "wrist", **spoken("generic", tmp_path)}
    async with BleAdapter(BleOptions.model_validate({"wearables": [options]})) as adapter:
        await until(lambda: fake.streaming)
        for _ in range(QUEUED_BATCHES + 100):
            fake.send()
            await asyncio.sleep(0)
        await until(lambda: adapter.links()[0].samples == fake.taken)
        statistics = adapter.statistics()
        assert statistics.dropped == 100 * fake.samples
        assert statistics.queued == statistics.capacity == QUEUED_BATCHES
        batch = await anext(aiter(adapter))
        assert fake.numbers(batch.values)[0] == 100 * fake.samples
        assert adapter.statistics().samples == fake.samples


async def test_the_event_loop_is_never_blocked(bluez: FakeBlueZ) -> None:
    fake = FakePolar(bluez)
    detector = BlockBuster(["device_adapters"])
    detector.activate()
    try:
        async with reading({"address": fake.peripheral.address}) as reader:
            taking = asyncio.create_task(fake.run(), name="taking")
            await until(lambda: reader.received() > 20)
            bluez.drop_link(fake.peripheral)
            await until(lambda: reader.adapter.links()[0].reconnects == 1)
            taking.cancel()
    finally:
        detector.deactivate()


async def test_a_fault_of_our_own_ends_the_iteration(
    bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(WearableOptions, "spoken_by", broken)
    FakePolar(bluez)
    options = {"wearables": [{"name": "wrist", "format": "polar"}]}
    async with BleAdapter(BleOptions.model_validate(options)) as adapter:
        with pytest.raises(ExceptionGroup) as caught:
            await anext(aiter(adapter))
    assert caught.group_contains(ZeroDivisionError)


@pytest.mark.parametrize(
    ("wearables", "told"),
    [
        ([], "at least 1"),
        ([{"format": "polar"}], "wearables.0.name"),
        ([{"name": "a/b", "format": "polar"}], "breaks a topic"),
        ([{"name": "a"}], "set address, advertised, service or format"),
        ([{"name": "a", "address": "A0:9E"}], "six pairs"),
        ([{"name": "a", "service": "beef beef"}], "service"),
        ([{"name": "a", "format": "pollar"}], "no format 'pollar'"),
        ([{"name": "a", "format": "polar", "rate": 52}], "known are name, address"),
        ([{"name": "a", "format": "polar", "rate_hz": -1}], "wearables.0.rate_hz"),
        ([{"name": "a", "address": "A0:9E:1A:00:00:01", "rate_hz": 52}], "wearables.0.rate_hz"),
        ([{"name": "a", "format": "polar"}] * 2, "two wearables are named 'a'"),
        (
            [{"name": name, "address": "A0:9E:1A:00:00:01"} for name in "ab"],
            "two wearables have the address A0:9E:1A:00:00:01",
        ),
        (
            [
                {"name": "a", "format": "polar", "adapter": "hci0"},
                {"name": "b", "format": "polar"},
            ],
            "set adapter for b too",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(wearables: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BleOptions.model_validate({"wearables": wearables})
    assert told in str(caught.value)
