"""Wearables over MQTT: against mosquitto where the way matters, without where the order does."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import aiomqtt
import numpy as np
import orjson
import pytest
from blockbuster import blockbuster_ctx
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from conftest import EPOCH, Mosquitto, cut, free_port, reconnected_without_password, worn_samples
from device_adapters.errors import MqttConnectionError
from device_adapters.mqtt import subscriber
from device_adapters.mqtt.client import QUEUED_MESSAGES, Inbox, Message, connection
from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.mqtt.payloads import Packet
from device_adapters.mqtt.payloads.raw import RawFormat
from device_adapters.mqtt.subscriber import LEFT_SECONDS, TURN_MESSAGES, MqttAdapter, MqttOptions
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
from streamer.admission import Admission
from streamer.recognizer import Recognizer
from streamer.wearers import Wearers

SECONDS = 0.2
"""Between two messages of a wearable."""


@pytest.fixture(params=["aiomqtt", "gmqtt"])
def address(mosquitto: Mosquitto, request: pytest.FixtureRequest) -> BrokerAddress:
    return BrokerAddress(url=mosquitto.url, client=request.param)


def listening_to(address: BrokerAddress, **options: object) -> MqttAdapter:
    return MqttAdapter(MqttOptions.model_validate(address.model_dump() | options))


async def test_samples_of_several_wearables_come_whole_and_in_order(
    address: BrokerAddress, no_leaked_tasks: None
) -> None:
    devices = [f"w{number}" for number in range(5)]
    messages = [message(number, device) for number in range(20) for device in devices]
    async with listening_to(address) as adapter:
        await adapter.subscribed()
        with blockbuster_ctx("device_adapters"):
            await publish(address, messages)
            batches = await receive(adapter, len(messages))
    for device in devices:
        assert sample_numbers(batches, device) == list(range(20 * BATCH))
        times = np.concatenate([batch.times for batch in batches if batch.device == device])
        assert (np.diff(times) > 0).all()
        assert adapter.streams[device].rate_hz == pytest.approx(50)
    statistics = adapter.statistics()
    assert (statistics.lost, statistics.rejected, statistics.dropped) == (0, 0, 0)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_every_quality_of_service_is_heard(mosquitto: Mosquitto, qos: int) -> None:
    async with listening_to(BrokerAddress(url=mosquitto.url)) as adapter:
        await adapter.subscribed()
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for number in range(20):
                sent = message(number)
                await client.publish(sent.topic, sent.payload, qos)
        assert sample_numbers(await receive(adapter, 20)) == list(range(20 * BATCH))


async def test_a_broker_away_at_first_and_killed_in_the_middle_costs_only_that_time(
    address: BrokerAddress, mosquitto: Mosquitto, no_leaked_tasks: None
) -> None:
    mosquitto.kill()
    async with listening_to(address) as adapter:
        await asyncio.sleep(0.3)
        mosquitto.start()
        await adapter.subscribed()
        await publish(address, [message(number) for number in range(5)])
        before = await receive(adapter, 5)
        mosquitto.kill()
        await asyncio.sleep(0.3)
        assert not adapter._subscribed.is_set()
        mosquitto.start()
        await adapter.subscribed()
        await publish(address, [message(number) for number in range(8, 12)])
        after = await receive(adapter, 4)
    assert sample_numbers(before) == list(range(5 * BATCH))
    assert sample_numbers(after) == numbers_of(8, 9, 10, 11)
    assert adapter.statistics().lost == after[0].lost == 3 * BATCH
    assert adapter.statistics().rejected == 0


async def test_gateways_of_a_group_share_the_wearables(address: BrokerAddress) -> None:
    topic = "$share/home/wearables/+/imu"
    async with (
        listening_to(address, topic=topic) as first,
        listening_to(address, topic=topic) as second,
    ):
        await first.subscribed()
        await second.subscribed()
        await publish(address, [message(0, f"w{number}") for number in range(10)])
        batches = await receive(first, 5) + await receive(second, 5)
    assert {batch.device for batch in batches} == {f"w{number}" for number in range(10)}


async def test_retained_samples_are_refused(
    address: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(address, [message(0)._replace(retain=True)])
    async with listening_to(address) as adapter:
        await adapter.subscribed()
        await publish(address, [message(1)])
        assert sample_numbers(await receive(adapter, 1)) == numbers_of(1)
        assert adapter.statistics().rejected == 1
    assert "it was retained" in caplog.text


async def test_cancelled_while_it_connects_and_while_it_listens_nothing_is_left(
    address: BrokerAddress, no_leaked_tasks: None
) -> None:
    async def follow(where: BrokerAddress) -> None:
        async with listening_to(where) as adapter:
            async for _ in adapter:
                pass

    away = address.model_copy(update={"url": f"mqtt://127.0.0.1:{free_port()}"})
    for where in (address, away):
        for patience in (0.0, 0.01, 0.3):
            task = asyncio.create_task(follow(where))
            await asyncio.sleep(patience)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_cancelled_as_the_broker_grants_its_topic_it_ends(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch, no_leaked_tasks: None
) -> None:
    asked = asyncio.Event()

    async def granted_at_that_moment(*_: object) -> tuple[int, ...]:
        asked.set()
        with contextlib.suppress(asyncio.CancelledError):  # as `wait_for` of Python 3.11 does
            await asyncio.Event().wait()
        return (1,)

    monkeypatch.setattr(aiomqtt.Client, "subscribe", granted_at_that_moment)
    async with asyncio.timeout(10), listening_to(BrokerAddress(url=mosquitto.url)):
        await asked.wait()


async def test_gmqtt_cancelled_before_the_broker_answers_hangs_up(no_leaked_tasks: None) -> None:
    came, left = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await reader.read()
        left.set()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(never_answer, "127.0.0.1") as broker:
        port = broker.sockets[0].getsockname()[1]
        address = BrokerAddress(url=f"mqtt://127.0.0.1:{port}", client="gmqtt")
        connecting = asyncio.create_task(connection(address).__aenter__())
        async with asyncio.timeout(10):
            await came.wait()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await left.wait()


async def test_messages_that_nobody_takes_are_dropped_oldest_first_and_counted() -> None:
    inbox = Inbox()
    for number in range(QUEUED_MESSAGES + 5):
        inbox.put(Message("imu", str(number).encode()))
    inbox.end(MqttConnectionError("mqtt://broker", "the connection was lost"))
    kept = await inbox.take()
    assert inbox.dropped == 5
    assert [int(message.payload) for message in kept] == list(range(5, QUEUED_MESSAGES + 5))
    with pytest.raises(MqttConnectionError, match="the connection was lost"):
        await inbox.take()


def of_many_wearables(count: int) -> list[Message]:
    sent = message(0)
    return [sent._replace(topic=f"wearables/many-{number}/imu") for number in range(count)]


async def test_many_messages_at_once_let_others_run() -> None:
    adapter = OfflineAdapter()
    messages = of_many_wearables(4 * TURN_MESSAGES)
    taking = asyncio.create_task(adapter._take_in_turns(messages, EPOCH))
    seen = []
    while not taking.done():
        await asyncio.sleep(0)
        seen.append(len(adapter.streams))
    assert set(np.diff([0, *seen])) == {0, TURN_MESSAGES}
    assert seen[-1] == len(messages)


async def test_what_has_come_and_waits_for_its_turn_is_not_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriber, "SHORTEST_PAUSE_SECONDS", 0)
    adapter = OfflineAdapter(reorder_s=1e-3)
    adapter._now = lambda: EPOCH + 1
    others = of_many_wearables(4 * TURN_MESSAGES)
    patience = asyncio.create_task(adapter._go_on_without_the_lost())
    await asyncio.sleep(0)
    await adapter._take_in_turns([message(0), message(2), *others, message(1)], EPOCH)
    patience.cancel()
    await asyncio.gather(patience, return_exceptions=True)
    adapter.collect()
    assert adapter.numbers == numbers_of(0, 1, 2)
    assert adapter.statistics().rejected == 0


def test_lost_messages_are_counted_exactly() -> None:
    adapter = OfflineAdapter()
    kept = [
        number
        for number in range(400)
        if number in {0, 399} or random.Random(number).random() < 0.8
    ]
    for number in kept:
        adapter.take([message(number)], EPOCH + number * SECONDS)
    adapter.go_on(EPOCH + 1000)
    assert adapter.numbers == numbers_of(*kept)
    assert adapter.lost == (400 - len(kept)) * BATCH
    assert adapter.statistics().rejected == 0


def test_duplicates_and_late_messages_are_rejected_and_counted() -> None:
    adapter = OfflineAdapter(reorder_s=0)
    for number in (0, 1, 1, 2, 4, 3, 5, 0, 5):
        adapter.take([message(number)], EPOCH + 1)
    assert adapter.numbers == numbers_of(0, 1, 2, 4, 5)
    assert adapter.lost == BATCH
    assert adapter.statistics().rejected == 4


@given(st.permutations(range(1, 15)), st.sets(st.integers(1, 14)), st.sampled_from(["raw", "json"]))
def test_overtaken_messages_are_put_in_order_and_each_loss_is_counted_once(
    order: list[int], lost: set[int], name: str
) -> None:
    adapter = OfflineAdapter(payload=name)
    sent = [0, *(number for number in order if number not in lost), 15]
    for number in sent:
        adapter.take([message(number, name=name)], EPOCH + 1)
    adapter.go_on(EPOCH + 1.4)
    assert adapter.lost == 0, "the lost ones may still come"
    adapter.go_on(EPOCH + 1.6)
    assert adapter.numbers == numbers_of(*sorted(sent))
    assert adapter.lost == len(lost) * BATCH
    assert adapter.statistics().rejected == 0


def test_no_more_than_so_many_packets_wait() -> None:
    adapter = OfflineAdapter(reorder_s=10)
    for number in (0, *range(2, 18)):
        adapter.take([message(number)], EPOCH + 1)
    assert adapter.numbers == numbers_of(0)
    adapter.take([message(18)], EPOCH + 1)
    assert adapter.numbers == numbers_of(0, *range(2, 19))
    assert adapter.lost == BATCH


async def test_what_waits_goes_on_although_nothing_else_comes(mosquitto: Mosquitto) -> None:
    address = BrokerAddress(url=mosquitto.url)
    async with listening_to(address, reorder_s=0.1) as adapter:
        await adapter.subscribed()
        await publish(address, [message(0), message(2)])
        assert sample_numbers(await receive(adapter, 2)) == numbers_of(0, 2)
        assert adapter.statistics().lost == BATCH


@pytest.mark.parametrize(
    ("configured", "told", "rejected"),
    [
        ("m/s2", "m/s2", 0),
        ("m/s2", None, 0),
        ("g", None, 0),
        ("g", "m/s2", 1),
        ("m/s2", "rad/s", 1),
    ],
)
def test_a_unit_that_is_told_must_be_the_configured_one(
    configured: str, told: str | None, rejected: int, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"names": ["acc_x"], "rate_hz": 50}
    adapter = OfflineAdapter(
        payload="senml_json", channels=["acc_x"], units=[configured], payload_options=options
    )
    pack = [{"n": "acc_x", "v": 1.0, "bt": EPOCH} | ({"u": told} if told else {})]
    sent = Message("wearables/w1/imu", orjson.dumps(pack))
    adapter.take([sent], EPOCH)
    assert adapter.statistics().rejected == rejected
    if rejected:
        assert f"acc_x is told in {told}; the configuration has units in {configured}" in (
            caplog.text
        )


@pytest.mark.parametrize("name", ["senml_json", "sensor_logger"])
def test_without_a_sample_counter_the_clock_tells_of_losses(name: str) -> None:
    adapter = OfflineAdapter(payload=name)
    for number in (0, 1, 3, 2, 2, 5, 6):
        adapter.take([message(number, name=name)], EPOCH + number * SECONDS)
    adapter.go_on(EPOCH + 100)
    assert adapter.numbers == numbers_of(0, 1, 2, 3, 5, 6)
    assert adapter.lost == BATCH
    assert adapter.statistics().rejected == 1


def test_a_clock_that_was_set_is_no_loss() -> None:
    adapter = OfflineAdapter(payload="senml_json")
    for number, start in ((0, EPOCH), (1, EPOCH + 1e6), (2, EPOCH + 1e6), (3, EPOCH), (4, EPOCH)):
        sent = message(number, name="senml_json", start=start)
        adapter.take([sent], EPOCH + number * SECONDS)
    adapter.go_on(EPOCH + 2)
    assert adapter.numbers == numbers_of(0, 1, 2, 3, 4)
    assert adapter.lost == 0


def test_malformed_messages_are_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    adapter = OfflineAdapter()
    good = message(0)
    bad = [
        good._replace(payload=payload)
        for payload in (b"", b"\x02" + good.payload[1:], good.payload[:-1], bytes(300_000))
    ]
    adapter.take([*bad, good, Message("wearables/a#b/imu", good.payload)], EPOCH)
    assert adapter.numbers == numbers_of(0)
    assert adapter.statistics().rejected == len(bad) + 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "'w1'" in caplog.text
    assert "a#b" in caplog.text


def test_another_number_of_channels_is_told(caplog: pytest.LogCaptureFixture) -> None:
    adapter = OfflineAdapter(channels=["x", "y", "z"], units=["g", "g", "g"])
    adapter.take([message(0)], EPOCH)
    assert adapter.statistics().rejected == 1
    assert "6 channels; the configuration names 3" in caplog.text


def test_wearables_beyond_the_limit_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    adapter = OfflineAdapter(max_devices=2)
    for number in range(3):
        adapter.take([message(number, device) for device in ("w1", "w2", "w3")], EPOCH + number)
    assert set(adapter.streams) == {"w1", "w2"}
    assert adapter.statistics().rejected == 3
    assert caplog.text.count("there are 2 wearables already") == 1


def test_a_wearable_that_left_makes_room_for_another() -> None:
    adapter = OfflineAdapter(max_devices=2)
    adapter.take([message(0), message(0, "w2"), message(0, "w3")], EPOCH)
    adapter.take([message(2), message(1, "w2")], EPOCH + 1)
    adapter.go_on(EPOCH + 2)
    adapter.take([message(1)], EPOCH + 2)  # too late
    adapter.take([message(2, "w2")], EPOCH + LEFT_SECONDS)
    before = adapter.statistics()
    adapter.call_the_roll(EPOCH + LEFT_SECONDS + 1)
    assert set(adapter.streams) == {"w1", "w2"}
    adapter.call_the_roll(EPOCH + LEFT_SECONDS + 2.5)
    assert set(adapter.streams) == {"w2"}
    assert adapter.statistics() == before
    assert (before.rejected, before.lost) == (2, BATCH)
    adapter.take([message(9, "w3"), message(9)], EPOCH + LEFT_SECONDS + 3)
    assert set(adapter.streams) == {"w2", "w3"}
    assert adapter.statistics().rejected == 3


async def test_one_whose_samples_are_still_to_be_read_has_not_left() -> None:
    adapter = OfflineAdapter()
    adapter._take([message(0), message(0, "w2")], EPOCH)
    reading = adapter.__aiter__()
    assert (await anext(reading)).device == "w1"
    adapter.call_the_roll(EPOCH + 2 * LEFT_SECONDS)
    assert set(adapter.streams) == {"w2"}
    assert (await anext(reading)).device == "w2"


def test_units_are_converted_and_told() -> None:
    adapter = OfflineAdapter(units=["g"] * 3 + ["deg/s"] * 3)
    adapter.take([message(1)], EPOCH)
    sent = np.arange(BATCH, 2 * BATCH)[:, None] + np.arange(6) / 10
    si = sent * ([9.80665] * 3 + [np.pi / 180] * 3)
    np.testing.assert_allclose(adapter.batches[0].values, si, rtol=1e-6)
    info = adapter.streams["w1"]
    assert info.units == ("m/s2",) * 3 + ("rad/s",) * 3
    assert info.conversion == "g to m/s2, deg/s to rad/s"


def raw_message(counter: int, device_time: float) -> Message:
    values = np.full((BATCH, 6), counter % 2**32, np.float32)
    packet = Packet(device_time + np.arange(BATCH) / 50, values, counter, 0.02)
    payload = make_format("raw").encode(packet)
    return Message("wearables/w1/imu", payload)


def test_counter_and_clock_may_wrap_around() -> None:
    adapter = OfflineAdapter()
    turn = RawFormat.clock_turn_s
    for number in range(100):
        counter = 2**32 - 500 + number * BATCH
        adapter.take([raw_message(counter, turn - 7 + number * SECONDS)], EPOCH + number * SECONDS)
    times = np.concatenate([batch.times for batch in adapter.batches])
    assert len(times) == 100 * BATCH
    np.testing.assert_allclose(np.diff(times), 0.02, atol=1e-5)
    assert adapter.lost == adapter.statistics().rejected == 0


def test_messages_overtake_each_other_where_counter_and_clock_wrap() -> None:
    adapter = OfflineAdapter()
    turn = RawFormat.clock_turn_s
    for number in (0, 2, 1, 4, 3, 5):
        sent = raw_message(2**32 - 15 + number * BATCH, turn - 0.3 + number * SECONDS)
        adapter.take([sent], EPOCH + number * SECONDS)
    times = np.concatenate([batch.times for batch in adapter.batches])
    assert len(times) == 6 * BATCH
    assert (np.diff(times) > 0).all()
    assert adapter.lost == adapter.statistics().rejected == 0


def test_a_device_that_restarts_is_followed() -> None:
    adapter = OfflineAdapter()
    for number in range(50):
        adapter.take(
            [raw_message(number * BATCH, 100 + number * SECONDS)], EPOCH + number * SECONDS
        )
    for number in range(5):
        adapter.take([raw_message(number * BATCH, number * SECONDS)], EPOCH + 20 + number * SECONDS)
    assert len(adapter.batches) == 55, "it is known after half a second"
    assert adapter.lost == adapter.statistics().rejected == 0
    assert adapter.batches[50].shared_times[-1] == pytest.approx(EPOCH + 20, abs=0.01)


def worn_messages(batch: SampleBatch, rate_hz: float, first: int) -> Iterator[Message]:
    """Yield a wearer's samples in messages, the first sample being number `first`."""
    for piece in cut(batch, [BATCH]):
        packet = Packet(piece.times, piece.values, first, 1 / rate_hz)
        yield Message("wearables/w1/imu", make_format("raw").encode(packet))
        first += len(piece)


