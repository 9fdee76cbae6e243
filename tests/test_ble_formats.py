"""Every wearable's format: known payloads, how it is started, and what garbage does to it."""

import contextlib
import random
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from device_adapters.ble.formats import metamotion, movella_dot, movesense, polar, thingy52
from device_adapters.ble.formats import witmotion as wit
from device_adapters.ble.formats.format import (
    BleFormat,
    FormatOptions,
    format_classes,
    recognises,
)
from device_adapters.ble.formats.infinitime import InfiniTimeDecoder, InfiniTimeFormat
from device_adapters.ble.formats.payload import MAX_PAYLOAD_BYTES
from device_adapters.ble.wearable import WearableOptions
from device_adapters.errors import (
    DeviceAdapterError,
    MalformedPayloadError,
    RefusedCommandError,
)
from device_adapters.frames import ACCELEROMETER, GYROSCOPE, IMU, Frame
from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY, STANDARD_GRAVITY
from device_adapters.units import UNITS
from fuzz_formats import DECODERS, PARSERS, VECTORS, Parser, fuzz, mutate
from scripted_gatt import ScriptedGatt

G = STANDARD_GRAVITY
DEGREE = np.pi / 180


def frames_of(vector: dict[str, Any]) -> list[Frame]:
    decoder = DECODERS[vector["decoder"]]()
    payloads = [bytes.fromhex(vector[key]) for key in ("payload", "successor") if key in vector]
    return [
        frame for payload in payloads for frame in decoder.decode(vector["characteristic"], payload)
    ]


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["source"] for vector in VECTORS])
def test_known_payloads_decode_to_their_values(vector: dict[str, Any]) -> None:
    frame = frames_of(vector)[0]
    scale = np.repeat([UNITS[unit][1] for unit in vector["unit"]], 3)
    decimals = np.array(vector.get("rounded_to", [6] * len(vector["unit"])), np.float64)
    tolerance = np.repeat(0.51 * 10.0**-decimals, 3)
    expected = np.array(vector["values"])
    assert frame.values.dtype == np.float32
    assert frame.sensor == vector.get("sensor", 0)
    assert (np.abs(frame.values / scale - expected) <= tolerance + 2e-7 * np.abs(expected)).all()
    if "newest" in vector:
        assert frame.times is not None
        assert frame.times[-1] == pytest.approx(vector["newest"], rel=1e-12)
    if "oldest" in vector:
        assert frame.times is not None
        assert frame.times[0] == pytest.approx(vector["oldest"], rel=1e-12)


def test_every_registered_format_has_vectors_and_is_fuzzed() -> None:
    registered = set(format_classes())
    assert {vector["decoder"].split(maxsplit=1)[0] for vector in VECTORS} == registered
    assert {parser.name.split(maxsplit=1)[0] for parser in PARSERS} >= registered


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_says_what_it_gives(name: str) -> None:
    decoder = DECODERS[name]()
    channels = [channel for sensor in decoder.sensors for channel in sensor.channels]
    units = [unit for sensor in decoder.sensors for unit in sensor.units]
    assert channels in (list(IMU.channels), list(ACCELEROMETER.channels))
    assert units == [ACCELERATION] * 3 + [ANGULAR_VELOCITY] * (len(units) - 3)
    assert decoder.clock in {"device", "counter", "count"}
    assert decoder.rate_hz > 0
    assert "to" in decoder.conversion


@pytest.mark.parametrize("parser", PARSERS, ids=[parser.name for parser in PARSERS])
def test_garbage_gives_nothing_but_the_parsers_error(parser: Parser) -> None:
    outcome = fuzz(parser, 1000, seed=7)
    assert outcome.accepted > 0
    assert outcome.peak_kib < 1024


