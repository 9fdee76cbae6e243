"""Polar H10, OH1 and Verity Sense: the Polar Measurement Data (PMD) service.

Source: github.com/polarofficial/polar-ble-sdk, technical_documentation/online_measurement.pdf and
the SDK's sources. An H10 has an accelerometer alone; the others' gyroscope is read as well.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from device_adapters.ble.formats.format import BleFormat, Decoder, FormatOptions, Gatt, begins_with
from device_adapters.ble.formats.payload import FLOAT32, G, check_length, si_values
from device_adapters.errors import MalformedPayloadError, RefusedCommandError
from device_adapters.frames import ACCELEROMETER, GYROSCOPE, Frame, Sensor
from device_adapters.stamps import StampSpreader
from device_adapters.units import DEGREE

NAME = "polar"
SERVICE = "fb005c80-02e7-f387-1cad-8acd2d8df0c8"
CONTROL = "fb005c81-02e7-f387-1cad-8acd2d8df0c8"
DATA = "fb005c82-02e7-f387-1cad-8acd2d8df0c8"

ACC = 2
GYRO = 5
SDK_MODE = 9
GET_SETTINGS, START, STOP = 1, 2, 3
FEATURES = 0x0F
RESPONSE = 0xF0
STATUS_OFFSET, SETTINGS_OFFSET = 3, 5
DONE = 0
ALREADY_IN_STATE = 6
STATUS = {
    1: "unknown command",
    2: "unknown measurement",
    3: "not supported",
    4: "wrong length",
    5: "wrong parameter",
    6: "already in this state",
    7: "wrong resolution",
    8: "wrong rate",
    9: "wrong range",
    10: "the connection's packets (MTU) are too short",
    11: "wrong number of channels",
    12: "invalid state",
    13: "it is in its charger",
}

RATE, RESOLUTION, RANGE, RANGE_MILLI, CHANNELS, FACTOR = range(6)
SETTING_FORMATS = {
    RATE: "<H",
    RESOLUTION: "<H",
    RANGE: "<H",
    RANGE_MILLI: "<I",
    CHANNELS: "<B",
    FACTOR: "<f",
}

HEADER_BYTES = 10
MAX_SAMPLES = 1024
"""Ten seconds at the fastest usual rate: a frame that claims more is not one."""

PREFERRED_RATE_HZ = 52


class PolarOptions(FormatOptions):
    """What a Polar sensor is to measure; what the sensor does not offer is refused by it.

    Attributes:
        rate_hz: samples a second; the sensor's nearest to 52 by default.
        range_g: the accelerometer's range; the widest by default.
        range_dps: the gyroscope's range; the widest by default.
        gyroscope: whether to read the gyroscope of a sensor that has one.
        sdk_mode: whether to switch a Verity Sense to its SDK mode, for further rates and ranges.
    """

    rate_hz: int | None = Field(default=None, gt=0)
    range_g: int | None = Field(default=None, gt=0)
    range_dps: int | None = Field(default=None, gt=0)
    gyroscope: bool = True
    sdk_mode: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement as the sensor started it.

    Attributes:
        kind: `ACC` or `GYRO`.
        rate_hz: samples a second.
        factor: what a delta-compressed reading is multiplied by.
    """

    kind: int
    rate_hz: float
    factor: float = 1.0

    @property
    def sensor(self) -> Sensor:
        """The channels that it gives."""
        return ACCELEROMETER if self.kind == ACC else GYROSCOPE


