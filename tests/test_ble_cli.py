"""`scan`, `listen` and `run` in processes of their own, against the fake BlueZ."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from conftest import forget_bluez, free_port, needs
from device_adapters.ble.bluez import bluetooth_adapter
from device_adapters.ble.scanner import scan
from device_adapters.errors import BluetoothUnavailableError
from fake_bluez import NOBODY, FakeBlueZ, Peripheral, PrivateBus
from fake_wearables import FakeMovesense, FakePolar, FakeSketch, FakeWearable
from streamer.listen import orientation, wearable_named


@dataclass(frozen=True)
class Done:
    code: int | None
    out: str
    err: str


async def streamer(
    *arguments: str | Path,
    env: dict[str, str] | None = None,
    stop_when: Callable[[], bool] | None = None,
) -> Done:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "streamer",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "100"} | (env or {}),
    )
    try:
        async with asyncio.timeout(90):
            while stop_when is not None and not stop_when():
                await asyncio.sleep(0.05)
            if stop_when is not None:
                process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    assert "Traceback" not in err.decode(), err.decode()
    return Done(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def taking(*fakes: FakeWearable) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(fake.run(), name="taking") for fake in fakes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_scan_shows_who_is_in_range_and_what_each_speaks(bluez: FakeBlueZ) -> None:
    FakePolar(bluez).peripheral.rssi = -40
    FakeMovesense(bluez)
    bluez.add(Peripheral("11:22:33:44:55:66", "Kettle [/bold]", {}))
    done = await streamer("scan", "--seconds", "0.5")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1].split() == [
        *("Polar", "Sense", "A1B2C301", "A0:9E:1A:00:00:01", "polar", "-40", "dBm", "hci0")
    ]
    assert lines[2].split()[3:6] == ["movesense", "-60", "dBm"]
    assert "Kettle" not in done.out
    assert "2 wearables heard in 0.5 s; 1 more of no known format (--all shows them)" in done.out
    assert "streamer listen 'Polar Sense A1B2C301'" in done.out
    assert "Kettle [/bold]" in (await streamer("scan", "--seconds", "0.5", "--all")).out


async def test_scan_prints_json_for_programs(bluez: FakeBlueZ) -> None:
    FakePolar(bluez, adapter="hci1")
    done = await streamer("scan", "--seconds", "0.5", "--json", "--adapter", "hci1")
    (wearable,) = [json.loads(line) for line in done.out.splitlines()]
    assert wearable == {
        "address": "A0:9E:1A:00:00:01",
        "name": "Polar Sense A1B2C301",
        "formats": ["polar"],
        "rssi": -60,
        "adapter": "hci1",
        "services": ["fb005c80-02e7-f387-1cad-8acd2d8df0c8"],
    }


async def test_listen_prints_lines_through_a_lost_link(bluez: FakeBlueZ) -> None:
    fake = FakePolar(bluez)
    sent_at_drop = 0

    async def walk_away() -> None:
        nonlocal sent_at_drop
        while fake.sent < 104:
            await asyncio.sleep(0.05)
        sent_at_drop = fake.sent
        bluez.drop_link(fake.peripheral)

    def seen_enough() -> bool:
        return fake.peripheral.connections == 2 and fake.sent > sent_at_drop + 104

    async with taking(fake):
        walking = asyncio.create_task(walk_away(), name="walk away")
        done = await streamer("listen", "Polar Sense A1B2C301", stop_when=seen_enough)
        await walking
    assert (done.code, done.err) == (0, "")
    *lines, summary = done.out.splitlines()
    streaming = [line for line in lines if line.startswith("link streaming  rate ")]
    assert len(streaming) >= 2
    for fact in ("Hz (nominal 52)", "lost ", "jitter ", "acc_x +", "gyro_z +"):
        assert fact in streaming[-1]
    counted = re.match(r"(\d+) samples in .* s, (\d+) lost, 0 malformed .*, 1 reconnects", summary)
    assert counted is not None
    assert int(counted[1]) > 200
    assert int(counted[2]) > 5
    assert not fake.streaming


async def test_listen_reads_what_a_file_describes_and_tells_how_gravity_lies(
    bluez: FakeBlueZ, tmp_path: Path
) -> None:
    fake = FakeSketch(bluez)
    fake.moves = False
    described = FakeSketch.describe(tmp_path)
    async with taking(fake):
        done = await streamer(
            "listen",
            fake.peripheral.address.lower(),
            "--description",
            described,
            "--seconds",
            "1.2",
        )
    assert "nominal 100" in done.out
    assert "gravity 9.81 m/s2, up is +z (0 deg off)" in done.out


async def test_listen_stops_at_ctrl_c_and_tells_the_wearable(bluez: FakeBlueZ) -> None:
    fake = FakePolar(bluez)
    async with taking(fake):
        done = await streamer(
            "listen", "A0:9E:1A:00:00:01", stop_when=lambda: fake.streaming and fake.sent > 52
        )
    assert (done.code, done.err) == (0, "")
    assert "samples in" in done.out.splitlines()[-1]
    assert not fake.streaming
    assert not fake.peripheral.connected


async def told(*arguments: str | Path, **env: str) -> str:
    """Return the one line that tells what is wrong."""
    done = await streamer(*arguments, env=env)
    assert done.code == 1
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    return line


async def test_what_is_wrong_with_listening_is_told_in_a_line(bluez: FakeBlueZ) -> None:
    FakeSketch(bluez)
    assert "does not advertise which format" in await told("listen", "Sketch")
    assert "no adapter 'hci7'; there are hci0 (" in await told("listen", "x", "--adapter", "hci7")


async def test_options_of_listen_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    done = await streamer("listen", "Sketch", "--description", tmp_path / "none.toml")
    assert done.code == 2
    assert "No such file" in done.err
    with pytest.raises(ValidationError, match="no format 'x'"):
        wearable_named("Sketch", None, "x", None)


async def test_without_d_bus_it_is_told_what_to_do() -> None:
    line = await told("scan", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nowhere/bus")
    assert "the D-Bus system bus can't be reached" in line
    assert "start dbus" in line
    assert "can't be reached" in await told("listen", "x", DBUS_SYSTEM_BUS_ADDRESS="nonsense")


async def test_without_bluetoothd_it_is_told_how_to_start_it(system_bus: str) -> None:
    with pytest.raises(BluetoothUnavailableError, match="sudo systemctl start bluetooth"):
        await scan(None, 0.1)


async def test_without_a_radio_it_is_told_to_plug_one_in(system_bus: str) -> None:
    async with FakeBlueZ(system_bus, ()):
        with pytest.raises(BluetoothUnavailableError, match="plug one in"):
            await scan(None, 0.1)


async def test_a_radio_that_is_off_is_told_how_to_switch_on(bluez: FakeBlueZ) -> None:
    bluez.switch("hci0", on=False)
    with pytest.raises(BluetoothUnavailableError, match=r"hci0 is switched off.*power on"):
        await scan("hci0", 0.1)
    assert (await bluetooth_adapter(None)).name == "hci1"


async def test_without_permission_it_is_told_whom_to_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = PrivateBus(needs("dbus-daemon"), tmp_path, NOBODY)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    async with FakeBlueZ(bus.address):
        with pytest.raises(BluetoothUnavailableError, match="usermod -aG bluetooth"):
            await scan(None, 0.1)
    bus.stop()
    await forget_bluez()


@pytest.mark.parametrize(
    ("direction", "up"),
    [([0, 0, 1], "+z"), ([0, 0, -1], "-z"), ([1, 0, 0.1], "+x"), ([0.1, -1, 0], "-y")],
)
def test_the_axis_that_points_up_is_found(direction: list[float], up: str) -> None:
    unit = np.array(direction) / np.linalg.norm(direction)
    lies = orientation(np.tile(9.81 * unit, (50, 1)).astype(np.float32))
    assert lies.up == up
    assert lies.magnitude == pytest.approx(9.81, abs=1e-3)
    assert lies.off_degrees == pytest.approx(np.degrees(np.arccos(np.abs(unit).max())), abs=0.1)
    assert lies.still


def test_a_wearable_that_moves_is_not_still() -> None:
    acceleration = np.random.default_rng(1).normal(0, 3, (50, 3)).astype(np.float32)
    assert not orientation(acceleration).still


async def test_a_gateway_reads_wearables_as_the_readme_tells(
    bluez: FakeBlueZ, tmp_path: Path
) -> None:
    fake = FakePolar(bluez)
    config = tmp_path / "gateway.toml"
    config.write_text(
        "[model]\ncheck_streams = false\n"  # the fake counts along one axis
        f'[mqtt]\nlisten = "127.0.0.1:{free_port()}"\n'
        '[[adapters]]\ntype = "ble"\n'
        '[[adapters.wearables]]\nname = "anna"\nadvertised = "Polar Sense A1B2C301"\n'
    )
    async with taking(fake):
        done = await streamer("run", "-c", config, stop_when=lambda: fake.sent > 52 * 5)
    assert (done.code, done.err) == (0, "")
    first, told = done.out.splitlines()
    assert re.fullmatch(r"gateway 'gateway': labels go to mqtt://127.0.0.1:\d+/har/gateway", first)
    account = re.match(r"(\d+) samples of 1 wearables \(0 lost, .*, (\d+) labels", told)
    assert account is not None
    assert int(account[2]) >= 2
    assert not fake.peripheral.connected
