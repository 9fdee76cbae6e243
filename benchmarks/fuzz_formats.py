"""Feeds every parser of bytes from outside with garbage: nothing but its own error may come out.

The inputs are the payloads of tests/vectors with bits flipped, bytes put in, cut out, repeated or
set to extremes, one vector spliced into another, and plain random bytes. A parser keeps its state
from input to input, as in a connection, and what a wearable's decoder makes of them is placed in
time and merged. The slowest input (processor time) and the peak of memory are told.

    python benchmarks/fuzz_formats.py --inputs 100000 --json FILE
"""

import argparse
import contextlib
import json
import random
import time
import tomllib
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from device_adapters.ble.formats.format import Decoder
from device_adapters.ble.formats.generic import (
    GenericDecoder,
    WearableDescription,
    read_description,
)
from device_adapters.ble.formats.infinitime import InfiniTimeDecoder
from device_adapters.ble.formats.metamotion import (
    BMI160,
    BMI270,
    MetaMotionDecoder,
    MetaMotionOptions,
)
from device_adapters.ble.formats.movella_dot import MovellaDotDecoder
from device_adapters.ble.formats.movesense import MovesenseDecoder
from device_adapters.ble.formats.polar import (
    ACC,
    GYRO,
    Measurement,
    PolarDecoder,
    offered_measurements,
    parse_settings,
)
from device_adapters.ble.formats.thingy52 import Thingy52Decoder
from device_adapters.ble.formats.witmotion import WitMotionDecoder
from device_adapters.clock import DeviceClock
from device_adapters.errors import MalformedPayloadError, PayloadError
from device_adapters.mqtt.payloads import Packet, PayloadFormat, payload_class, payload_names
from device_adapters.mqtt.wearable import Wearable
from device_adapters.samples import StreamInfo
from device_adapters.timeline import Timeline

ROOT = Path(__file__).parent.parent
VECTORS = tomllib.loads((ROOT / "tests" / "vectors" / "ble.toml").read_text())["vector"]
ARDUINO = ROOT / "configs" / "wearables" / "arduino-nano-33-ble.toml"
FLOATS = {
    "characteristic": "2a00",
    "rate_hz": 50,
    "header": [{"type": "f64", "role": "time", "unit": "s"}],
    "sample": [
        {"type": kind, "channel": f"acc_{axis}", "unit": "g"}
        for kind, axis in (("f32", "x"), ("f64", "y"), ("u64", "z"))
    ],
}
"""Numbers of every size, infinite ones and NaN among them."""

SLOW_SECONDS = 0.05
"""No input may hold the gateway's event loop up for longer."""

MEMORY_BYTES = 16 * 1024 * 1024
LONGEST = 600
"""Bytes of random input: more than a notification can have."""

Parse = Callable[[bytes], int]
"""Parses a payload and returns how many samples came of it."""

DECODERS: dict[str, Callable[[], Decoder]] = {
    "polar": lambda: PolarDecoder([Measurement(ACC, 52), Measurement(GYRO, 52)]),
    "polar H10": lambda: PolarDecoder([Measurement(ACC, 50)]),
    "movesense": lambda: MovesenseDecoder(["IMU6"], 52),
    "movesense Acc+Gyro": lambda: MovesenseDecoder(["Acc", "Gyro"], 52),
    "movella_dot": lambda: MovellaDotDecoder(60),
    "metamotion 4 g": lambda: MetaMotionDecoder(
        BMI160, MetaMotionOptions(range_g=4, range_dps=500)
    ),
    "metamotion 8 g": lambda: MetaMotionDecoder(BMI160, MetaMotionOptions(range_g=8)),
    "metamotion BMI270": lambda: MetaMotionDecoder(BMI270, MetaMotionOptions()),
    "thingy52": lambda: Thingy52Decoder(50),
    "witmotion": lambda: WitMotionDecoder(50),
    "infinitime": InfiniTimeDecoder,
    "generic": lambda: GenericDecoder(read_description(ARDUINO)),
    "generic floats": lambda: GenericDecoder(WearableDescription.model_validate(FLOATS)),
}
"""A decoder for each way in which a registered format decodes, as a connection would make it."""


@dataclass(frozen=True, slots=True)
class Parser:
    """Something that reads bytes from outside.

    Attributes:
        name: what it is called.
        start: returns it in the state of a new connection.
        seeds: payloads that it reads.
        error: the only type of error that it may raise.
    """

    name: str
    start: Callable[[], Parse]
    seeds: tuple[bytes, ...]
    error: type[Exception]


def _ble_parser(name: str) -> Parser:
    family = name.split(maxsplit=1)[0]
    vectors = [vector for vector in VECTORS if vector["decoder"].split()[0] == family]
    characteristic = vectors[0]["characteristic"]

    def start() -> Parse:
        decoder = DECODERS[name]()
        timeline = Timeline(_stream_info(decoder), decoder.sensors, DeviceClock())
        arrivals = count(1.7e9, 0.1)

        def parse(payload: bytes) -> int:
            frames = decoder.decode(characteristic, payload)
            batches = [timeline.push(frame, next(arrivals)) for frame in frames]
            return sum(len(batch) for batch in batches if batch)

        return parse

    seeds = tuple(
        bytes.fromhex(vector[key])
        for vector in vectors
        for key in ("payload", "successor")
        if key in vector
    )
    return Parser(name, start, seeds, MalformedPayloadError)


