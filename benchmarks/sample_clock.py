"""How far samples lie from where they were taken, over a simulated BLE link; and what was lost.

A wearable takes 52 samples a second by a crystal that is 40 ppm off and sends them in packets. The
radio sends at connection events each 45 ms, again at the next one after 8 % of the packets, and
fades now and then for 0.2 to 0.8 s, after which a burst follows; the host is up to some
milliseconds late. The error is that of a packet's newest sample, after the first 60 s.

    python benchmarks/sample_clock.py --json FILE
"""

import argparse
import json
import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from device_adapters.clock import DeviceClock
from device_adapters.frames import ACCELEROMETER, Frame
from device_adapters.samples import ClockSource, StreamInfo
from device_adapters.stamps import StampSpreader
from device_adapters.timeline import Timeline

RATE_HZ = 52.0
DRIFT = 40e-6
EVENT_SECONDS = 0.045
RETRANSMITTED = 0.08
FADES = 0.004
FADE_SECONDS = (0.2, 0.8)
LEAST_LATENCY_SECONDS = 0.003
HOST_SECONDS = 0.002
SETTLING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that reached the host.

    Attributes:
        first: the number of its first sample.
        count: its samples.
        stamp: the device's time of its last sample.
        taken: the host's time at which its last sample was taken.
        arrival: the host's time at which it came.
        lost: samples that were lost just before it.
    """

    first: int
    count: int
    stamp: float
    taken: float
    arrival: float
    lost: int


@dataclass(frozen=True, slots=True)
class Link:
    """What is simulated.

    Attributes:
        packets: how many are sent.
        samples: samples in each.
        loss: share of packets that never come.
        true_rate: how many samples are taken for each that the nominal rate says.
        seed: of the radio's luck.
    """

    packets: int = 4000
    samples: int = 12
    loss: float = 0.0
    true_rate: float = 1.0
    seed: int = 2

    def run(self) -> Iterator[Packet]:
        """Yield the packets that come."""
        luck = random.Random(self.seed)  # noqa: S311 - a simulation
        phase = luck.random() * EVENT_SECONDS
        fade, previous, lost = 0.0, 0.0, 0
        for number in range(self.packets):
            last = (number + 1) * self.samples - 1
            stamp = last / (RATE_HZ * self.true_rate)
            taken = stamp / (1 + DRIFT)
            sent = taken + LEAST_LATENCY_SECONDS
            sent = math.ceil((sent - phase) / EVENT_SECONDS) * EVENT_SECONDS + phase
            while luck.random() < RETRANSMITTED:
                sent += EVENT_SECONDS
            if luck.random() < FADES:
                fade = luck.uniform(*FADE_SECONDS)
            sent = max(sent + fade, previous + 0.0008)
            fade = max(0.0, fade - self.samples / RATE_HZ)
            previous = sent
            if luck.random() < self.loss:
                lost += self.samples
                continue
            arrival = sent + abs(luck.gauss(0, HOST_SECONDS))
            yield Packet(last + 1 - self.samples, self.samples, stamp, taken, arrival, lost)
            lost = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Errors in milliseconds, and samples lost in truth and by our count."""

    mean_ms: float
    sd_ms: float
    p99_ms: float
    lost: int
    counted: int


def place(link: Link, clock: ClockSource) -> Outcome:
    """Place a link's samples by stamps, by numbers or by nothing, and compare with the truth."""
    info = StreamInfo(
        "wrist", ACCELEROMETER.channels, ACCELEROMETER.units, RATE_HZ, "simulation", clock
    )
    timeline, stamps = (
        Timeline(info, [ACCELEROMETER], DeviceClock()),
        StampSpreader(RATE_HZ, "last"),
    )
    errors, counted, lost = [], 0, 0
    for packet in link.run():
        values = np.zeros((packet.count, 3), np.float32)
        frame = Frame(values, lost=packet.lost if clock == "counter" else 0)
        if clock == "device":
            times, missing = stamps.spread(packet.stamp, packet.count)
            frame = Frame(values, times, missing)
        batch = timeline.push(frame, packet.arrival)
        assert batch is not None  # noqa: S101 - one sensor's samples wait for no other's
        counted += batch.lost
        lost += packet.lost
        if packet.taken >= SETTLING_SECONDS:
            errors.append(1e3 * (batch.shared_times[-1] - packet.taken))
    return Outcome(
        float(np.mean(errors)),
        float(np.std(errors)),
        float(np.percentile(np.abs(errors), 99)),
        lost,
        counted,
    )


CASES: tuple[tuple[str, Link, ClockSource], ...] = (
    ("device stamps", Link(), "device"),
    ("device stamps, 2 % of packets lost", Link(loss=0.02), "device"),
    ("device stamps, 6.4 hours", Link(packets=100_000), "device"),
    ("sample counter", Link(), "counter"),
    ("sample counter, 2 % of packets lost", Link(loss=0.02), "counter"),
    ("sample counter, rate 1 % high", Link(true_rate=1.01), "counter"),
    ("neither", Link(), "count"),
    ("neither, rate 1 % high", Link(true_rate=1.01), "count"),
    ("neither, 2 % of packets lost", Link(loss=0.02), "count"),
    ("neither, one sample a packet", Link(packets=40_000, samples=1), "count"),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table = Table("clock", "mean, ms", "sd, ms", "p99, ms", "lost", "counted as lost")
    outcomes = {name: place(link, clock) for name, link, clock in CASES}
    for name, outcome in outcomes.items():
        errors = (outcome.mean_ms, outcome.sd_ms, outcome.p99_ms)
        table.add_row(
            name, *(f"{error:.1f}" for error in errors), str(outcome.lost), str(outcome.counted)
        )
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({name: asdict(outcome) for name, outcome in outcomes.items()}, indent=2)
        )


if __name__ == "__main__":
    main()