def test_a_wearable_whose_rate_changes_is_held_to_the_bundle_again(bundle: Path) -> None:
    adapter = OfflineAdapter()
    admission = Admission(Wearers(Recognizer.load(bundle), {}), check_streams=True)
    slow, fast = worn_samples(50, rate_hz=25.0), worn_samples(500)
    fast = SampleBatch("w1", fast.times + 2, fast.values)
    came = [*worn_messages(slow, 25.0, 0), *worn_messages(fast, 50.0, 50)]
    rates, labels = [], []
    for number, sent in enumerate(came):
        adapter.take([sent], EPOCH + number * SECONDS)
        rates.append(adapter.streams["w1"].rate_hz)
        labels += admission.push_all([(adapter.streams["w1"], adapter.batches[-1])])
        assert ("w1" in admission.refused) == (rates[-1] < 50)
    assert rates == pytest.approx([25.0] * 7 + [50.0] * 48)
    assert len(labels) == (480 - 128) // 25 + 1


def test_sensors_that_come_apart_are_joined_at_the_rate_that_is_told_last() -> None:
    adapter = OfflineAdapter(payload="sensor_logger")
    payloads = make_format("sensor_logger")
    begins = EPOCH
    for number in range(15):
        period = 0.01 if number < 5 else 0.04
        times = np.array([begins + sample * period for sample in range(BATCH)])
        begins += BATCH * period
        packet = Packet(times, np.zeros((BATCH, 6), np.float32), number, period, "w1")
        document = orjson.loads(payloads.encode(packet))
        for record in document["payload"]:
            record["time"] += round(period * 3e8) * (record["name"] == "gyroscope")
        adapter.take([Message("phones", orjson.dumps(document))], begins)
    assert adapter.streams["w1"].rate_hz == pytest.approx(25)
    assert sum(map(len, adapter.batches)) >= 12 * BATCH - 2