def _stream_info(decoder: Decoder) -> StreamInfo:
    channels = tuple(channel for sensor in decoder.sensors for channel in sensor.channels)
    units = tuple(unit for sensor in decoder.sensors for unit in sensor.units)
    return StreamInfo("wrist", channels, units, decoder.rate_hz, "ble", decoder.clock)


MQTT_LAYOUTS: dict[str, tuple[str, dict[str, object]]] = {
    **{name: (name, {}) for name in payload_names()},
    "json objects": (
        "json",
        {"samples": "s", "channels": [f"v.{n}" for n in range(6)], "time_unit": "ms", "rate": ""},
    ),
    "cbor columns": ("cbor", {"channels": list("abcdef"), "counter": "", "device": "id"}),
}
"""Every registered payload format with its defaults, and two that read documents otherwise."""


def _mqtt_parser(title: str) -> Parser:
    name, options = MQTT_LAYOUTS[title]
    payloads = payload_class(name)(payload_class(name).Options.model_validate(options))
    channels = sum(payloads.sensors.values()) if payloads.sensors else 6

    def start() -> Parse:
        wearable = Wearable("wrist", payloads, None, 0.5, 50.0)
        arrivals = count(1.7e9, 0.1)

        def parse(payload: bytes) -> int:
            packet = payloads.decode(payload)
            if packet.values.shape[1] != channels:
                return 0
            return sum(len(batch) for batch in wearable.take(packet, next(arrivals)))

        return parse

    return Parser(title, start, _mqtt_payloads(payloads), PayloadError)


def _mqtt_payloads(payloads: PayloadFormat) -> tuple[bytes, ...]:
    """Return payloads of 1 to 12 samples, one after the other."""
    values = np.random.default_rng(1).normal(size=(12, 6)).astype(np.float32)
    times = 1.7e9 + np.arange(12) / 50
    return tuple(
        payloads.encode(
            Packet(times[:samples] + 0.24 * number, values[:samples], number, 0.02, "wrist")
        )
        for number, samples in enumerate((2, 3, 12, 5, 1))
    )


POLAR_SETTINGS = bytes.fromhex(
    "f0 01 02 00 00 00 01 34 00 01 01 10 00 02 04 f5 00 f4 01 e8 03 d0 07"
)
PARSERS: tuple[Parser, ...] = (
    *(_ble_parser(name) for name in DECODERS),
    *(_mqtt_parser(title) for title in MQTT_LAYOUTS),
    Parser(
        "polar settings",
        lambda: lambda payload: len(parse_settings(payload, 5)),
        (POLAR_SETTINGS,),
        MalformedPayloadError,
    ),
    Parser(
        "polar features",
        lambda: lambda payload: len(offered_measurements(payload)),
        (bytes.fromhex("0f 24 00"),),
        MalformedPayloadError,
    ),
)
"""Add what reads bytes from outside here."""


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
            payload[place] = luck.choice((0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF))
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a parser made of its inputs.

    Attributes:
        inputs: payloads fed.
        accepted: payloads without an error.
        samples: samples that came of them.
        slowest_ms: the longest time for one.
        peak_kib: the most memory that the parser held at once.
        seconds: the time for all.
    """

    inputs: int
    accepted: int
    samples: int
    slowest_ms: float
    peak_kib: float
    seconds: float


def fuzz(parser: Parser, number: int, seed: int) -> Outcome:
    """Feed a parser; whatever is not its own error is let through."""
    payloads = list(inputs(parser.seeds, number, random.Random(seed)))  # noqa: S311 - mutations
    parse = parser.start()
    accepted = samples = 0
    slowest = 0.0
    began = time.thread_time()
    for payload in payloads:
        start = time.thread_time()
        try:
            samples += parse(payload)
            accepted += 1
        except parser.error:
            pass
        except Exception as error:
            error.add_note(f"{parser.name} was fed {payload.hex(' ')}")
            raise
        slowest = max(slowest, time.thread_time() - start)
    seconds = time.thread_time() - began
    return Outcome(number, accepted, samples, 1e3 * slowest, _peak(parser, payloads), seconds)


def _peak(parser: Parser, payloads: Sequence[bytes]) -> float:
    """Return the most memory, in KiB, over the first 5,000 payloads: tracing makes it slow."""
    parse = parser.start()
    tracemalloc.start()
    for payload in payloads[:5000]:
        with contextlib.suppress(parser.error):
            parse(payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1024


def main() -> None:
    """Fuzz every parser and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="for each parser")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    outcomes = {each.name: fuzz(each, arguments.inputs, arguments.seed) for each in PARSERS}
    table = Table("parser", "inputs", "accepted", "samples", "slowest, ms", "peak, KiB", "seconds")
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