@pytest.mark.parametrize("parser", PARSERS, ids=[parser.name for parser in PARSERS])
@settings(max_examples=60)
@given(st.lists(st.binary(max_size=MAX_PAYLOAD_BYTES + 8), max_size=8), st.randoms())
def test_any_run_of_payloads_is_survived(
    parser: Parser, payloads: list[bytes], luck: random.Random
) -> None:
    parse = parser.start()
    for payload in [*payloads, *parser.seeds]:
        changed = bytearray(payload)
        mutate(changed, parser.seeds, luck)
        with contextlib.suppress(parser.error):
            assert parse(bytes(changed)) >= 0


def test_a_malformed_payload_is_named_with_its_bytes() -> None:
    with pytest.raises(MalformedPayloadError) as caught:
        InfiniTimeDecoder().decode("", b"\x01\x02")
    assert caught.value.format == "infinitime"
    assert caught.value.payload == b"\x01\x02"
    assert str(caught.value) == "infinitime payload: has fewer than 6 bytes: 01 02 (2 bytes)"


def test_formats_are_found_by_name() -> None:
    assert format_classes()["polar"] is polar.PolarFormat
    with pytest.raises(ValidationError, match=r"no format 'polarr'; installed are .*polar"):
        WearableOptions(name="anna", format="polarr")


@pytest.mark.parametrize(
    ("name", "services", "expected"),
    [
        ("Polar H10 8A3D5B21", [], "polar"),
        ("Polar Sense 8A3D5B21", [], "polar"),
        ("Movesense 174630000192", [], "movesense"),
        ("", [movesense.NEWER_SERVICE], "movesense"),
        ("Movella DOT", [], "movella_dot"),
        ("MetaWear", [], "metamotion"),
        ("Thingy", [thingy52.CONFIGURATION_SERVICE], "thingy52"),
        ("WT901BLE68", [], "witmotion"),
        ("InfiniTime", [], "infinitime"),
        ("Polarity", ["0000180d-0000-1000-8000-00805f9b34fb"], None),
    ],
)
def test_wearables_are_known_by_what_they_advertise(
    name: str, services: list[str], expected: str | None
) -> None:
    found = [key for key, known in format_classes().items() if recognises(known, name, services)]
    assert found == ([expected] if expected else [])


# Polar


def polar_sensor(payload: bytes) -> bytes:
    """Answer as a Verity Sense does."""
    operation, kind = payload[0], payload[1]
    head = bytes([0xF0, operation, kind, 0, 0])
    if operation == polar.GET_SETTINGS and kind == polar.ACC:
        return head + bytes.fromhex("00 01 34 00 01 01 10 00 02 01 08 00 04 01 03")
    if operation == polar.GET_SETTINGS:
        return head + bytes.fromhex(
            "00 01 34 00 01 01 10 00 02 04 f5 00 f4 01 e8 03 d0 07 04 01 03"
        )
    if operation == polar.START:
        return head + b"\x05\x01" + struct.pack("<f", 2.44e-4 if kind == polar.ACC else 0.07)
    return head[:4]


async def test_a_polar_sense_is_asked_and_started_as_the_vendor_says() -> None:
    gatt = ScriptedGatt({polar.CONTROL: bytes.fromhex("0f 24 02")}, polar_sensor)
    sense = polar.PolarFormat(polar.PolarOptions())
    decoder = await sense.start(gatt)
    assert [payload.hex(" ") for _, payload in gatt.written] == [
        "01 02",
        "02 02 00 01 34 00 01 01 10 00 02 01 08 00 04 01 03",
        "01 05",
        "02 05 00 01 34 00 01 01 10 00 02 01 d0 07 04 01 03",
    ]
    assert decoder.sensors == (ACCELEROMETER, GYROSCOPE)
    assert (decoder.rate_hz, decoder.clock) == (52, "device")
    # The factor of the start's answer: a reading of 4096 is 1 g.
    frame = decoder.decode(polar.DATA, bytes([2, *bytes(8), 0x80]) + struct.pack("<3h", 4096, 0, 0))
    assert frame[0].values == pytest.approx(np.array([[4096 * 2.44e-4 * G, 0, 0]]), rel=1e-6)
    await sense.stop(gatt)
    assert [payload for _, payload in gatt.written[-2:]] == [b"\x03\x02", b"\x03\x05"]


