"""Feeds every MQTT payload format with garbage: nothing but `PayloadError` may come out.

The inputs are good payloads with bits flipped, bytes put in, cut out, repeated or set to extremes,
one spliced into another, and plain random bytes. What is decoded is put in order and placed in time
as in the adapter. The slowest input (processor time) and the peak of memory are told.

    python benchmarks/fuzz_payloads.py --inputs 100000 --json FILE
"""

import argparse
import contextlib
import json
import random
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from device_adapters.errors import PayloadError
from device_adapters.mqtt.payloads import Packet, PayloadFormat, payload_class, payload_names
from device_adapters.mqtt.wearable import Wearable

SLOW_SECONDS = 0.05
"""No input may hold the gateway's event loop up for longer."""

MEMORY_BYTES = 16 * 1024 * 1024
LONGEST = 4096
"""Bytes of random input; repeated parts make some inputs twice as long."""

OPTIONS: dict[str, tuple[str, dict[str, object]]] = {
    "json nested": (
        "json",
        {"samples": "s", "channels": [f"v.{n}" for n in range(6)], "time_unit": "ms", "rate": ""},
    ),
    "cbor columns": ("cbor", {"channels": list("abcdef"), "counter": "", "device": "id"}),
}
"""Further ways in which the registered formats read, beside their defaults."""

EXTREMES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a format made of its inputs.

    Attributes:
        inputs: payloads fed.
        accepted: payloads without an error.
        samples: samples that came of them.
        slowest_ms: the longest time for one.
        peak_kib: the most memory that was held at once.
        seconds: the time for all.
    """

    inputs: int
    accepted: int
    samples: int
    slowest_ms: float
    peak_kib: float
    seconds: float


def formats() -> dict[str, PayloadFormat]:
    """Return every registered format with its defaults, and those of `OPTIONS`."""
    wanted: dict[str, tuple[str, dict[str, object]]] = dict(OPTIONS)
    wanted |= {name: (name, {}) for name in payload_names()}
    made = {}
    for title, (name, options) in wanted.items():
        payloads = payload_class(name)
        made[title] = payloads(payloads.Options.model_validate(options))
    return made


def good_payloads(payloads: PayloadFormat) -> list[bytes]:
    """Return payloads of 1 to 12 samples, one after the other."""
    values = np.random.default_rng(1).normal(size=(12, 6)).astype(np.float32)
    return [
        payloads.encode(
            Packet(
                1.7e9 + (np.arange(samples) + 12 * number) / 50, values[:samples], number, 0.02, "w"
            )
        )
        for number, samples in enumerate((2, 3, 12, 5, 1))
    ]


def inputs(seeds: Sequence[bytes], number: int, luck: random.Random) -> Iterator[bytes]:
    """Yield `number` payloads: the seeds, mutated, and one in ten of random bytes."""
    for _ in range(number):
        if luck.random() < 0.1:
            yield luck.randbytes(luck.randrange(LONGEST))
            continue
        payload = bytearray(luck.choice(seeds))
        for _ in range(luck.randrange(4)):
            mutate(payload, seeds, luck)
        yield bytes(payload)


def mutate(payload: bytearray, seeds: Sequence[bytes], luck: random.Random) -> None:
    """Change a payload in place in one of the ways that faults and attackers do."""
    place = luck.randrange(len(payload) + 1)
    match luck.randrange(7):
        case 0 if place < len(payload):
            payload[place] ^= 1 << luck.randrange(8)
        case 1 if place < len(payload):
            payload[place] = luck.choice(EXTREMES)
        case 2:
            payload[place:place] = luck.randbytes(luck.randrange(1, 9))
        case 3:
            del payload[place : place + luck.randrange(1, 9)]
        case 4:
            del payload[place:]
        case 5 if len(payload) < LONGEST:
            payload *= 2
        case _:
            other = luck.choice(seeds)
            payload[place:] = other[luck.randrange(len(other)) :]


class Follower:
    """Decodes payloads and follows the wearable that sent them, as the adapter does."""

    def __init__(self, payloads: PayloadFormat) -> None:
        self._payloads = payloads
        self._wearable = Wearable("w", payloads, None, 0.5, 50.0)
        self._now = 1.7e9

    def take(self, payload: bytes) -> int:
        """Return how many samples came of a payload."""
        packet = self._payloads.decode(payload)
        self._now += 0.1
        if packet.values.shape[1] != sum(self._payloads.sensors or (6,)):
            return 0
        return sum(len(batch) for batch in self._wearable.take(packet, self._now))


def fuzz(payloads: PayloadFormat, number: int, seed: int) -> Outcome:
    """Feed a format; whatever is not a `PayloadError` is let through."""
    fed = list(inputs(good_payloads(payloads), number, random.Random(seed)))  # noqa: S311 - mutations
    follower = Follower(payloads)
    accepted = samples = 0
    slowest = 0.0
    began = time.thread_time()
    for payload in fed:
        start = time.thread_time()
        try:
            samples += follower.take(payload)
            accepted += 1
        except PayloadError:
            pass
        except Exception as error:
            error.add_note(f"it was fed {payload.hex(' ')}")
            raise
        slowest = max(slowest, time.thread_time() - start)
    seconds = time.thread_time() - began
    return Outcome(number, accepted, samples, 1e3 * slowest, _peak(payloads, fed), seconds)


def _peak(payloads: PayloadFormat, fed: Sequence[bytes]) -> float:
    """Return the most memory, in KiB, over the first 5,000 payloads: tracing makes it slow."""
    follower = Follower(payloads)
    tracemalloc.start()
    for payload in fed[:5000]:
        with contextlib.suppress(PayloadError):
            follower.take(payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1024


def main() -> None:
    """Fuzz every format and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="for each format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table = Table("format", "inputs", "accepted", "samples", "slowest, ms", "peak, KiB", "seconds")
    outcomes = {
        name: fuzz(each, arguments.inputs, arguments.seed) for name, each in formats().items()
    }
    for name, outcome in outcomes.items():
        table.add_row(
            name,
            f"{outcome.inputs:,}",
            f"{outcome.accepted:,}",
            f"{outcome.samples:,}",
            f"{outcome.slowest_ms:.2f}",
            f"{outcome.peak_kib:.0f}",
            f"{outcome.seconds:.1f}",
        )
    Console().print(table)
    if arguments.json:
        figures = {name: asdict(outcome) for name, outcome in outcomes.items()}
        arguments.json.write_text(json.dumps(figures, indent=2))
    for name, outcome in outcomes.items():
        if outcome.slowest_ms > 1e3 * SLOW_SECONDS or outcome.peak_kib * 1024 > MEMORY_BYTES:
            raise SystemExit(f"{name} needs too much time or memory")


if __name__ == "__main__":
    main()