class PolarFormat(BleFormat):
    """A Polar sensor with the PMD service."""

    Options = PolarOptions
    services = (SERVICE,)
    name_patterns = ("Polar H10 *", "Polar OH1 *", "Polar Sense *")
    subscriptions = (CONTROL, DATA)

    def __init__(self, options: PolarOptions) -> None:
        self._options = options
        self._kinds: tuple[int, ...] = ()

    @override
    async def start(self, gatt: Gatt) -> Decoder:
        features = await gatt.read(CONTROL)
        offered = offered_measurements(features)
        if ACC not in offered:
            raise RefusedCommandError(NAME, "measure acceleration", "it has no accelerometer")
        if self._options.sdk_mode:
            accepted = (DONE, ALREADY_IN_STATE)
            await self._command(gatt, "enter SDK mode", START, SDK_MODE, accepted=accepted)
        self._kinds = (ACC, GYRO) if GYRO in offered and self._options.gyroscope else (ACC,)
        return PolarDecoder([await self._start(gatt, kind) for kind in self._kinds])

    @override
    async def stop(self, gatt: Gatt) -> None:
        for kind in self._kinds:
            await gatt.write(CONTROL, bytes([STOP, kind]))

    async def _start(self, gatt: Gatt, kind: int) -> Measurement:
        settings = await self._command(gatt, "tell its settings", GET_SETTINGS, kind)
        chosen = self._choose(kind, parse_settings(settings, SETTINGS_OFFSET))
        request = b"".join(
            bytes([setting, 1]) + struct.pack(SETTING_FORMATS[setting], value)
            for setting, value in chosen.items()
        )
        accepted = (DONE, ALREADY_IN_STATE)
        answer = await self._command(gatt, "start", START, kind, request, accepted)
        if answer[STATUS_OFFSET] == ALREADY_IN_STATE:
            # It was not stopped before the last link ended, and may run with other settings.
            await self._command(gatt, "stop", STOP, kind)
            answer = await self._command(gatt, "start", START, kind, request)
        factor = parse_settings(answer, SETTINGS_OFFSET).get(FACTOR, (1.0,))[0]
        return Measurement(kind, chosen[RATE], factor)

    def _choose(self, kind: int, settings: Mapping[int, Sequence[float]]) -> dict[int, int]:
        options = self._options
        wanted_range = options.range_g if kind == ACC else options.range_dps
        chosen = {
            RATE: _pick(
                "rate",
                options.rate_hz,
                settings.get(RATE, ()),
                lambda r: -abs(r - PREFERRED_RATE_HZ),
            ),
            RESOLUTION: _pick("resolution", None, settings.get(RESOLUTION, ()), lambda bits: bits),
            RANGE: _pick("range", wanted_range, settings.get(RANGE, ()), lambda wide: wide),
        }
        if CHANNELS in settings:
            chosen[CHANNELS] = _pick("channels", None, settings[CHANNELS], lambda many: many)
        return chosen

    @staticmethod
    async def _command(
        gatt: Gatt,
        told_to: str,
        operation: int,
        kind: int,
        parameters: bytes = b"",
        accepted: Sequence[int] = (DONE,),
    ) -> bytes:
        """Return the sensor's answer to a command that it accepts."""
        answer = await gatt.request(
            CONTROL,
            bytes([operation, kind]) + parameters,
            answer_on=CONTROL,
            is_answer=begins_with(bytes([RESPONSE, operation, kind])),
        )
        check_length(NAME, answer, STATUS_OFFSET + 1)
        status = answer[STATUS_OFFSET]
        if status not in accepted:
            measured = {ACC: "acceleration", GYRO: "angular velocity"}.get(kind, "SDK mode")
            reason = STATUS.get(status, "unknown reason")
            raise RefusedCommandError(NAME, f"{told_to} ({measured})", f"{reason} ({status})")
        return answer


def _pick(
    what: str, wanted: int | None, offered: Sequence[float], merit: Callable[[float], float]
) -> int:
    usable = [int(value) for value in offered if value > 0]
    if not usable:
        raise RefusedCommandError(NAME, f"offer a {what}", "its settings name none")
    if wanted is None:
        return max(usable, key=merit)
    if wanted not in usable:
        known = ", ".join(map(str, usable))
        raise RefusedCommandError(NAME, f"use {what} {wanted}", f"it offers {known}")
    return wanted


def offered_measurements(features: bytes) -> set[int]:
    """Return the measurements that the control characteristic's value says the sensor has.

    Raises:
        MalformedPayloadError: it is not a list of features.
    """
    check_length(NAME, features, 2)
    if features[0] != FEATURES:
        raise MalformedPayloadError(NAME, f"begins with {features[0]:#04x}, not 0x0f", features)
    bits = int.from_bytes(features[1:], "little")
    return {kind for kind in (ACC, GYRO) if bits >> kind & 1}


def parse_settings(answer: bytes, start: int) -> dict[int, tuple[float, ...]]:
    """Return the values offered for each setting, from byte `start` of a control point's answer.

    Raises:
        MalformedPayloadError: a setting is unknown or cut.
    """
    settings: dict[int, tuple[float, ...]] = {}
    position = start
    while position < len(answer):
        layout = SETTING_FORMATS.get(answer[position])
        if layout is None or position + 1 >= len(answer):
            raise MalformedPayloadError(
                NAME, f"has an unknown or cut setting {answer[position]}", answer
            )
        count, size = answer[position + 1], struct.calcsize(layout)
        values = answer[position + 2 : position + 2 + count * size]
        if len(values) < count * size:
            raise MalformedPayloadError(NAME, f"has a cut setting {answer[position]}", answer)
        settings[answer[position]] = tuple(value for (value,) in struct.iter_unpack(layout, values))
        position += 2 + count * size
    return settings


