import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from bleak.backends.bluezdbus import manager
from hypothesis import HealthCheck, settings

from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.samples import (
    ACCELERATION,
    ANGULAR_VELOCITY,
    STANDARD_GRAVITY,
    SampleBatch,
    StreamInfo,
)
from device_adapters.session_file import Annotation, SessionWriter
from fake_bluez import FakeBlueZ, PrivateBus
from streamer.demo import demo_session
from streamer.share.packaged import DEFAULT_BUNDLE, find_bundle

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("default")

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS = (ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3
EPOCH = 1_700_000_000.0


def needs(program: str) -> str:
    """Return the program's path; without it skip, or fail where everything must be there."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        reason = f"{program} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_listener(port: int, seconds: float = 30.0) -> None:
    """Return as soon as somebody listens."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"nobody listens on port {port}")


def stream_info(device: str = "wrist", rate_hz: float = 50.0) -> StreamInfo:
    return StreamInfo(device, CHANNELS, UNITS, rate_hz, "test", "counter")


def counted_samples(count: int, device: str = "wrist", rate_hz: float = 50.0) -> SampleBatch:
    """Return samples whose every channel is the sample's number, plus a tenth for each channel."""
    times = EPOCH + np.arange(count) / rate_hz
    values = np.arange(count)[:, None] + np.arange(6) / 10
    return SampleBatch(device, times, values.astype(np.float32))


def worn_samples(
    count: int, device: str = "wrist", rate_hz: float = 50.0, seed: int = 0
) -> SampleBatch:
    """Return samples of a wearer who walks: gravity on one axis, steps, turns and noise."""
    seconds = np.arange(count) / rate_hz
    steps = np.sin(2 * np.pi * 1.8 * seconds)[:, None]
    motion = steps * [3.0, 1.0, 2.0, 0.8, 1.2, 0.6] + [STANDARD_GRAVITY, 0, 0, 0, 0, 0]
    noise = np.random.default_rng(seed).normal(0, 0.05, (count, 6))
    return SampleBatch(device, EPOCH + seconds, (motion + noise).astype(np.float32))


def cut(batch: SampleBatch, sizes: list[int]) -> list[SampleBatch]:
    """Cut a batch into pieces of these sizes, again and again until it is used up."""
    pieces, start, turn = [], 0, 0
    while start < len(batch):
        stop = start + sizes[turn % len(sizes)]
        pieces.append(SampleBatch(batch.device, batch.times[start:stop], batch.values[start:stop]))
        start, turn = stop, turn + 1
    return pieces


class Mosquitto:
    """Debian's broker on a free port of the loopback interface.

    Args:
        folder: for its files.
        settings: further lines of its configuration.
        anonymous: whether who gives no username may connect.
        scheme: of its URL.
    """

    def __init__(
        self, folder: Path, settings: str = "", *, anonymous: bool = True, scheme: str = "mqtt"
    ) -> None:
        self._program = needs("mosquitto")
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.folder = folder
        self._config = folder / "mosquitto.conf"
        # Subscribers here share the publisher's event loop: by default the broker would drop what
        # they are more than 1,000 messages behind.
        self._config.write_text(
            f"user root\nmax_queued_messages 0\nlistener {self.port} 127.0.0.1\n"
            f"allow_anonymous {str(anonymous).lower()}\n{settings}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-c", self._config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_listener(self.port)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stall(self) -> None:
        """Let it keep its connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        if self._process is not None:
            self.kill()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.close()


@pytest.fixture
def with_password(mosquitto: Mosquitto, tmp_path: Path) -> BrokerAddress:
    """Return the broker's address with a password in a file."""
    password = tmp_path / "password"
    password.write_text("secret")
    return BrokerAddress(url=mosquitto.url, username="u", password_file=password)


async def reconnected_without_password(
    address: BrokerAddress, mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """Restart the broker while the password's file is away; bring it back once that was told."""
    password = address.password_file
    assert password is not None
    caplog.set_level(logging.DEBUG, "device_adapters.backoff")
    content = password.read_text()
    password.unlink()
    mosquitto.kill()
    mosquitto.start()
    async with asyncio.timeout(10):
        while "password file" not in caplog.text:
            await asyncio.sleep(0.01)
    password.write_text(content)


@pytest.fixture(scope="session")
def bundle() -> Path:
    return find_bundle(DEFAULT_BUNDLE)


@pytest.fixture(scope="session")
def real_session() -> Path:
    return demo_session()


@pytest.fixture
def counted_session(tmp_path: Path) -> Path:
    """Return a session of a minute, with one annotation, in batches of ten."""
    path = tmp_path / "counted.mcap"
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info())
        writer.add_annotation(Annotation("wrist", "walk", EPOCH + 10, EPOCH + 20))
        for batch in cut(counted_samples(3000), [10]):
            writer.add_batch(batch)
    return path


@pytest.fixture(scope="session")
def private_bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBus]:
    bus = PrivateBus(needs("dbus-daemon"), tmp_path_factory.mktemp("bus"))
    yield bus
    bus.stop()


@pytest.fixture
async def system_bus(
    private_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """Let bleak take the private bus for the system's; yields the bus's address."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", private_bus.address)
    yield private_bus.address
    await forget_bluez()


@pytest.fixture
async def bluez(system_bus: str) -> AsyncIterator[FakeBlueZ]:
    async with FakeBlueZ(system_bus, ("hci0", "hci1")) as bluez:
        yield bluez


async def forget_bluez() -> None:
    """Close the D-Bus connection that bleak keeps for each event loop, and so for each test."""
    known = manager._global_instances.pop(asyncio.get_running_loop(), None)
    if known is not None and known._bus is not None and known._bus_watcher_task is not None:
        known._bus.disconnect()
        await known._bus_watcher_task


@pytest.fixture
def worn_session(tmp_path: Path) -> Path:
    """Return a session of a minute's walk, in batches of ten."""
    path = tmp_path / "worn.mcap"
    with SessionWriter(path) as writer:
        writer.add_stream(stream_info())
        for batch in cut(worn_samples(3000), [10]):
            writer.add_batch(batch)
    return path


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    leaked = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()}
    assert not leaked, f"tasks still run: {leaked}"
