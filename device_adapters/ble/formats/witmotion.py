"""WitMotion WT901BLECL, BWT901BLE5.0 and WT9011DCL.

Source: wit-motion.gitbook.io/witmotion-sdk, BLE 5.0 protocol, and the vendor's Python SDK. The
UUIDs end in 805f9a34fb, not in the Bluetooth SIG's 805f9b34fb.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from typing_extensions import override

from device_adapters.ble.formats.format import BleFormat, Decoder, FormatOptions, Gatt
from device_adapters.ble.formats.payload import (
    INT16,
    MAX_PAYLOAD_BYTES,
    G,
    check_length,
    si_values,
)
from device_adapters.errors import MalformedPayloadError
from device_adapters.frames import IMU, Frame
from device_adapters.units import DEGREE

NAME = "witmotion"
SERVICE = "0000ffe5-0000-1000-8000-00805f9a34fb"
NOTIFY = "0000ffe4-0000-1000-8000-00805f9a34fb"
WRITE = "0000ffe9-0000-1000-8000-00805f9a34fb"

FRAME_BYTES = 20
MOTION = b"\x55\x61"
REGISTERS = b"\x55\x71"
SCALE = (16 * G / 32768,) * 3 + (2000 * DEGREE / 32768,) * 3

UNLOCK = bytes.fromhex("ffaa6988b5")
SET_RATE = bytes.fromhex("ffaa03")
RATE_CODES = {10: 6, 20: 7, 50: 8, 100: 9, 200: 11}


class WitMotionOptions(FormatOptions):
    """How fast a sensor sends.

    Attributes:
        rate_hz: samples a second.
    """

    rate_hz: Literal[10, 20, 50, 100, 200] = 50


class WitMotionFormat(BleFormat):
    """A WitMotion sensor."""

    Options = WitMotionOptions
    services = (SERVICE,)
    name_patterns = ("WT901*", "WT9011*", "BWT901*")
    subscriptions = (NOTIFY,)

    def __init__(self, options: WitMotionOptions) -> None:
        self._rate_hz = options.rate_hz

    @override
    async def start(self, gatt: Gatt) -> Decoder:
        # Not saved: a sensor that is switched off forgets it.
        await gatt.write(WRITE, UNLOCK)
        await gatt.write(WRITE, SET_RATE + bytes([RATE_CODES[self._rate_hz], 0]))
        return WitMotionDecoder(self._rate_hz)


class WitMotionDecoder(Decoder):
    """Decodes a stream of 20-byte frames, which notifications split and join.

    There is no checksum, and a frame's head may occur inside another: after a fault a frame counts
    only if another head follows it. What was skipped counts as lost.
    """

    sensors = (IMU,)
    clock = "count"
    conversion = "g and deg/s to m/s2 and rad/s"

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._waiting = b""
        self._in_step = True
        self._skipped = 0

    @override
    def decode(self, characteristic: str, payload: bytes) -> Sequence[Frame]:
        check_length(NAME, payload, 1)
        stream = self._waiting + payload
        motions = []
        position = 0
        while len(stream) - position >= self._needed():
            if self._is_frame(stream, position):
                frame = stream[position : position + FRAME_BYTES]
                if frame.startswith(MOTION):
                    motions.append(frame)
                self._in_step = True
                position += FRAME_BYTES
            else:
                self._in_step = False
                self._skipped += 1
                position += 1
        self._waiting = stream[position:]
        return self._frames(payload, motions)

    def _needed(self) -> int:
        return FRAME_BYTES if self._in_step else FRAME_BYTES + len(MOTION)

    def _is_frame(self, stream: bytes, position: int) -> bool:
        def has_head(start: int) -> bool:
            return stream[start : start + len(MOTION)] in {MOTION, REGISTERS}

        return has_head(position) and (self._in_step or has_head(position + FRAME_BYTES))

    def _frames(self, payload: bytes, motions: Sequence[bytes]) -> Sequence[Frame]:
        if not motions:
            if self._skipped > MAX_PAYLOAD_BYTES:
                skipped, self._skipped = self._skipped, 0
                raise MalformedPayloadError(
                    NAME, f"is the last of {skipped} bytes without a frame", payload
                )
            return ()
        lost = -(-self._skipped // FRAME_BYTES)
        self._skipped = 0
        readings = np.frombuffer(b"".join(motions), INT16).reshape(-1, FRAME_BYTES // 2)[:, 1:7]
        return (Frame(si_values(NAME, payload, readings, SCALE), lost=lost),)
