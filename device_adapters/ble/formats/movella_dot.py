"""Movella (Xsens) DOT in its mode "rate quantities": stamp, acceleration, angular velocity.

Source: Movella DOT BLE Services Specifications (XD0506P, revision C).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from typing_extensions import override

from device_adapters.ble.formats.format import BleFormat, Decoder, FormatOptions, Gatt
from device_adapters.ble.formats.payload import FLOAT32, check_length, si_values
from device_adapters.clock import CounterUnwrapper
from device_adapters.frames import IMU, Frame
from device_adapters.stamps import StampSpreader
from device_adapters.units import DEGREE

NAME = "movella_dot"
SERVICE = "15172000-4947-11e9-8646-d663bd873d93"
CONFIGURATION = "15171000-4947-11e9-8646-d663bd873d93"
DEVICE_CONTROL = "15171002-4947-11e9-8646-d663bd873d93"
MEASUREMENT_CONTROL = "15172001-4947-11e9-8646-d663bd873d93"
MEDIUM_PAYLOAD = "15172003-4947-11e9-8646-d663bd873d93"

DEVICE_CONTROL_BYTES = 32
SETS_OUTPUT_RATE = 1 << 4
OUTPUT_RATE_OFFSET = 24
MEASUREMENT = 1
START, STOP = 1, 0
RATE_QUANTITIES = 21

STAMP_BYTES = 4
SAMPLE_BYTES = STAMP_BYTES + 6 * FLOAT32.itemsize
"""The characteristic has 40 bytes; those beyond are padding."""

SCALE = (1.0,) * 3 + (DEGREE,) * 3


class MovellaDotOptions(FormatOptions):
    """How fast a DOT sends.

    Attributes:
        rate_hz: samples a second.
    """

    rate_hz: Literal[1, 4, 10, 12, 15, 20, 30, 60] = 60


class MovellaDotFormat(BleFormat):
    """A Movella DOT."""

    Options = MovellaDotOptions
    services = (CONFIGURATION, SERVICE)
    name_patterns = ("Movella DOT*", "Xsens DOT*")
    subscriptions = (MEDIUM_PAYLOAD,)

    def __init__(self, options: MovellaDotOptions) -> None:
        self._rate_hz = options.rate_hz

    @override
    async def start(self, gatt: Gatt) -> Decoder:
        settings = bytearray(DEVICE_CONTROL_BYTES)
        settings[0] = SETS_OUTPUT_RATE
        settings[OUTPUT_RATE_OFFSET : OUTPUT_RATE_OFFSET + 2] = self._rate_hz.to_bytes(2, "little")
        await gatt.write(DEVICE_CONTROL, bytes(settings))
        await gatt.write(MEASUREMENT_CONTROL, bytes([MEASUREMENT, START, RATE_QUANTITIES]))
        return MovellaDotDecoder(self._rate_hz)

    @override
    async def stop(self, gatt: Gatt) -> None:
        await gatt.write(MEASUREMENT_CONTROL, bytes([MEASUREMENT, STOP, RATE_QUANTITIES]))


class MovellaDotDecoder(Decoder):
    """Decodes one sample a notification; its stamp is in microseconds and wraps each 71 min."""

    sensors = (IMU,)
    clock = "device"
    conversion = "deg/s to rad/s"

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._stamps = StampSpreader(rate_hz, "first")
        self._microseconds = CounterUnwrapper(32)

    @override
    def decode(self, characteristic: str, payload: bytes) -> Sequence[Frame]:
        check_length(NAME, payload, SAMPLE_BYTES)
        readings = np.frombuffer(payload, FLOAT32, count=6, offset=STAMP_BYTES).reshape(1, 6)
        values = si_values(NAME, payload, readings, SCALE)
        microseconds = self._microseconds.unwrap(int.from_bytes(payload[:STAMP_BYTES], "little"))
        times, lost = self._stamps.spread(microseconds / 1e6, 1)
        return (Frame(values, times, lost),)