async def test_a_polar_sensor_that_was_never_stopped_is_started_anew() -> None:
    running = {polar.ACC}

    def sensor(payload: bytes) -> bytes:
        operation, kind = payload[0], payload[1]
        answer = bytearray(polar_sensor(payload))
        if operation == polar.START and kind in running:
            return bytes([*answer[:3], polar.ALREADY_IN_STATE])
        if operation == polar.STOP:
            running.remove(kind)
        return bytes(answer)

    gatt = ScriptedGatt({polar.CONTROL: bytes.fromhex("0f 04 00")}, sensor)
    await polar.PolarFormat(polar.PolarOptions()).start(gatt)
    assert [payload[0] for _, payload in gatt.written] == [1, 2, 3, 2]


async def test_a_polar_h10_gives_acceleration_alone() -> None:
    def h10(payload: bytes) -> bytes:
        if payload[0] == polar.GET_SETTINGS:
            return bytes.fromhex(
                "f0 01 02 00 00 00 04 19 00 32 00 64 00 c8 00 01 01 10 00 02 03 02 00 04 00 08 00"
            )
        return bytes([0xF0, payload[0], payload[1], 0, 0])

    gatt = ScriptedGatt({polar.CONTROL: bytes.fromhex("0f 05 00")}, h10)
    decoder = await polar.PolarFormat(polar.PolarOptions(rate_hz=100, range_g=4)).start(gatt)
    assert gatt.written[-1][1].hex(" ") == "02 02 00 01 64 00 01 01 10 00 02 01 04 00"
    assert decoder.sensors == (ACCELEROMETER,)
    assert decoder.rate_hz == 100


@pytest.mark.parametrize(
    ("options", "features", "status", "told"),
    [
        ({"rate_hz": 50}, "0f 24 00", 0, "refuses to use rate 50: it offers 52"),
        ({}, "0f 20 00", 0, "has no accelerometer"),
        ({}, "0f 04 00", 13, r"in its charger \(13\)"),
        ({}, "0f 04 00", 99, r"unknown reason \(99\)"),
    ],
)
async def test_what_a_polar_sensor_refuses_is_told(
    options: dict[str, int], features: str, status: int, told: str
) -> None:
    def sensor(payload: bytes) -> bytes:
        answer = bytearray(polar_sensor(payload))
        answer[3] = status
        return bytes(answer)

    gatt = ScriptedGatt({polar.CONTROL: bytes.fromhex(features)}, sensor)
    with pytest.raises(RefusedCommandError, match=told):
        await polar.PolarFormat(polar.PolarOptions.model_validate(options)).start(gatt)


