"""MbientLab MetaMotion (MetaWear) boards with a Bosch BMI160 or BMI270.

Source: github.com/mbientlab/MetaWear-SDK-Cpp, src/metawear/sensor and its tests. A notification is
`module register data`; accelerometer and gyroscope come apart, with neither time nor counter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from typing_extensions import override

from device_adapters.ble.formats.format import BleFormat, Decoder, FormatOptions, Gatt, begins_with
from device_adapters.ble.formats.payload import INT16, G, check_length, si_values
from device_adapters.errors import MalformedPayloadError, RefusedCommandError
from device_adapters.frames import ACCELEROMETER, GYROSCOPE, Frame
from device_adapters.units import DEGREE

NAME = "metamotion"
SERVICE = "326a9000-85cb-9195-d9dd-464cfbbae75a"
COMMAND = "326a9001-85cb-9195-d9dd-464cfbbae75a"
NOTIFY = "326a9006-85cb-9195-d9dd-464cfbbae75a"

ACC, GYRO = 0x03, 0x13
MODULE_INFO = 0x80
POWER, ENABLE, CONFIG = 1, 2, 3

RATE_CODES = {25: 6, 50: 7, 100: 8, 200: 9}
NORMAL_FILTER = 0x20
BMI270_FILTER = 0x80
ACC_RANGE_CODES = {"bmi160": {2: 3, 4: 5, 8: 8, 16: 12}, "bmi270": {2: 0, 4: 1, 8: 2, 16: 3}}
GYRO_RANGE_CODES = {2000: 0, 1000: 1, 500: 2, 250: 3, 125: 4}
FULL_SCALE_G = 32768
"""Readings at the accelerometer's range; the gyroscope's 16.4 a deg/s at 2000 deg/s is its own."""

READINGS_AT_2000_DPS = 16.4

SAMPLE_BYTES = 3 * INT16.itemsize
PACKED_SAMPLES = 3


class MetaMotionOptions(FormatOptions):
    """What a board is to measure.

    Attributes:
        rate_hz: samples a second of both sensors.
        range_g: the accelerometer's range.
        range_dps: the gyroscope's range.
        packed: three samples a notification; a single one where the firmware is old.
        gyroscope: whether to read it.
    """

    rate_hz: Literal[25, 50, 100, 200] = 50
    range_g: Literal[2, 4, 8, 16] = 8
    range_dps: Literal[125, 250, 500, 1000, 2000] = 2000
    packed: bool = True
    gyroscope: bool = True


@dataclass(frozen=True, slots=True)
class Chip:
    """An inertial sensor's registers.

    Attributes:
        name: the chip.
        data: register of single samples, by module.
        packed: register of packed samples, by module.
    """

    name: Literal["bmi160", "bmi270"]
    data: dict[int, int]
    packed: dict[int, int]


BMI160 = Chip("bmi160", data={ACC: 0x04, GYRO: 0x05}, packed={ACC: 0x1C, GYRO: 0x07})
BMI270 = Chip("bmi270", data={ACC: 0x04, GYRO: 0x04}, packed={ACC: 0x05, GYRO: 0x05})
CHIPS = {1: BMI160, 4: BMI270}
"""By the accelerometer module's implementation number."""


class MetaMotionFormat(BleFormat):
    """A MetaMotion board."""

    Options = MetaMotionOptions
    services = (SERVICE,)
    name_patterns = ("MetaWear",)
    subscriptions = (NOTIFY,)

    def __init__(self, options: MetaMotionOptions) -> None:
        self._options = options
        self._modules = (ACC, GYRO) if options.gyroscope else (ACC,)

    @override
    async def start(self, gatt: Gatt) -> Decoder:
        info = await gatt.request(
            COMMAND,
            bytes([ACC, MODULE_INFO]),
            answer_on=NOTIFY,
            is_answer=begins_with(bytes([ACC, MODULE_INFO])),
        )
        implementation = info[2] if len(info) > 2 else None
        if implementation not in CHIPS:
            known = " and ".join(chip.name for chip in CHIPS.values())
            raise RefusedCommandError(
                NAME, "measure", f"accelerometer {implementation} is unknown; known are {known}"
            )
        chip = CHIPS[implementation]
        for command in self._commands(chip):
            await gatt.write(COMMAND, command)
        return MetaMotionDecoder(chip, self._options)

    @override
    async def stop(self, gatt: Gatt) -> None:
        for module in self._modules:
            await gatt.write(COMMAND, bytes([module, POWER, 0]))
            await gatt.write(COMMAND, bytes([module, ENABLE, 0, 1]))

    def _commands(self, chip: Chip) -> list[bytes]:
        options = self._options
        rate = NORMAL_FILTER | RATE_CODES[options.rate_hz]
        acc_filter = BMI270_FILTER if chip is BMI270 else 0
        acc_range = ACC_RANGE_CODES[chip.name][options.range_g]
        settings = {
            ACC: [rate | acc_filter, acc_range],
            GYRO: [rate, GYRO_RANGE_CODES[options.range_dps]],
        }
        registers = chip.packed if options.packed else chip.data
        return [
            bytes(command)
            for module in self._modules
            for command in (
                [module, CONFIG, *settings[module]],
                [module, registers[module], 1],
                [module, ENABLE, 1, 0],
                [module, POWER, 1],
            )
        ]


class MetaMotionDecoder(Decoder):
    """Decodes single and packed samples of both sensors."""

    clock = "count"
    conversion = "g and deg/s to m/s2 and rad/s"

    def __init__(self, chip: Chip, options: MetaMotionOptions) -> None:
        self.sensors = (ACCELEROMETER, GYROSCOPE) if options.gyroscope else (ACCELEROMETER,)
        self.rate_hz = options.rate_hz
        gyro_readings = READINGS_AT_2000_DPS * 2000 / options.range_dps
        self._scales = {ACC: G * options.range_g / FULL_SCALE_G, GYRO: DEGREE / gyro_readings}
        modules = (ACC, GYRO) if options.gyroscope else (ACC,)
        self._data = {(module, chip.data[module]): 1 for module in modules}
        self._data |= {(module, chip.packed[module]): PACKED_SAMPLES for module in modules}

    @override
    def decode(self, characteristic: str, payload: bytes) -> Sequence[Frame]:
        check_length(NAME, payload, 2)
        module, register = payload[0], payload[1]
        if register & MODULE_INFO:
            return ()
        samples = self._data.get((module, register))
        if samples is None:
            raise MalformedPayloadError(
                NAME,
                f"is of module {module:#04x}, register {register:#04x}, not asked for",
                payload,
            )
        if len(payload) != 2 + samples * SAMPLE_BYTES:
            raise MalformedPayloadError(
                NAME, f"has {len(payload)} bytes, not {2 + samples * SAMPLE_BYTES}", payload
            )
        readings = np.frombuffer(payload, INT16, offset=2).reshape(-1, 3)
        values = si_values(NAME, payload, readings, self._scales[module])
        return (Frame(values, sensor=0 if module == ACC else 1),)
