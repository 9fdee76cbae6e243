"""Nordic Thingy:52 with its stock firmware: raw motion data.

Source: github.com/NordicSemiconductor/Nordic-Thingy52-FW, include/ble_services/ble_tms.h and
source/modules/m_motion.c.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from typing_extensions import override

from device_adapters.ble.formats.format import BleFormat, Decoder, FormatOptions, Gatt
from device_adapters.ble.formats.payload import INT16, G, check_length, si_values
from device_adapters.frames import IMU, Frame
from device_adapters.units import DEGREE

NAME = "thingy52"
CONFIGURATION_SERVICE = "ef680100-9b35-4933-9b10-52ffa9740042"
"""What a Thingy advertises."""

MOTION_SERVICE = "ef680400-9b35-4933-9b10-52ffa9740042"
MOTION_CONFIG = "ef680401-9b35-4933-9b10-52ffa9740042"
RAW_MOTION = "ef680406-9b35-4933-9b10-52ffa9740042"

CONFIG_BYTES = 9
RATE_OFFSET = 6
SAMPLE_BYTES = 9 * INT16.itemsize
SCALE = (G / 1024,) * 3 + (DEGREE / 32,) * 3
"""Fixed-point numbers: 10 bits after the point for g, 5 for deg/s; the compass is not read."""


class Thingy52Options(FormatOptions):
    """How fast a Thingy sends.

    Attributes:
        rate_hz: samples a second.
    """

    rate_hz: int = Field(default=50, ge=5, le=200)


class Thingy52Format(BleFormat):
    """A Nordic Thingy:52."""

    Options = Thingy52Options
    services = (CONFIGURATION_SERVICE, MOTION_SERVICE)
    subscriptions = (RAW_MOTION,)

    def __init__(self, options: Thingy52Options) -> None:
        self._rate_hz = options.rate_hz

    @override
    async def start(self, gatt: Gatt) -> Decoder:
        config = bytearray(await gatt.read(MOTION_CONFIG))
        check_length(NAME, bytes(config), CONFIG_BYTES)
        config[RATE_OFFSET : RATE_OFFSET + 2] = self._rate_hz.to_bytes(2, "little")
        await gatt.write(MOTION_CONFIG, bytes(config))
        return Thingy52Decoder(self._rate_hz)


class Thingy52Decoder(Decoder):
    """Decodes one sample a notification: acceleration, angular velocity, compass."""

    sensors = (IMU,)
    clock = "count"
    conversion = "g and deg/s to m/s2 and rad/s"

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz

    @override
    def decode(self, characteristic: str, payload: bytes) -> Sequence[Frame]:
        check_length(NAME, payload, SAMPLE_BYTES)
        readings = np.frombuffer(payload, INT16, count=6).reshape(1, 6)
        return (Frame(si_values(NAME, payload, readings, SCALE)),)
