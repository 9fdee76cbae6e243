"""Wearables described in TOML, and formats that other packages bring along."""

import struct
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from device_adapters.ble.formats.format import format_classes, recognises
from device_adapters.ble.formats.generic import (
    GenericDecoder,
    GenericFormat,
    GenericOptions,
    WearableDescription,
    read_description,
)
from device_adapters.errors import FormatDescriptionError, MalformedPayloadError
from device_adapters.frames import ACCELEROMETER, IMU, Frame
from device_adapters.samples import STANDARD_GRAVITY
from scripted_gatt import ScriptedGatt
from test_docs import ROOT, blocks

G = STANDARD_GRAVITY
PAGE = ROOT / "docs" / "wearables.md"
ARDUINO = ROOT / "configs" / "wearables" / "arduino-nano-33-ble.toml"
CHARACTERISTIC = "0d1e0001-4b5a-4c6d-8e7f-90a1b2c3d4e5"
SAMPLE = [{"type": "i16", "channel": "acc_x", "unit": "mg"}]


def decoder(**described: Any) -> GenericDecoder:
    content = {"characteristic": CHARACTERISTIC, "rate_hz": 50, "sample": SAMPLE, **described}
    return GenericDecoder(WearableDescription.model_validate(content))


@pytest.fixture
def ankle_band(tmp_path: Path) -> Path:
    path = tmp_path / "ankle-band.toml"
    path.write_text(blocks(PAGE, "toml")[0])
    return path


async def test_the_documented_description_does_what_is_said_of_it(ankle_band: Path) -> None:
    described = GenericFormat(GenericOptions.model_validate({"description": ankle_band}))
    assert recognises(described, "Ankle band 3", ())
    assert described.subscriptions == (CHARACTERISTIC,)
    gatt = ScriptedGatt()
    decodes = await described.start(gatt)
    await described.stop(gatt)
    assert [payload for _, payload in gatt.written] == [b"\x01\x64", b"\x00"]
    assert decodes.sensors == (ACCELEROMETER,)
    assert (decodes.clock, decodes.rate_hz) == ("counter", 100)
    payload = "07 00 07 d0 00 00 f8 30 00 00 07 d0 07 d0"
    assert payload in PAGE.read_text()
    first = decodes.decode(CHARACTERISTIC, bytes.fromhex(payload))[0]
    assert first.values == pytest.approx(np.array([[1, 0, -1], [0, 1, 1]]) * G)
    after_two_lost = decodes.decode(CHARACTERISTIC, bytes.fromhex("0a" + payload[2:]))[0]
    assert after_two_lost.lost == 4


def test_the_arduinos_description_reads_what_its_sketch_sends() -> None:
    decodes = GenericDecoder(read_description(ARDUINO))
    assert decodes.sensors == (IMU,)
    assert decodes.clock == "device"
    frames: list[Frame] = []
    for number in (0, 1, 4):
        counter, micros = (
            (65_530 + 10 * number) % 65536,
            (2**32 - 100_000 + 84_034 * number) % 2**32,
        )
        head = struct.pack("<HIBB", counter, micros, 10, 0)
        samples = [(8192, 0, -8192, 16, 0, -16)] * 10
        payload = head + b"".join(struct.pack("<6h", *sample) for sample in samples)
        frames += decodes.decode("", payload)
    assert [frame.lost for frame in frames] == [0, 0, 20]
    times = np.concatenate([frame.times for frame in frames if frame.times is not None])
    assert np.diff(times)[[0, 9, 19]] == pytest.approx([0.0084034, 0.0084034, 0.1764], abs=2e-4)
    degree = np.pi / 180
    assert frames[0].values[0] == pytest.approx([G, 0, -G, degree, 0, -degree])


@pytest.mark.parametrize("counts", ["samples", "notifications"])
@pytest.mark.parametrize("width", ["u8", "u16"])
def test_counters_tell_what_was_lost_even_over_their_wrap(width: str, counts: str) -> None:
    decodes = decoder(header=[{"type": width, "role": "counter", "counts": counts}])
    bits, step = int(width[1:]), 3 if counts == "samples" else 1
    lost = []
    for number in (0, 1, 2, 5, 6):
        reading = (2**bits - 4 + number * step) % 2**bits
        payload = reading.to_bytes(bits // 8, "little") + bytes(6)
        lost.append(decodes.decode("", payload)[0].lost)
    assert decodes.clock == "counter"
    assert lost == [0, 0, 0, 6, 0]


def test_a_counter_that_goes_back_loses_nothing() -> None:
    decodes = decoder(header=[{"type": "u16", "role": "counter"}])
    frames = [decodes.decode("", struct.pack("<Hh", c, 0))[0] for c in (100, 101, 0, 1)]
    assert [frame.lost for frame in frames] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("unit", "kind", "reading"),
    [
        ("s", "f64", 2.5),
        ("ms", "u32", 2500),
        ("us", "i64", 2_500_000),
        ("ns", "u64", 2_500_000_000),
    ],
)
def test_times_are_read_in_their_unit(unit: str, kind: str, reading: float) -> None:
    decodes = decoder(header=[{"type": kind, "role": "time", "unit": unit, "stamped": "last"}])
    code = {"f64": "d", "u32": "I", "i64": "q", "u64": "Q"}[kind]
    frame = decodes.decode("", struct.pack(f"<{code}2h", reading, 1, 2))[0]
    assert frame.times == pytest.approx([2.48, 2.5])