def test_a_loss_is_told_although_the_first_sensor_is_missing_after_it() -> None:
    adapter = OfflineAdapter(payload="sensor_logger")
    for number in (*range(10), *range(11, 20)):
        sent = message(number, name="sensor_logger")
        if number == 11:
            document = orjson.loads(sent.payload)
            document["payload"] = [
                record for record in document["payload"] if record["name"] != "accelerometer"
            ]
            sent = sent._replace(payload=orjson.dumps(document))
        adapter.take([sent], EPOCH + number * SECONDS)
        adapter.go_on(EPOCH + number * SECONDS + 0.6)
    assert adapter.lost == BATCH


@pytest.mark.parametrize("switched_off", ["gravity", "accelerometer"])
def test_a_sensor_that_never_comes_is_told_and_what_it_costs_is_counted(
    switched_off: str, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = OfflineAdapter(payload="sensor_logger")
    for number in range(60):
        sent = message(number, name="sensor_logger")
        document = orjson.loads(sent.payload)
        document["payload"] = [
            record for record in document["payload"] if record["name"] != switched_off
        ]
        sent = sent._replace(payload=orjson.dumps(document))
        adapter.take([sent], EPOCH + number * SECONDS)
    assert not adapter.batches
    assert caplog.text.count(f"no {switched_off} came; switch it on") == 1
    lost = adapter.statistics().lost
    assert lost == 0 if switched_off == "accelerometer" else lost > 0.3 * 60 * BATCH


def test_a_rate_that_is_measured_amiss_is_no_change() -> None:
    adapter = OfflineAdapter(payload="senml_json")
    payloads = make_format("senml_json")
    for number, periods in enumerate((1, 1.1, 0.9, 2, 2, 1, 3, 0.5, 2, 1)):
        times = EPOCH + number + np.array([0, periods / 100])
        sent = payloads.encode(Packet(times, np.zeros((2, 6), np.float32), None, periods / 100))
        adapter.take([Message("wearables/w1/imu", sent)], times[-1])
        assert adapter.streams["w1"].rate_hz == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize("clock", [2.0, 805.0])
@pytest.mark.parametrize("counts", ["samples", "messages"])
def test_a_restart_is_no_loss_where_a_short_counter_seems_to_go_on(
    counts: str, clock: float
) -> None:
    options = {"counter_bits": 16, "counts": counts}
    adapter = OfflineAdapter(payload="json", payload_options=options)
    payloads = make_format("json", **options)
    step = BATCH if counts == "samples" else 1
    came = [(800 + number * SECONDS, 40_000 + number * step) for number in range(10)]
    came += [(clock + number * SECONDS, number * step) for number in range(10)]
    for number, (begins, counter) in enumerate(came):
        packet = Packet(
            begins + np.arange(BATCH) / 50, np.zeros((BATCH, 6), np.float32), counter, 0.02
        )
        sent = Message("wearables/w1/imu", payloads.encode(packet))
        adapter.take([sent], EPOCH + number * SECONDS)
    assert sum(map(len, adapter.batches)) == len(came) * BATCH
    assert adapter.lost == adapter.statistics().rejected == 0


@pytest.mark.parametrize("clock_leap", [0.0, 2e10])
def test_a_counter_that_leaps_as_far_as_it_can_does_not_stop_the_recogniser(
    clock_leap: float, bundle: Path
) -> None:
    options = {"counter_bits": 63}
    adapter = OfflineAdapter(payload="json", payload_options=options)
    payloads = make_format("json", **options)
    for number in range(60):
        leaps = min(max(0, number - 40), 4)
        times = number * SECONDS + leaps * clock_leap + np.arange(BATCH) / 50
        counter = (number * BATCH + leaps * (2**62 - 20)) % 2**63
        packet = Packet(times, np.zeros((BATCH, 6), np.float32), counter, 0.02)
        adapter.take([Message("wearables/w1/imu", payloads.encode(packet))], EPOCH + number)
        adapter.go_on(EPOCH + number + 0.9)
    recognizer = Recognizer.load(bundle)
    recognizer.open(adapter.streams["w1"])
    recognizer.push_all(adapter.batches)
    assert sum(map(len, adapter.batches)) == 60 * BATCH
    assert adapter.lost == 0


@pytest.mark.parametrize("true_hz", [49.0, 50.0, 50.5, 52.0])
@pytest.mark.parametrize("jitter", [0.0, 0.004])
@pytest.mark.parametrize("counter", ["seq", ""])
@pytest.mark.parametrize("samples", [10, 100])
def test_a_sensor_whose_oscillator_is_off_loses_nothing(
    true_hz: float, jitter: float, counter: str, samples: int
) -> None:
    adapter = OfflineAdapter(payload="json", payload_options={"counter": counter})
    recognizer = Recognizer.load("waist")
    late = np.random.default_rng(0).uniform(0, jitter, 60)
    for number in range(60):
        first = number * samples
        document = {
            "t": EPOCH + first / true_hz + float(late[number]),
            "seq": first,
            "rate": 50,
            "values": np.ones((samples, 6)).tolist(),
        }
        sent = Message("wearables/w1/imu", orjson.dumps(document))
        adapter.take([sent], EPOCH + (first + samples) / true_hz)
    recognizer.open(adapter.streams["w1"])
    recognizer.push_all(adapter.batches)
    statistics = recognizer.statistics()
    times = np.concatenate([batch.times for batch in adapter.batches])
    assert (len(times), adapter.statistics().rejected, adapter.lost) == (60 * samples, 0, 0)
    assert (statistics.lost, statistics.out_of_order) == (0, 0)
    assert (np.diff(times[samples:]) * true_hz).min() > 0.9
    assert (np.diff(times[samples:]) * true_hz).max() < 1.1 + 50 * jitter / samples


def documents(begins: Iterable[float], samples: int) -> list[Message]:
    """Return messages without a counter, sent as of 50 Hz, that tell when each begins."""
    values = np.ones((samples, 6)).tolist()
    return [
        Message(
            "wearables/w1/imu",
            orjson.dumps({"t": EPOCH + float(begin), "rate": 50, "values": values}),
        )
        for begin in begins
    ]


@pytest.mark.parametrize(
    "begins",
    [
        pytest.param(np.arange(20) / 2.0, id="twice the rate"),
        pytest.param(np.arange(20) * 50 / 56, id="an eighth faster"),
        pytest.param(np.ravel([np.arange(10), np.arange(10) + 0.3], order="F"), id="two devices"),
    ],
)
def test_messages_that_overlap_again_and_again_are_told(
    begins: NDArray[np.float64], caplog: pytest.LogCaptureFixture
) -> None:
    adapter = OfflineAdapter(payload="json", payload_options={"counter": ""})
    for sent, begin in zip(documents(begins, 50), begins.tolist(), strict=True):
        adapter.take([sent], EPOCH + begin + 1.0)
    assert adapter.statistics().rejected >= 9
    assert caplog.text.count("sends faster than 50 Hz, or another device sends under its") == 1


def test_messages_sent_again_late_or_after_a_clock_was_set_back_are_no_overlap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapter = OfflineAdapter(payload="json", payload_options={"counter": ""})
    begins = np.arange(60.0)
    begins[10::10] = begins[9:-1:10]  # sent again
    begins[25:] -= 0.4
    begins[45:] -= 0.4
    for arrival, sent in enumerate(documents(begins, 50)):
        adapter.take([sent], EPOCH + arrival + 1.0)
    assert adapter.statistics().rejected >= 7
    assert caplog.text == ""


@pytest.mark.parametrize("hurry", [1, 100])
def test_a_long_silence_is_a_loss_although_the_rate_told_is_not_the_true_one(hurry: int) -> None:
    adapter = OfflineAdapter()
    for number in (0, 1, 18_001, 18_002):
        samples = number * BATCH + np.arange(BATCH)
        packet = Packet(samples / 55, np.zeros((BATCH, 6), np.float32), int(samples[0]), 0.02)
        sent = Message("wearables/w1/imu", make_format("raw").encode(packet))
        adapter.take([sent], EPOCH + samples[-1] / 55 / hurry)
    adapter.go_on(EPOCH + 4000)
    assert sum(map(len, adapter.batches)) == 4 * BATCH
    assert adapter.lost == 17_999 * BATCH


def test_a_clock_that_is_set_back_hides_no_loss() -> None:
    adapter = OfflineAdapter()
    for number, clock in ((0, 800), (1, 800), (3, 200), (4, 200)):
        sent = raw_message(number * BATCH, clock + number * SECONDS)
        adapter.take([sent], EPOCH + number * SECONDS)
    adapter.go_on(EPOCH + 10)
    assert sum(map(len, adapter.batches)) == 4 * BATCH
    assert adapter.lost == BATCH


@pytest.mark.parametrize("step", [-500.0, 0.0, 1e9])
def test_lost_messages_are_lost_samples_whatever_the_clock_is_set_to(step: float) -> None:
    options = {"counts": "messages"}
    adapter = OfflineAdapter(payload="json", payload_options=options)
    payloads = make_format("json", **options)
    for number in (0, 1, 2, 5, 6):
        begins = 1000 + number * SECONDS + (step if number >= 5 else 0)
        times = begins + np.arange(BATCH) / 50
        packet = Packet(times, np.zeros((BATCH, 6), np.float32), number, 0.02)
        sent = Message("wearables/w1/imu", payloads.encode(packet))
        adapter.take([sent], EPOCH + number * SECONDS)
    adapter.go_on(EPOCH + 100)
    assert sum(map(len, adapter.batches)) == 5 * BATCH
    assert adapter.lost == 2 * BATCH


@pytest.mark.parametrize("name", ["raw", "json", "senml_json"])
def test_messages_sent_again_after_a_lost_connection_begin_nothing_anew(name: str) -> None:
    adapter = OfflineAdapter(payload=name)
    now = EPOCH
    for number in (*range(100), *range(30, 40), *range(100, 150)):
        now = max(now, EPOCH + number * SECONDS)
        adapter.take([message(number, name=name)], now)
    assert adapter.numbers == numbers_of(*range(150))
    assert adapter.lost == 0
    assert adapter.statistics().rejected == 10


@pytest.mark.parametrize("seconds", [4, 6, 20])
def test_long_messages_sent_again_begin_nothing_anew(seconds: int) -> None:
    adapter = OfflineAdapter()
    count = 50 * seconds
    now = EPOCH
    for number in (0, 1, 2, 1, 2, 3):
        samples = number * count + np.arange(count)
        packet = Packet(samples / 50, np.zeros((count, 6), np.float32), int(samples[0]), 0.02)
        now = max(now, EPOCH + number * seconds)
        adapter.take([Message("wearables/w1/imu", make_format("raw").encode(packet))], now)
        adapter.go_on(now + 1)
    assert sum(map(len, adapter.batches)) == 4 * count
    assert adapter.lost == 0
    assert adapter.statistics().rejected == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"topic": "wearables/imu"}, r"one level '\+'"),
        ({"topic": "wearables/+/#"}, "no '#'"),
        *(
            ({"topic": topic, "payload": payload}, "is no topic filter")
            for payload in ("raw", "sensor_logger")
            for topic in ("phones#", "a/+/b+c", "a/#/b", "", "$share/+", "$share/a/", "$share/+/+")
        ),
        ({"payload": "morse"}, "installed are cbor, json"),
        ({"payload": "json", "payload_options": {"tiem": "t"}}, "unknown key 'tiem'.*time_unit"),
        ({"payload": "json", "payload_options": {"time_unit": "h"}}, "payload_options.time_unit"),
        ({"payload": "json", "payload_options": {"samples": "s"}}, "needs channels"),
        ({"payload": "json", "payload_options": {"channels": ("a", "b")}}, "json has 2 channels"),
        ({"payload": "senml_cbor", "channels": ("x",), "units": ("g",)}, "names 1: x"),
        ({"units": ("g", "Gauss")}, "'gauss' or 'mgauss'"),
        ({"payload": "sensor_logger", "channels": ["a"], "units": ["g"]}, "6 channels"),
        ({"units": ["furlong"] * 6}, "furlong"),
        ({"ca_file": "ca.pem"}, "mqtts://127.0.0.1"),
        ({"url": "mqtts://h", "key_file": "k.pem"}, "needs cert_file"),
        ({"password_file": "p", "password_env": "P"}, "not both"),
    ],
)
def test_wrong_options_are_told(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        MqttOptions.model_validate(options)


@pytest.mark.parametrize("topic", ["#", "phones/#", "+/#", "/a", "$share/home/#", "$shared/a"])
def test_a_topic_filter_may_have_any_levels_where_payloads_name_devices(topic: str) -> None:
    assert MqttOptions(topic=topic, payload="sensor_logger").topic == topic


async def test_a_password_that_is_away_while_it_reconnects_is_waited_for(
    mosquitto: Mosquitto, with_password: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening_to(with_password) as adapter:
        await adapter.subscribed()
        await reconnected_without_password(with_password, mosquitto, caplog)
        await adapter.subscribed()
        await publish(with_password, [message(0)])
        assert sample_numbers(await receive(adapter, 1)) == numbers_of(0)


def test_the_password_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "secret")
    assert BrokerAddress(username="u", password_env="BROKER_PASSWORD").password() == "secret"


async def test_files_and_variables_that_are_not_there_are_told_at_once(tmp_path: Path) -> None:
    for options in (
        {"username": "u", "password_env": "NO_SUCH_PASSWORD"},
        {"url": "mqtts://127.0.0.1", "ca_file": tmp_path / "none.pem"},
        {"url": "mqtts://127.0.0.1", "cert_file": tmp_path / "none.pem"},
    ):
        with pytest.raises(ValueError, match=r"NO_SUCH_PASSWORD|none\.pem"):
            async with listening_to(BrokerAddress.model_validate(options)):
                pass
