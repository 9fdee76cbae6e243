"""How many wearables one core serves, and how soon a label follows its samples.

A real mosquitto, the simulated wearables and a subscriber share one core, the gateway has another
for itself. Each wearable publishes a message of 50 samples a second (50 Hz, 6 channels, raw binary
payload) and gets a label a second; the subscriber checks by the labels' sequence numbers and by the
samples counted as lost that nothing is missing. The largest number of wearables is looked for with
which nothing is lost and 99 of 100 labels come within 250 ms of the message that completed them.

    python benchmarks/gateway_load.py [--client gmqtt] [--json FILE]
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gmqtt
import numpy as np
import orjson
from gmqtt.mqtt.constants import MQTTv311
from numpy.typing import NDArray

from device_adapters.mqtt.client import MqttConnection, connection
from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.mqtt.payloads.raw import HEADER, VERSION
from device_adapters.mqtt.subscriber import MqttAdapter
from device_adapters.samples import SampleBatch
from device_adapters.session_file import SessionReader
from streamer.cli import main as streamer_main
from streamer.demo import demo_session
from streamer.recognizer import Recognizer
from streamer.resample import Resampler
from streamer.segments import SegmentTracker
from streamer.share.runtime import BoundGraph
from streamer.share.streaming import StreamStates
from streamer.windows import HopBuffers

RATE_HZ = 50.0
WINDOW = 128
LATENCY_MS = 250.0
START_SECONDS = 30
TRIAL_SECONDS = 24
WARM_UP_SECONDS = 10
"""All wearables come in the first second, and are looked at more closely for five; whoever serves
them goes on for days."""

TICK_SECONDS = 0.002
FIRST_TRIAL = 1000
RESOLUTION = 500

PARTS: dict[str, tuple[tuple[type, str], ...]] = {
    "payloads and clocks": ((MqttAdapter, "_take"),),
    "resampling": ((Resampler, "push"),),
    "windows": ((HopBuffers, "_write"), (HopBuffers, "_take")),
    "model": ((BoundGraph, "run"),),
    "model states": ((StreamStates, "step"),),
    "labels": ((Recognizer, "push_all"),),
    "segments": ((SegmentTracker, "push"),),
}
"""The methods that do each part's work, many devices a call; what they call of another part counts
for that. Each reading of a thread's clock is a system call, so what is done a label at a time is
not timed: it would mostly be its clock's."""

REST = "MQTT client, event loop, admission, start"


class Profiler:
    """Adds up the processor time of each part, by a clock of the thread that runs it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._inner = threading.local()
        for part, methods in PARTS.items():
            for owner, name in methods:
                setattr(owner, name, self._timed(getattr(owner, name), part))

    def shares(self) -> dict[str, float]:
        """Return every part's processor seconds; the rest of the process is a part too."""
        rest = time.process_time() - sum(self.seconds.values())
        return {**self.seconds, REST: rest}

    def _timed(self, method: Callable[..., Any], part: str) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:  # noqa: ANN401 - any method
            outer, self._inner.seconds = getattr(self._inner, "seconds", 0.0), 0.0
            begin = time.thread_time()
            try:
                return method(*arguments)
            finally:
                spent = time.thread_time() - begin
                self.seconds[part] += spent - self._inner.seconds
                self._inner.seconds = outer + spent

        return run


def serve(config: Path, profile: Path | None) -> None:
    """Be the gateway; if there is a file for it, note at the end where the time went."""
    profiler = None if profile is None else Profiler()
    sys.argv = ["streamer", "run", "--config", str(config)]
    try:
        streamer_main()
    finally:
        if profile is not None and profiler is not None:
            profile.write_text(json.dumps(profiler.shares()))


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one number of wearables.

    Attributes:
        wearables: how many there were.
        lost: labels that never came, and samples counted as lost.
        latencies_ms: from the publication of a label's last message to the label's arrival.
        after_arrival_ms: from that message's arrival, where it was listened to.
        cpu: share of its core that the gateway took.
        resident: the gateway's memory at the end, bytes.
        start_s: from the command to the gateway's being online.
    """

    wearables: int
    lost: int
    latencies_ms: NDArray[np.float64]
    after_arrival_ms: NDArray[np.float64]
    cpu: float
    resident: int
    start_s: float

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies."""
        return float(np.percentile(self.latencies_ms, percent))

    @property
    def held(self) -> bool:
        """Whether nothing was lost or late."""
        return not self.lost and self.percentile(99) < LATENCY_MS