def pmd_delta_frame(samples: np.ndarray, width: int, block: int, size: int = 2) -> bytes:
    """Pack integers [n, 3] as the vendor's document says."""
    content = b"".join(int(v).to_bytes(size, "little", signed=True) for v in samples[0])
    deltas = np.diff(samples, axis=0)
    for start in range(0, len(deltas), block):
        part = deltas[start : start + block].ravel()
        bits = sum((int(v) & ((1 << width) - 1)) << (i * width) for i, v in enumerate(part))
        content += bytes([width, len(part) // 3]) + bits.to_bytes(
            (width * len(part) + 7) // 8, "little"
        )
    return content


@given(
    st.integers(2, 16).flatmap(
        lambda width: st.tuples(
            st.just(width),
            st.lists(
                st.tuples(*[st.integers(-(1 << (width - 1)), (1 << (width - 1)) - 1)] * 3),
                min_size=1,
                max_size=40,
            ),
        )
    ),
    st.integers(1, 20),
)
def test_polar_deltas_of_any_width_add_up(
    case: tuple[int, list[tuple[int, int, int]]], block: int
) -> None:
    width, deltas = case
    samples = np.cumsum([(100, -200, 300), *deltas], axis=0)
    payload = bytes([2, *bytes(8), 0x81]) + pmd_delta_frame(samples, width, block)
    if len(payload) > MAX_PAYLOAD_BYTES:
        return
    frame = DECODERS["polar"]().decode(polar.DATA, payload)[0]
    assert frame.values == pytest.approx(samples * 1e-3 * G, rel=1e-6, abs=1e-6)


def test_polar_gyroscope_of_type_1_holds_float_patterns() -> None:
    values = np.array([[1.5, -2.25, 0.125], [1.625, -2.5, 0.1875]], "<f4")
    patterns = values.view("<i4").astype(np.int64)
    payload = bytes([5, *bytes(8), 0x81]) + pmd_delta_frame(patterns, 32, 1, size=4)
    frame = DECODERS["polar"]().decode(polar.DATA, payload)[0]
    assert frame.values == pytest.approx(values * DEGREE, rel=1e-6)


def test_polar_frame_times_run_evenly_from_stamp_to_stamp() -> None:
    decoder = polar.PolarDecoder([polar.Measurement(polar.ACC, 50)])

    def frame(stamp_ns: int, samples: int) -> Frame:
        head = bytes([2]) + stamp_ns.to_bytes(8, "little") + b"\x01"
        return decoder.decode(polar.DATA, head + bytes(6 * samples))[0]

    first, second, third = frame(10**9, 4), frame(1_082_000_000, 4), frame(1_325_200_000, 4)
    assert first.times == pytest.approx([0.94, 0.96, 0.98, 1.0])
    assert second.times == pytest.approx([1.0205, 1.041, 1.0615, 1.082])
    assert (first.lost, second.lost) == (0, 0)
    assert third.lost == 8, "243.2 ms are 12 samples, of which 4 came"


def test_polar_says_when_a_frame_is_of_nothing_that_was_started() -> None:
    decoder = polar.PolarDecoder([polar.Measurement(polar.ACC, 50)])
    assert decoder.decode(polar.CONTROL, b"\x01\x04") == ()
    with pytest.raises(MalformedPayloadError, match="measurement 5, never started"):
        decoder.decode(polar.DATA, bytes([5, *bytes(9), 1, 1]))


# Movesense


async def test_movesense_is_subscribed_on_whichever_service_it_has() -> None:
    gatt = ScriptedGatt(
        answers=lambda payload: bytes([1, payload[1], 200, 0]),
        characteristics=(movesense.NEWER_WRITE, movesense.NEWER_NOTIFY),
    )
    sensor = movesense.MovesenseFormat(movesense.MovesenseOptions())
    decoder = await sensor.start(gatt)
    assert gatt.written == [(movesense.NEWER_WRITE, b"\x01\x63/Meas/IMU6/52\0")]
    assert decoder.sensors == (IMU,)
    await sensor.stop(gatt)
    assert gatt.written[-1] == (movesense.NEWER_WRITE, b"\x02\x63")


async def test_movesense_without_the_measurement_is_told() -> None:
    gatt = ScriptedGatt(answers=lambda payload: bytes([1, payload[1], 148, 1]))
    with pytest.raises(RefusedCommandError, match="send /Meas/IMU6/52: status 404"):
        await movesense.MovesenseFormat(movesense.MovesenseOptions()).start(gatt)


def imu6(milliseconds: int, count: int = 8) -> tuple[bytes, np.ndarray]:
    readings = np.arange(6 * count, dtype="<f4").reshape(2, count, 3) + milliseconds
    values = np.concatenate([readings[0], readings[1] * np.float32(DEGREE)], axis=1)
    return milliseconds.to_bytes(4, "little") + readings.tobytes(), values


def test_movesense_messages_go_on_in_the_next_notification() -> None:
    decoder = movesense.MovesenseDecoder(["IMU6"], 104)
    frames: list[Frame] = []
    for message, _ in (imu6(milliseconds) for milliseconds in (0, 77, 154, 231)):
        frames += decoder.decode(movesense.NOTIFY, b"\x02\x63" + message[:150])
        frames += decoder.decode(movesense.NOTIFY, b"\x03\x63" + message[150:])
    # From the second on each is there as soon as its last notification came.
    assert len(frames) == 4
    assert frames[2].values == pytest.approx(imu6(154)[1], rel=1e-6)
    assert sum(frame.lost for frame in frames) == 0


def test_movesense_counts_a_message_that_lost_its_end() -> None:
    decoder = movesense.MovesenseDecoder(["IMU6"], 104)
    frames: list[Frame] = []
    for number in range(6):
        message, _ = imu6(77 * number)
        frames += decoder.decode(movesense.NOTIFY, b"\x02\x63" + message[:150])
        if number != 3:
            frames += decoder.decode(movesense.NOTIFY, b"\x03\x63" + message[150:])
    assert [frame.lost for frame in frames] == [0, 0, 0, 8, 0]


def test_movesense_refuses_a_continuation_of_nothing() -> None:
    decoder = movesense.MovesenseDecoder(["IMU6"], 104)
    with pytest.raises(MalformedPayloadError, match="never began"):
        decoder.decode(movesense.NOTIFY, b"\x03\x63\x00\x00")


# The others


async def test_movella_dot_is_set_and_started() -> None:
    gatt = ScriptedGatt()
    dot = movella_dot.MovellaDotFormat(movella_dot.MovellaDotOptions(rate_hz=30))
    decoder = await dot.start(gatt)
    (control, settings), (measurement, start) = gatt.written
    assert (control, measurement) == (
        movella_dot.DEVICE_CONTROL,
        movella_dot.MEASUREMENT_CONTROL,
    )
    assert len(settings) == 32
    assert (settings[0], settings[24:26]) == (0x10, b"\x1e\x00")
    assert start == b"\x01\x01\x15"
    assert decoder.rate_hz == 30
    await dot.stop(gatt)
    assert gatt.written[-1][1] == b"\x01\x00\x15"


def test_movella_dot_counts_what_its_stamps_skip_even_over_their_wrap() -> None:
    decoder = movella_dot.MovellaDotDecoder(60)
    stamps = np.delete(2**32 - 50_000 + 16_667 * np.arange(8), [4, 5])
    payloads = [int(stamp % 2**32).to_bytes(4, "little") + bytes(36) for stamp in stamps]
    frames = [decoder.decode(movella_dot.MEDIUM_PAYLOAD, payload)[0] for payload in payloads]
    assert [frame.lost for frame in frames] == [0, 0, 0, 0, 2, 0]
    times = np.concatenate([frame.times for frame in frames if frame.times is not None])
    assert np.diff(times) == pytest.approx([0.016667] * 3 + [0.050001, 0.016667])


@pytest.mark.parametrize(
    ("implementation", "expected"),
    [
        (1, ["03 03 27 08", "03 1c 01", "13 03 27 00", "13 07 01"]),
        (4, ["03 03 a7 02", "03 05 01", "13 03 27 00", "13 05 01"]),
    ],
)
async def test_metamotion_is_started_as_its_chip_needs(
    implementation: int, expected: list[str]
) -> None:
    gatt = ScriptedGatt(answers=lambda payload: payload + bytes([implementation, 1]))
    board = metamotion.MetaMotionFormat(metamotion.MetaMotionOptions())
    decoder = await board.start(gatt)
    commands = [payload.hex(" ") for _, payload in gatt.written]
    assert [command for command in commands if command in expected] == expected
    assert commands[-1] == "13 01 01"
    assert decoder.clock == "count"
    await board.stop(gatt)
    assert gatt.written[-1][1] == b"\x13\x02\x00\x01"


async def test_a_board_with_another_chip_is_refused() -> None:
    gatt = ScriptedGatt(answers=lambda payload: payload + b"\x03\x01")
    with pytest.raises(RefusedCommandError, match="3 is unknown; known are bmi160 and bmi270"):
        await metamotion.MetaMotionFormat(metamotion.MetaMotionOptions()).start(gatt)


async def test_thingy_keeps_its_other_settings() -> None:
    config = bytes.fromhex("64 00 f4 01 f4 01 32 00 01")
    gatt = ScriptedGatt({thingy52.MOTION_CONFIG: config})
    await thingy52.Thingy52Format(thingy52.Thingy52Options(rate_hz=200)).start(gatt)
    assert gatt.written == [(thingy52.MOTION_CONFIG, bytes.fromhex("64 00 f4 01 f4 01 c8 00 01"))]


async def test_witmotion_is_unlocked_and_set() -> None:
    gatt = ScriptedGatt()
    await wit.WitMotionFormat(wit.WitMotionOptions(rate_hz=100)).start(gatt)
    assert [payload.hex() for _, payload in gatt.written] == ["ffaa6988b5", "ffaa030900"]


def wit_frame(number: int) -> bytes:
    return b"\x55\x61" + struct.pack("<9h", number, *[0] * 8)


def wit_numbers(frames: list[Frame]) -> list[int]:
    return [round(float(v) / (16 * G / 32768)) for frame in frames for v in frame.values[:, 0]]


@given(st.lists(st.integers(1, 70), min_size=1, max_size=40), st.integers(0, 5))
def test_witmotion_frames_may_be_cut_anywhere(cuts: list[int], registers_at: int) -> None:
    frames = [wit_frame(number) for number in range(20)]
    frames.insert(registers_at, b"\x55\x71" + bytes(18))
    stream, position = b"".join(frames), 0
    decoded: list[Frame] = []
    decoder = wit.WitMotionDecoder(50)
    for cut in [*cuts, *[70] * 20]:
        if stream[position : position + cut]:
            decoded += decoder.decode(wit.NOTIFY, stream[position : position + cut])
        position += cut
    assert wit_numbers(decoded) == list(range(20))
    assert sum(frame.lost for frame in decoded) == 0


def test_witmotion_finds_its_step_again_and_counts_what_it_skipped() -> None:
    # A head inside a frame, right where the stream was cut: it must not be taken for one.
    broken = (b"\x55\x61" + struct.pack("<9h", 0, 0x6155, 0, 0x6155, 0, 0, 0, 0, 0))[1:]
    decoder = wit.WitMotionDecoder(50)
    stream = broken + b"".join(wit_frame(number) for number in range(1, 6))
    decoded = list(decoder.decode(wit.NOTIFY, stream))
    assert wit_numbers(decoded) == [1, 2, 3, 4, 5]
    assert decoded[0].lost == 1


def test_witmotion_says_when_nothing_fits() -> None:
    decoder = wit.WitMotionDecoder(50)
    for _ in range(5):
        assert decoder.decode(wit.NOTIFY, bytes(100)) == ()
    with pytest.raises(MalformedPayloadError, match="without a frame"):
        decoder.decode(wit.NOTIFY, bytes(100))


async def test_infinitime_needs_no_command() -> None:
    gatt = ScriptedGatt()
    decoder = await InfiniTimeFormat(FormatOptions()).start(gatt)
    assert gatt.written == []
    assert decoder.sensors == (ACCELEROMETER,)


def test_every_error_of_the_formats_is_in_the_one_tree() -> None:
    assert issubclass(MalformedPayloadError, DeviceAdapterError)
    assert issubclass(RefusedCommandError, DeviceAdapterError)
    assert all(issubclass(known, BleFormat) for known in format_classes().values())