def test_fields_without_a_channel_are_passed_over() -> None:
    decodes = decoder(sample=[{"type": "f32"}, *SAMPLE, {"type": "u8"}])
    frame = decodes.decode("", struct.pack("<fhB", 1.0, 1000, 7) * 2)[0]
    assert frame.values == pytest.approx(np.array([[G], [G]]))
    assert frame.times is None
    assert decodes.clock == "count"


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "fewer than 3 bytes"),
        (b"\x03\x00\x00", "says it has 3 samples, but holds 1"),
        (b"\x00\x00\x00", "says it has 0 samples, but holds 1"),
        (bytes(600), "more than the 512 bytes"),
    ],
)
def test_payloads_that_do_not_fit_are_told(payload: bytes, told: str) -> None:
    with pytest.raises(MalformedPayloadError, match=told):
        decoder(header=[{"type": "u8", "role": "samples"}]).decode("", payload)


def test_half_a_sample_and_no_number_are_told() -> None:
    with pytest.raises(MalformedPayloadError, match="ends 1 bytes into a sample"):
        decoder().decode("", b"\0\0\0")
    timed = decoder(header=[{"type": "f32", "role": "time", "unit": "s"}])
    for time in (float("nan"), float("inf"), -1e30):
        with pytest.raises(MalformedPayloadError, match=r"has time .* s"):
            timed.decode("", struct.pack("<fh", time, 1))


WHOLE = f"""
characteristic = "{CHARACTERISTIC}"
rate_hz = 50
sample = [{{ type = "i16", channel = "acc_x", unit = "mg" }}]
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rate_hz = 50\n", "characteristic: Field required"),
        (WHOLE.replace("50", "0"), r"rate_hz: .*greater than or equal to 0.1 \(is 0\)"),
        (WHOLE.replace(CHARACTERISTIC, "0d1e"), None),
        (WHOLE.replace(CHARACTERISTIC, "band"), r"characteristic: .*pattern.*\(is 'band'\)"),
        (WHOLE.replace("i16", "i17"), r"sample.0.type: .*'i17'"),
        (WHOLE.replace("mg", "lb"), r"sample.0.unit: .*\(is 'lb'\)"),
        (WHOLE.replace(', unit = "mg"', ""), "sample.0: a channel needs a unit"),
        (WHOLE.replace("channel", "chanel"), r"sample.0.chanel: Extra inputs"),
        (
            WHOLE + 'header = [{ type = "i8", role = "counter" }]',
            "header.0: .*unsigned type, not 'i8'",
        ),
        (
            WHOLE + 'header = [{ type = "u8", role = "time" }, { type = "u8", role = "time" }]',
            "header: role 'time' is there more than once",
        ),
        (WHOLE + 'start = [{ characteristic = "2a00", value = "xy" }]', "start.0.value: .*hex"),
        ("rate_hz =", "is not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_description_is_told(
    text: str, told: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "wearable.toml"
    path.write_text(text)
    if told is None:
        characteristic = read_description(path).characteristic
        assert characteristic == "00000d1e-0000-1000-8000-00805f9b34fb"
        return
    with pytest.raises(FormatDescriptionError, match=told) as caught:
        read_description(path)
    assert str(caught.value).startswith(f"description {path}: ")


def test_a_description_that_is_missing_is_told_where_options_are_read(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"gone.toml: can't be read: No such file"):
        GenericOptions.model_validate({"description": str(tmp_path / "gone.toml")})


@pytest.fixture
def third_partys_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install what the documentation shows, as pip would."""
    (tmp_path / "microbit_format.py").write_text(blocks(PAGE, "python")[0])
    registered = tomllib.loads(blocks(PAGE, "toml")[1])["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in registered.items()
    ]
    metadata = tmp_path / "microbit_format-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: microbit-format\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text("".join(lines))
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("third_partys_package")
async def test_a_third_partys_format_comes_in_by_its_entry_point() -> None:
    known = format_classes()["microbit"]
    assert recognises(known, "BBC micro:bit [vatip]", ())
    gatt = ScriptedGatt()
    decodes = await known(known.Options.model_validate({"period_ms": 10})).start(gatt)
    assert gatt.written == [("e95dfb24-251d-470a-a062-fa1922dfa9a8", b"\x0a\x00")]
    assert decodes.rate_hz == 100
    frame = decodes.decode("", struct.pack("<3h", 0, -1000, 500))[0]
    assert frame.values == pytest.approx(np.array([[0, -G, G / 2]]))
    with pytest.raises(MalformedPayloadError, match="microbit payload: has 2 bytes, not 6"):
        decodes.decode("", b"\0\0")