@dataclass(slots=True)
class Wearables:
    """Simulated wearables, evenly spread over the time between two messages of each.

    Attributes:
        count: how many.
        batch: samples in a message.
        messages: that each of them sends.
        published: when each message left, seconds, [messages, wearables].
        due: the message that completes the first label, from 0.
    """

    count: int
    batch: int
    messages: int
    published: NDArray[np.float64]
    due: int

    @classmethod
    def of(cls, count: int, batch: int, seconds: float) -> "Wearables":
        """Return wearables that send for so long."""
        messages = int(seconds * RATE_HZ / batch)
        published = np.full((messages, count), np.nan)
        return cls(count, batch, messages, published, (WINDOW - 1) // batch)

    async def send(self, port: int, motion: NDArray[np.float32]) -> None:
        """Publish all messages in time."""
        client: Any = gmqtt.Client(None)  # our own connection would ask for acknowledgements
        await client.connect("127.0.0.1", port, version=MQTTv311)
        loop, period = asyncio.get_running_loop(), self.batch / RATE_HZ
        # Whole blocks of the recording, one after the other: people who go on with what they do.
        payloads = [
            motion[start : start + self.batch].astype("<f4").tobytes()
            for start in range(0, len(motion) - self.batch + 1, self.batch)
        ]
        begin = loop.time()
        for sent in range(self.messages * self.count):
            message, wearable = divmod(sent, self.count)
            wait = begin + sent / self.count * period - loop.time()
            if wait > 0:
                await asyncio.sleep(max(wait, TICK_SECONDS))
            first = message * self.batch
            header = HEADER.pack(
                *(VERSION, motion.shape[1], self.batch, first),
                *(round(first / RATE_HZ * 1e6), round(1e9 / RATE_HZ)),
            )
            payload = header + payloads[(wearable + message) % len(payloads)]
            self.published[message, wearable] = time.perf_counter()
            client.publish(f"wearables/w{wearable}/imu", payload)
        await client.disconnect()


class Subscriber:
    """Notes when each label came, and what it says is lost; and when the wearables' messages came.

    What comes to it from the wearables comes to the gateway in the same moment.
    """

    def __init__(self, wearables: Wearables) -> None:
        self._due = wearables.due
        self._wearables = wearables
        self.arrived = np.full_like(wearables.published, np.nan)
        self.heard = np.full_like(wearables.published, np.nan)
        self.lost_samples = 0
        self.repeated = 0

    async def listen(self, broker: MqttConnection) -> None:
        """Take labels, for ever."""
        while True:
            for message in await broker.receive():
                now = time.perf_counter()
                if message.topic.startswith("wearables/"):
                    first = HEADER.unpack_from(message.payload)[3]
                    wearer = int(message.topic.split("/")[1][1:])
                    self.heard[first // self._wearables.batch, wearer] = now
                    continue
                label = orjson.loads(message.payload)
                place = label["seq"] + self._due, int(label["wearer"][1:])
                self.repeated += not np.isnan(self.arrived[place])
                self.arrived[place] = now
                self.lost_samples += label["lost"]


class Bench:
    """A broker, and gateways that come and go.

    Args:
        folder: for configurations and profiles.
        client: the gateway's MQTT client.
    """

    def __init__(self, folder: Path, client: str) -> None:
        self._folder = folder
        self._client = client
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._url = f"mqtt://127.0.0.1:{self._port}"
        session = SessionReader(demo_session())
        self._motion = np.concatenate([e.values for e in session if isinstance(e, SampleBatch)])

    @contextmanager
    def broker(self) -> Iterator[None]:
        """Run mosquitto on the core of the wearables."""
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise SystemExit("mosquitto is not installed")
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {self._port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
            "max_inflight_messages 0\nmax_queued_messages 0\n"
        )
        process = subprocess.Popen(  # noqa: S603 - our own arguments
            [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while socket.socket().connect_ex(("127.0.0.1", self._port)):
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait()

    async def trial(
        self,
        wearables: Wearables,
        hop_s: float,
        profile: Path | None = None,
        *,
        hear_wearables: bool = False,
    ) -> Trial:
        """Run a gateway for these wearables, with a profile if there is a file for it."""
        async with connection(BrokerAddress(url=self._url, client="gmqtt")) as labels:
            await labels.subscribe("har/bench/status")
            begin = time.perf_counter()
            gateway = await self._gateway(labels, hop_s, profile)
            start = time.perf_counter() - begin
            await asyncio.sleep(1)  # the wearables' topics are subscribed to beside it
            await labels.subscribe("har/bench/+/activity")
            if hear_wearables:
                await labels.subscribe("wearables/+/imu")
            subscriber = Subscriber(wearables)
            listening = asyncio.create_task(subscriber.listen(labels), name="subscriber")
            before = _cpu_seconds(gateway.pid), time.perf_counter()
            await wearables.send(self._port, self._motion)
            spent = _cpu_seconds(gateway.pid) - before[0]
            lasted = time.perf_counter() - before[1]
            await asyncio.sleep(2)
            listening.cancel()
            resident = _resident_bytes(gateway.pid)
            gateway.terminate()
            await gateway.wait()
        warm = int(WARM_UP_SECONDS * RATE_HZ / wearables.batch)
        missing = int(np.isnan(subscriber.arrived[wearables.due :]).sum())
        return Trial(
            wearables=wearables.count,
            lost=missing + subscriber.lost_samples + subscriber.repeated,
            latencies_ms=_milliseconds(subscriber.arrived - wearables.published, warm),
            after_arrival_ms=_milliseconds(subscriber.arrived - subscriber.heard, warm),
            cpu=spent / lasted,
            resident=resident,
            start_s=start,
        )

    async def _gateway(
        self, status: MqttConnection, hop_s: float, profile: Path | None
    ) -> asyncio.subprocess.Process:
        """Start a gateway on its core and wait until it is online."""
        config = self._folder / "gateway.toml"
        config.write_text(
            f'name = "bench"\n[model]\nhop_s = {hop_s}\n'
            f'[mqtt]\nurl = "{self._url}"\nclient = "{self._client}"\n'
            f'[[adapters]]\ntype = "mqtt"\nurl = "{self._url}"\nclient = "{self._client}"\n'
        )
        gateway = await asyncio.create_subprocess_exec(
            sys.executable,
            *(__file__, "--serve", str(config)),
            *(() if profile is None else ("--profile", str(profile))),
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        os.sched_setaffinity(gateway.pid, {min(os.sched_getaffinity(0) ^ _cores())})
        async with asyncio.timeout(START_SECONDS):
            while not any(message.payload == b"online" for message in await status.receive()):
                pass
        return gateway


def _milliseconds(seconds: NDArray[np.float64], warm: int) -> NDArray[np.float64]:
    """Return all but the first messages' latencies; what never came, came far too late."""
    return np.nan_to_num(seconds[warm:].ravel() * 1000, nan=1e6)


def _cores() -> set[int]:
    return set(range(os.cpu_count() or 1))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def largest(bench: Bench) -> list[Trial]:
    """Return the trials on the way to the largest number of wearables that is served."""
    trials: list[Trial] = []
    served, failed = 0, None
    count = FIRST_TRIAL
    while failed is None or failed - served > RESOLUTION:
        trial = await bench.trial(Wearables.of(count, int(RATE_HZ), TRIAL_SECONDS), hop_s=1.0)
        trials.append(trial)
        print(
            f"{trial.wearables:7} wearables  {trial.lost:7} lost  "
            f"p50 {trial.percentile(50):7.1f} ms  p99 {trial.percentile(99):7.1f} ms  "
            f"core {trial.cpu:4.0%}  {trial.resident / 2**20:5.0f} MiB",
            flush=True,
        )
        if trial.held:
            served = count
        else:
            failed = count
        middle = (served + (failed or 0)) // (2 * RESOLUTION) * RESOLUTION
        count = 2 * count if failed is None else max(middle, RESOLUTION)
        if failed is not None and count in (served, failed):
            break
    return trials


async def profiled(bench: Bench, folder: Path, count: int) -> dict[str, float]:
    """Return the share of the processor time that each part takes, and print them."""
    profile = folder / "profile.json"
    await bench.trial(Wearables.of(count, int(RATE_HZ), TRIAL_SECONDS), 1.0, profile)
    seconds: dict[str, float] = json.loads(profile.read_text())
    total = sum(seconds.values())
    shares = {part: spent / total for part, spent in seconds.items()}
    for part, share in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"  {part:28} {share:5.1%}")
    return shares


def report(client: str, trials: list[Trial]) -> dict[str, Any]:
    """Return a client's figures without the profile."""
    held = [trial for trial in trials if trial.held]
    if not held:
        raise SystemExit(f"{client}: not even {trials[-1].wearables} wearables are served")
    best = max(held, key=lambda trial: trial.wearables)
    # Two loads apart, what does not depend on the number of devices falls out.
    others = [trial for trial in trials if trial.wearables != best.wearables]
    other = min(others, key=lambda trial: trial.wearables)
    per_device = (best.resident - other.resident) / (best.wearables - other.wearables)
    print(f"\n{client}: {best.wearables} wearables; {per_device / 1000:.1f} kB a device")
    return {
        "client": client,
        "max_wearables": best.wearables,
        "p50_ms": best.percentile(50),
        "p99_ms": best.percentile(99),
        "lost": best.lost,
        "cpu": best.cpu,
        "bytes_per_device": per_device,
    }


async def one_wearable(bench: Bench, seconds: float) -> dict[str, float]:
    """Return the latencies of a wearable that sends 25 samples each half second."""
    trial = await bench.trial(Wearables.of(1, 25, seconds), hop_s=0.5, hear_wearables=True)
    p50, p99 = np.percentile(trial.after_arrival_ms, [50, 99])
    print(
        f"online after {trial.start_s:.2f} s, {trial.resident / 2**20:.0f} MiB\n"
        f"one wearable, 25 samples each 0.5 s: p50 {p50:.2f} ms, p99 {p99:.2f} ms from arrival, "
        f"p50 {trial.percentile(50):.2f} ms, p99 {trial.percentile(99):.2f} ms from publication, "
        f"{trial.lost} lost"
    )
    return {
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "p50_ms_from_publication": trial.percentile(50),
        "p99_ms_from_publication": trial.percentile(99),
        "lost": trial.lost,
        "start_s": trial.start_s,
        "resident_bytes": trial.resident,
    }


def main() -> None:
    """Run it all, or be the gateway."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--client", choices=["aiomqtt", "gmqtt"], action="append")
    parser.add_argument("--latency-seconds", type=float, default=60.0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--profile", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.profile)
        return
    os.sched_setaffinity(0, {max(_cores())})
    figures = []
    for client in options.client or ["aiomqtt", "gmqtt"]:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), client)
            with bench.broker():
                print(f"\n{client}", flush=True)
                single = asyncio.run(one_wearable(bench, options.latency_seconds))
                served = report(client, asyncio.run(largest(bench)))
                shares = asyncio.run(profiled(bench, Path(folder), served["max_wearables"]))
                figures.append({**served, "profile": shares, "one_wearable": single})
    best = max(figures, key=lambda each: each["max_wearables"])
    if options.json is not None:
        options.json.write_text(json.dumps({**best, "clients": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