class PolarDecoder(Decoder):
    """Decodes PMD frames; the stamp is of a frame's last sample, in nanoseconds since 2000."""

    clock = "device"
    conversion = "mG and deg/s to m/s2 and rad/s"

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self.sensors = tuple(measurement.sensor for measurement in measurements)
        self.rate_hz = measurements[0].rate_hz
        self._factors = {m.kind: m.factor for m in measurements}
        self._order = {m.kind: number for number, m in enumerate(measurements)}
        self._stamps = {m.kind: StampSpreader(m.rate_hz, "last") for m in measurements}

    @override
    def decode(self, characteristic: str, payload: bytes) -> Sequence[Frame]:
        if characteristic != DATA:
            return ()
        check_length(NAME, payload, HEADER_BYTES + 1)
        kind = payload[0] & 0x3F
        if kind not in self._order:
            raise MalformedPayloadError(NAME, f"is of measurement {kind}, never started", payload)
        values = _samples(payload, kind, self._factors[kind])
        seconds = int.from_bytes(payload[1:9], "little") / 1e9
        times, lost = self._stamps[kind].spread(seconds, len(values))
        return (Frame(values, times, lost, self._order[kind]),)


def _samples(payload: bytes, kind: int, factor: float) -> NDArray[np.float32]:
    frame_type, content = payload[9], payload[HEADER_BYTES:]
    match kind, frame_type:
        case (2, 0 | 1 | 2):
            return si_values(NAME, payload, _raw(payload, content, frame_type + 1), 1e-3 * G)
        case (2, 0x80):
            return si_values(NAME, payload, _deltas(payload, content, 2), factor * G)
        case (2, 0x81):
            return si_values(NAME, payload, _deltas(payload, content, 2), factor * 1e-3 * G)
        case (5, 0x80):
            return si_values(NAME, payload, _deltas(payload, content, 2), factor * DEGREE)
        case (5, 0x81):
            patterns = _deltas(payload, content, 4).astype(np.uint32)
            return si_values(NAME, payload, patterns.view(FLOAT32), factor * DEGREE)
    raise MalformedPayloadError(NAME, f"has unknown frame type {frame_type:#04x}", payload)


def _raw(payload: bytes, content: bytes, size: int) -> NDArray[np.int64]:
    """Return signed little-endian integers of `size` bytes, [n, 3]."""
    if len(content) % (3 * size):
        raise MalformedPayloadError(
            NAME, f"holds {len(content)} bytes of samples, no multiple of {3 * size}", payload
        )
    return _integers(content, size).reshape(-1, 3)


def _integers(content: bytes, size: int) -> NDArray[np.int64]:
    digits = np.frombuffer(content, np.uint8).reshape(-1, size).astype(np.int64)
    unsigned = digits @ (1 << 8 * np.arange(size, dtype=np.int64))
    return _signed(unsigned, 8 * size)


def _signed(unsigned: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    return unsigned - ((unsigned >> (bits - 1)) << bits)


def _deltas(payload: bytes, content: bytes, size: int) -> NDArray[np.int64]:
    """Return the integers of a delta-compressed frame, [n, 3].

    A reference sample is followed by blocks: bits of each difference, number of samples, and their
    differences to the sample before, channel by channel, the lowest bit first.
    """
    position = 3 * size
    if len(content) < position:
        raise MalformedPayloadError(NAME, "is cut in its reference sample", payload)
    blocks = [_integers(content[:position], size).reshape(1, 3)]
    count = 1
    while position < len(content):
        differences, position = _block(payload, content, position)
        count += len(differences)
        if count > MAX_SAMPLES:
            raise MalformedPayloadError(NAME, f"claims more than {MAX_SAMPLES} samples", payload)
        blocks.append(differences)
    return np.cumsum(np.concatenate(blocks), axis=0)


def _block(payload: bytes, content: bytes, position: int) -> tuple[NDArray[np.int64], int]:
    if position + 2 > len(content):
        raise MalformedPayloadError(NAME, "is cut in a block's head", payload)
    width, count = content[position], content[position + 1]
    if width > 32:
        raise MalformedPayloadError(NAME, f"has differences of {width} bits", payload)
    start = position + 2
    end = start + (width * count * 3 + 7) // 8
    if end > len(content):
        raise MalformedPayloadError(NAME, f"is cut in a block of {count} samples", payload)
    if width == 0:
        return np.zeros((count, 3), np.int64), end
    packed = np.frombuffer(content[start:end], np.uint8)
    bits = np.unpackbits(packed, bitorder="little", count=width * count * 3)
    unsigned = bits.reshape(-1, width).astype(np.int64) @ (1 << np.arange(width, dtype=np.int64))
    return _signed(unsigned, width).reshape(count, 3), end
