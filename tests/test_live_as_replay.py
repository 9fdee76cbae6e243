"""As a user would: gateway, simulated wearables and replay, each a command of its own."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from conftest import Mosquitto
from device_adapters.mqtt.payloads import payload_names
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import SessionReader, SessionWriter
from streamer import subscribe
from streamer.messages import Label, parse_label

SECONDS = 120
NETWORK = ("--jitter", "0.01", "--reorder", "0.05", "--seed", "3")


async def streamer(*arguments: str | Path, output: int = PIPE) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamer", *map(str, arguments)),
        stdout=output,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def named_session(source: Path, folder: Path, name: str) -> Path:
    """Return the beginning of a session, of a wearable of this name."""
    path = folder / f"{name}.mcap"
    end = None
    with SessionWriter(path) as writer:
        for event in SessionReader(source):
            if isinstance(event, StreamInfo):
                writer.add_stream(replace(event, device=name))
            elif isinstance(event, SampleBatch):
                end = end or event.end + SECONDS
                if event.end < end:
                    writer.add_batch(replace(event, device=name))
    return path


def configured(folder: Path, url: str, payloads: Sequence[str]) -> Path:
    """Return a gateway's configuration that reads these payloads, each on topics of its own."""
    adapters = [
        f'[[adapters]]\ntype = "mqtt"\nurl = "{url}"\ntopic = "{name}/+/imu"\npayload = "{name}"\n'
        for name in payloads
    ]
    path = folder / f"{'-'.join(payloads)}.toml"
    path.write_text(f'name = "home"\n[mqtt]\nurl = "{url}"\n{"".join(adapters)}')
    return path


async def received(url: str, wearers: Sequence[str], labels: int) -> dict[str, list[Label]]:
    """Return so many labels of each wearer."""
    told: dict[str, list[Label]] = {name: [] for name in wearers}
    async with aclosing(subscribe(url)) as arriving:
        async for label in arriving:
            told[label.wearer].append(label)
            if min(map(len, told.values())) == labels:
                break
    return told


def as_told(labels: Iterable[Label]) -> list[tuple[object, ...]]:
    """Return all of labels that does not depend on when they were."""
    return [(x.words, x.observed, x.lost, x.seq, x.devices) for x in labels]


async def test_simulated_wearables_are_labelled_as_replayed_in_every_payload(
    real_session: Path, tmp_path: Path
) -> None:
    names = payload_names()
    sessions = {name: named_session(real_session, tmp_path, name) for name in names}
    replay = await streamer("replay", sessions["raw"], "--json")
    replayed = [
        parse_label("replay", line) for line in (await replay.communicate())[0].splitlines()
    ]
    assert len(replayed) > SECONDS

    log = tmp_path / "broker.log"
    mosquitto = Mosquitto(tmp_path, f"log_dest file {log}\nlog_type subscribe\n")
    mosquitto.start()
    config = configured(tmp_path, mosquitto.url, names)
    gateway = await streamer("run", "-c", config, output=DEVNULL)
    try:
        async with asyncio.timeout(100):
            labels = asyncio.create_task(received(mosquitto.url, names, len(replayed)))
            while not all(topic in log.read_text() for topic in ["har/", *names]):
                await asyncio.sleep(0.05)
            senders = [
                await streamer(
                    *("simulate", "-c", configured(tmp_path, mosquitto.url, [name])),
                    *("--session", sessions[name], "--speed", "max", *NETWORK),
                    output=DEVNULL,
                )
                for name in names
            ]
            assert [await sender.wait() for sender in senders] == [0] * len(names)
            live = await labels
    finally:
        gateway.terminate()
        await gateway.wait()
        mosquitto.close()
    for name in names:
        assert as_told(live[name]) == as_told(
            structs.replace(label, devices=(name,)) for label in replayed
        )
        for got, want in zip(live[name], replayed, strict=True):
            assert got.p == pytest.approx(want.p, abs=1e-3)
