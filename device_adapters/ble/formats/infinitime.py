"""PineTime with InfiniTime: acceleration, at most ten times a second.

Source: github.com/InfiniTimeOrg/InfiniTime, doc/MotionService.md. A sample is sent only if it
differs from the one before, so an absolutely still watch sends less.
"""

from collections.abc import Sequence

import numpy as np
from typing_extensions import override

from device_adapters.ble.formats.format import BleFormat, Decoder, FormatOptions, Gatt
from device_adapters.ble.formats.payload import INT16, G, check_length, si_values
from device_adapters.frames import ACCELEROMETER, Frame

NAME = "infinitime"
SERVICE = "00030000-78fc-48fe-8e23-433b3a1942d0"
RAW_MOTION = "00030002-78fc-48fe-8e23-433b3a1942d0"
SAMPLE_BYTES = 3 * INT16.itemsize
SCALE = G / 1024
RATE_HZ = 10.0


class InfiniTimeFormat(BleFormat):
    """A watch with InfiniTime; before February 2024 its readings were not in g/1024."""

    services = (SERVICE,)
    name_patterns = ("InfiniTime",)
    subscriptions = (RAW_MOTION,)

    def __init__(self, options: FormatOptions) -> None:
        """Take no options: the watch has no settings."""

    @override
    async def start(self, gatt: Gatt) -> Decoder:
        return InfiniTimeDecoder()


class InfiniTimeDecoder(Decoder):
    """Decodes one sample a notification."""

    sensors = (ACCELEROMETER,)
    rate_hz = RATE_HZ
    clock = "count"
    conversion = "g to m/s2"

    @override
    def decode(self, characteristic: str, payload: bytes) -> Sequence[Frame]:
        check_length(NAME, payload, SAMPLE_BYTES)
        readings = np.frombuffer(payload, INT16, count=3).reshape(1, 3)
        return (Frame(si_values(NAME, payload, readings, SCALE)),)
