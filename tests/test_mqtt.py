"""The publisher and the subscription against Debian's mosquitto and the embedded broker."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import aiomqtt
import pytest
from typing_extensions import override

from conftest import EPOCH, Mosquitto, free_port, needs, reconnected_without_password
from device_adapters.errors import BrokerAddressError, MqttConnectionError
from device_adapters.mqtt.client import IN_FLIGHT, Message, MqttConnection, connection
from device_adapters.mqtt.connection import BrokerAddress, split_url
from device_adapters.replay import ReplayAdapter, ReplayOptions
from device_adapters.synthetic import SyntheticAdapter, SyntheticOptions
from streamer import Label, subscribe
from streamer.broker import EmbeddedBroker
from streamer.errors import BrokerError
from streamer.gateway import Gateway
from streamer.messages import Alternative, Segment, SegmentEvent, StreamStatus, TimeSpan
from streamer.publishers.mqtt import QUEUED_MESSAGES, MqttPublisher
from streamer.recognizer import Recognizer
from streamer.segments import SegmentTracker


def label(seq: int, wearer: str = "anna") -> Label:
    window = TimeSpan(EPOCH + seq, EPOCH + seq + 2.54)
    others = (Alternative("lie", 0.1),)
    return Label(wearer, (wearer,), "walk", ("walk",), 0.9, others, window, 1.0, 0, "test", seq)


def segment(seq: int, event: SegmentEvent, wearer: str = "anna") -> Segment:
    start = EPOCH + seq
    return Segment(event, wearer, f"{wearer}-{seq}", "walk", ("walk",), 0.9, start, start, 0.0)


class Listener:
    """A subscriber of everything, which keeps the messages."""

    def __init__(self, port: int) -> None:
        self._client = aiomqtt.Client("127.0.0.1", port)
        self.messages: list[tuple[str, bytes, bool]] = []

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self._client.subscribe("har/#", 1)
        self._task = asyncio.create_task(self._listen(), name="listener")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    async def _listen(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            self.messages.append((message.topic.value, message.payload, bool(message.retain)))

    def on(self, topic: str) -> list[bytes]:
        return [payload for came_on, payload, _ in self.messages if came_on == topic]

    async def until(self, topic: str, count: int) -> list[bytes]:
        async with asyncio.timeout(10):
            while len(self.on(topic)) < count:
                await asyncio.sleep(0.01)
        return self.on(topic)


@pytest.fixture(params=["aiomqtt", "gmqtt"])
def address(mosquitto: Mosquitto, request: pytest.FixtureRequest) -> BrokerAddress:
    return BrokerAddress(url=mosquitto.url, client=request.param)


def seqs(payloads: list[bytes]) -> list[int]:
    return [json.loads(payload)["seq"] for payload in payloads]


async def test_topics_are_as_documented(mosquitto: Mosquitto, address: BrokerAddress) -> None:
    publisher = MqttPublisher(address, "home")
    async with Listener(mosquitto.port) as listener:
        async with publisher:
            await publisher.connected()
            await publisher.publish(label(0))
            await publisher.publish_segment(segment(0, SegmentEvent.START))
            await publisher.publish(label(1))
            await publisher.tell(StreamStatus("wrist", recognised=True, findings=("gyro is off",)))
            await listener.until("har/home/anna/activity", 2)
            await listener.until("har/home/wrist/stream", 1)
        await listener.until("har/home/status", 2)
    assert listener.on("har/home/anna/activity") == [label(0).to_json(), label(1).to_json()]
    assert listener.on("har/home/anna/segment") == [segment(0, SegmentEvent.START).to_json()]
    assert listener.on("har/home/anna/state") == listener.on("har/home/anna/segment")
    assert listener.on("har/home/status") == [b"online", b"offline"]
    assert listener.on("har/home/wrist/stream") == [
        b'{"device":"wrist","recognised":true,"findings":["gyro is off"]}'
    ]
    async with Listener(mosquitto.port) as late:
        await late.until("har/home/anna/state", 1)
        await late.until("har/home/status", 1)
    retained = {topic for topic, _, is_retained in late.messages if is_retained}
    assert retained == {"har/home/anna/state", "har/home/wrist/stream", "har/home/status"}


async def test_messages_keep_their_order_and_none_is_lost(
    mosquitto: Mosquitto, address: BrokerAddress
) -> None:
    count = 3 * QUEUED_MESSAGES
    async with Listener(mosquitto.port) as listener:
        async with MqttPublisher(address, "home") as publisher:
            await publisher.connected()
            for seq in range(count):
                await publisher.publish(label(seq))
        payloads = await listener.until("har/home/anna/activity", count)
    assert seqs(payloads) == list(range(count))
    assert publisher.statistics().published == count
    assert publisher.statistics().dropped == 0


async def test_a_restarted_broker_gets_the_states_back(
    mosquitto: Mosquitto, address: BrokerAddress
) -> None:
    publisher = MqttPublisher(address, "home")
    async with publisher:
        await publisher.connected()
        for wearer in ("anna", "ben"):
            await publisher.publish(label(0, wearer))
            await publisher.publish_segment(segment(0, SegmentEvent.START, wearer))
        async with asyncio.timeout(5):
            while publisher.statistics().queued:
                await asyncio.sleep(0.01)
        mosquitto.kill()
        await publisher.publish(label(1))
        await publisher.publish_segment(segment(1, SegmentEvent.START))
        mosquitto.start()
        async with Listener(mosquitto.port) as listener:
            (first, *_) = await listener.until("har/home/ben/state", 1)
            assert json.loads(first)["id"] == "ben-0"
            await listener.until("har/home/anna/activity", 1)
            assert listener.on("har/home/status")[0] == b"online"
            assert json.loads(listener.on("har/home/anna/state")[-1])["id"] == "anna-1"
            assert seqs(listener.on("har/home/anna/activity"))[-1] == 1


async def test_a_gateway_that_is_killed_is_reported_offline(mosquitto: Mosquitto) -> None:
    config = mosquitto.folder / "gateway.toml"
    config.write_text(
        f'name = "doomed"\n[mqtt]\nurl = "{mosquitto.url}"\n[[adapters]]\ntype = "synthetic"\n'
    )
    async with Listener(mosquitto.port) as listener:
        gateway = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streamer", "run", "-c", str(config)
        )
        assert await listener.until("har/doomed/status", 1) == [b"online"]
        gateway.kill()
        await gateway.wait()
        assert await listener.until("har/doomed/status", 2) == [b"online", b"offline"]


async def test_a_publisher_can_be_left_while_its_broker_stalls(
    mosquitto: Mosquitto,
    address: BrokerAddress,
    monkeypatch: pytest.MonkeyPatch,
    no_leaked_tasks: None,
) -> None:
    monkeypatch.setattr("streamer.publishers.mqtt.FAREWELL_SECONDS", 0.5)
    async with asyncio.timeout(5) as limit:
        async with MqttPublisher(address, "home") as publisher:
            await publisher.connected()
            mosquitto.stall()
            await publisher.publish(label(0))
    assert not limit.expired()
    assert publisher.statistics().queued == 1


async def test_a_publisher_can_be_left_just_as_its_connection_is_lost(
    mosquitto: Mosquitto, address: BrokerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(*_: object) -> None:
        raise MqttConnectionError(address.url, "lost")

    async with asyncio.timeout(5) as limit:
        async with MqttPublisher(address, "home") as publisher:
            await publisher.connected()
            monkeypatch.setattr(MqttPublisher, "_announce", lose)
    assert not limit.expired()


async def test_a_password_that_is_away_while_a_publisher_reconnects_is_waited_for(
    mosquitto: Mosquitto, with_password: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    async with MqttPublisher(with_password, "home") as publisher:
        await publisher.connected()
        await reconnected_without_password(with_password, mosquitto, caplog)
        async with Listener(mosquitto.port) as listener:
            await publisher.publish(label(0))
            await listener.until("har/home/anna/activity", 1)


async def test_a_password_that_is_away_while_a_subscriber_reconnects_is_waited_for(
    mosquitto: Mosquitto, with_password: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    ready = asyncio.Event()
    labels = subscribe(with_password, ready=ready)
    first = asyncio.ensure_future(anext(labels))
    async with asyncio.timeout(20):
        await ready.wait()
        ready.clear()
        await reconnected_without_password(with_password, mosquitto, caplog)
        await ready.wait()
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            await client.publish("har/home/anna/activity", label(1).to_json(), 1)
        assert await first == label(1)
    await labels.aclose()


class Unanswering(MqttConnection):
    """Acknowledges some messages, and nothing else."""

    def __init__(self, *acknowledged: bytes) -> None:
        super().__init__()
        self.published: list[Message] = []
        self._acknowledged = acknowledged

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        pass

    @override
    async def subscribe(self, topic_filter: str) -> None:
        pass

    @override
    def publish(self, message: Message) -> asyncio.Future[None]:
        self.published.append(message)
        acknowledged = asyncio.get_running_loop().create_future()
        if message.payload in self._acknowledged:
            acknowledged.set_result(None)
        return acknowledged


async def test_states_are_published_again_without_a_round_trip_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Unanswering(b"online", b"offline")
    publisher = MqttPublisher(BrokerAddress(), "home")
    monkeypatch.setattr("streamer.publishers.mqtt.connection", lambda *_: broker)
    for number in range(IN_FLIGHT):
        topic = f"har/home/w{number}/state"
        publisher._retained[topic] = Message(topic, b"{}", retain=True)
    async with publisher:
        async with asyncio.timeout(5):
            await publisher.connected()
        await publisher.publish(label(0))
        await asyncio.sleep(0)
        assert [message.payload for message in broker.published] == [
            b"online",
            *[b"{}"] * IN_FLIGHT,
        ]
        publisher._queue.settle(await publisher._queue.lend())
    assert publisher.statistics().published == 0


async def test_who_leaves_before_online_is_acknowledged_is_offline_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Unanswering(b"offline")
    monkeypatch.setattr("streamer.publishers.mqtt.connection", lambda *_: broker)
    monkeypatch.setattr("streamer.publishers.mqtt.FAREWELL_SECONDS", 0.2)
    async with MqttPublisher(BrokerAddress(), "home"):
        await asyncio.sleep(0)
    assert [message.payload for message in broker.published] == [b"online", b"offline"]


async def test_without_a_broker_the_newest_labels_are_kept_and_the_others_counted() -> None:
    publisher = MqttPublisher(BrokerAddress(url=f"mqtt://127.0.0.1:{free_port()}"), "home")
    await publisher.__aenter__()
    for seq in range(QUEUED_MESSAGES + 50):
        await publisher.publish(label(seq))
    statistics = publisher.statistics()
    assert (statistics.queued, statistics.dropped) == (QUEUED_MESSAGES, 50)
    publisher._connection.cancel()
    await asyncio.gather(publisher._connection, return_exceptions=True)


async def replay_to(port: int, session: Path, bundle: Path, **options: Any) -> list[bytes]:
    adapter = ReplayAdapter(ReplayOptions.model_validate({"file": session, **options}))
    recognizer = Recognizer.load(bundle)
    publisher = MqttPublisher(BrokerAddress(url=f"mqtt://127.0.0.1:{port}"), "home")
    async with Listener(port) as listener:
        await Gateway([adapter], recognizer, [publisher]).run()
        topic = f"har/home/{next(iter(adapter.streams))}/activity"
        return await listener.until(topic, recognizer.statistics().labels)


async def test_a_replay_reaches_subscribers_whole_at_every_speed_and_cut(
    mosquitto: Mosquitto, real_session: Path, bundle: Path
) -> None:
    whole = await replay_to(mosquitto.port, real_session, bundle, speed="max")
    assert seqs(whole) == list(range(len(whole)))
    assert whole == await replay_to(mosquitto.port, real_session, bundle, speed=100, batch=7)


async def test_killing_the_broker_in_the_middle_loses_nothing_that_counts(
    mosquitto: Mosquitto, address: BrokerAddress, real_session: Path, bundle: Path
) -> None:
    adapter = ReplayAdapter(ReplayOptions(file=real_session, speed=60.0))
    recognizer = Recognizer.load(bundle)
    publisher = MqttPublisher(address, "home")
    running = asyncio.create_task(Gateway([adapter], recognizer, [publisher]).run())
    await publisher.connected()
    await asyncio.sleep(1)
    mosquitto.kill()
    await asyncio.sleep(0.5)
    mosquitto.start()
    wearer = next(iter(adapter.streams))
    async with Listener(mosquitto.port) as listener:
        await listener.until(f"har/home/{wearer}/state", 1)
        await running
        labels = recognizer.statistics().labels
        async with asyncio.timeout(5):
            while seqs(listener.on(f"har/home/{wearer}/activity"))[-1] < labels - 1:
                await asyncio.sleep(0.01)
        await listener.until("har/home/status", 2)
    numbers = seqs(listener.on(f"har/home/{wearer}/activity"))
    assert numbers == list(range(numbers[0], labels)), "labels after the restart are complete"
    assert publisher.statistics().dropped == 0


async def test_labels_are_on_their_way_before_their_segments_are_worked_out(
    mosquitto: Mosquitto, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, labels, behind = 0, 0, []
    publish, push = aiomqtt.Client.publish, SegmentTracker.push

    async def counted_publish(client: aiomqtt.Client, topic: str, *args: Any, **kept: Any) -> None:
        nonlocal sent
        sent += topic.endswith("/activity")
        await publish(client, topic, *args, **kept)

    def noted_push(tracker: SegmentTracker, told: Sequence[Label]) -> list[Segment]:
        nonlocal labels
        labels += len(told)
        behind.append(labels - sent)
        return push(tracker, told)

    monkeypatch.setattr(aiomqtt.Client, "publish", counted_publish)
    monkeypatch.setattr(SegmentTracker, "push", noted_push)
    wearable = SyntheticAdapter(SyntheticOptions(devices=1, seconds=4, batch=25))
    publisher = MqttPublisher(BrokerAddress(url=mosquitto.url), "home")
    await Gateway([wearable], Recognizer.load(bundle), [publisher]).run()
    assert labels >= 2
    assert set(behind) == {0}


async def test_mosquitto_sub_shows_valid_json(
    mosquitto: Mosquitto, real_session: Path, bundle: Path
) -> None:
    shown = mosquitto.folder / "shown"
    with shown.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            needs("mosquitto_sub"),
            *("-p", str(mosquitto.port), "-t", "har/#", "-v"),
            stdout=output,
        )
        await replay_to(mosquitto.port, real_session, bundle, speed="max")
        await asyncio.sleep(0.3)
        process.terminate()
        await process.wait()
    lines = shown.read_text().splitlines()
    assert len(lines) > 700
    for line in lines:
        topic, _, payload = line.partition(" ")
        if topic.endswith("/status"):
            assert payload in {"online", "offline"}
        else:
            whose = "device" if topic.endswith("/stream") else "wearer"
            assert json.loads(payload)[whose] == topic.split("/")[2]


async def test_the_embedded_broker_serves_publisher_and_subscriber() -> None:
    port = free_port()
    ready = asyncio.Event()
    async with EmbeddedBroker("127.0.0.1", port):
        labels = subscribe(f"mqtt://127.0.0.1:{port}/har/home/+/activity", ready=ready)
        first = asyncio.ensure_future(anext(labels))
        await ready.wait()
        async with MqttPublisher(
            BrokerAddress(url=f"mqtt://127.0.0.1:{port}"), "home"
        ) as publisher:
            await publisher.publish(label(7))
            assert await first == label(7)
        await labels.aclose()


async def test_the_embedded_broker_disconnects_a_client_that_stalls(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, no_leaked_tasks: None
) -> None:
    monkeypatch.setattr("streamer.broker.CHECK_SECONDS", 0.05)
    monkeypatch.setattr("streamer.broker.STALLED_SECONDS", 0.25)
    port = free_port()
    async with EmbeddedBroker("127.0.0.1", port) as broker:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04slow")
        writer.write(b"\x82\x0a\x00\x01\x00\x05har/#\x00")
        async with connection(BrokerAddress(url=f"mqtt://127.0.0.1:{port}")) as client:
            async with asyncio.timeout(10):
                while "har/#" not in broker._broker.subscriptions:
                    await asyncio.sleep(0.01)
                for _ in range(16):
                    await client.publish(Message("har/home/anna/activity", bytes(1_000_000)))
                while "slow" in broker._broker.sessions:
                    await asyncio.sleep(0.01)
            assert caplog.text.count("stalls; disconnected") == 1
        writer.transport.abort()


async def test_an_address_in_use_is_told_in_a_line(mosquitto: Mosquitto) -> None:
    with pytest.raises(BrokerError, match="another program listens there"):
        async with EmbeddedBroker("127.0.0.1", mosquitto.port):
            pass


async def test_a_subscription_survives_garbage_and_a_restart(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    ready = asyncio.Event()
    labels = subscribe(mosquitto.url, ready=ready)
    first = asyncio.ensure_future(anext(labels))
    await ready.wait()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for payload in (b"", b"\xff", b"{}", b'{"wearer": 3}', label(1).to_json()):
            await client.publish("har/home/anna/activity", payload, 1)
        assert await first == label(1)
    assert caplog.text.count("is no label") == 4
    mosquitto.kill()
    mosquitto.start()
    ready.clear()
    second = asyncio.ensure_future(anext(labels))
    async with asyncio.timeout(10):
        await ready.wait()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish("har/home/anna/activity", label(2).to_json(), 1)
        assert await second == label(2)
    await labels.aclose()


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("mqtt://host", ("mqtt", "host", 1883, "")),
        ("mqtts://host:99/har/+/+/activity", ("mqtts", "host", 99, "har/+/+/activity")),
        ("mqtt://[::1]:1884/har/#", ("mqtt", "::1", 1884, "har/#")),
        ("mqtt://host/har/who?/#", ("mqtt", "host", 1883, "har/who?/#")),
        ("mqtt://mqtt/#", ("mqtt", "mqtt", 1883, "#")),
        ("mqtt://host/har/living%20room/#", ("mqtt", "host", 1883, "har/living room/#")),
    ],
)
def test_urls_are_split(url: str, parts: tuple[str, str, int, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize(
    "url", ["", "host", "http://host", "mqtt://", "mqtt://host:0x1", "mqtt://[::1", "mqtt://[host]"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(BrokerAddressError):
        split_url(url)


@pytest.mark.parametrize("topic", ["har/#/x", "har/+x/activity"])
async def test_what_can_not_be_subscribed_to_is_told(topic: str) -> None:
    with pytest.raises(BrokerAddressError, match="is no topic filter: "):
        await anext(subscribe(f"mqtt://127.0.0.1/{topic}"))


def test_a_missing_password_file_is_told(tmp_path: Path) -> None:
    address = BrokerAddress(username="u", password_file=tmp_path / "none")
    with pytest.raises(BrokerAddressError, match="none"):
        address.password()


async def test_a_publisher_with_unreadable_credentials_is_refused(tmp_path: Path) -> None:
    address = BrokerAddress(username="u", password_file=tmp_path / "none")
    with pytest.raises(BrokerAddressError, match="none"):
        async with MqttPublisher(address, "home"):
            pass


async def test_a_publisher_that_died_does_not_take_messages_in_silence() -> None:
    publisher = MqttPublisher(BrokerAddress(url=f"mqtt://127.0.0.1:{free_port()}"), "home")
    await publisher.__aenter__()
    publisher._connection.cancel()
    await asyncio.gather(publisher._connection, return_exceptions=True)
    with pytest.raises(asyncio.CancelledError):
        await publisher.publish(label(0))


async def test_what_ended_a_publisher_is_told_when_it_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> MqttConnection:
        raise RuntimeError("broken")

    monkeypatch.setattr("streamer.publishers.mqtt.FAREWELL_SECONDS", 0.1)
    publisher = MqttPublisher(BrokerAddress(), "home")
    await publisher.__aenter__()
    monkeypatch.setattr("streamer.publishers.mqtt.connection", broken)
    with pytest.raises(RuntimeError, match="broken"):
        await publisher.__aexit__()
