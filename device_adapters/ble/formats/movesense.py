"""Movesense sensors with the GATT SensorData protocol (GSP) of the vendor's default firmware.

Source: movesense.com/docs/esw/gatt_sensordata_protocol and the vendor's sample firmware
`gatt_sensordata_app`. Newer firmware has the same protocol under a second service.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from typing_extensions import override

from device_adapters.ble.formats.format import BleFormat, Decoder, FormatOptions, Gatt, begins_with
from device_adapters.ble.formats.payload import FLOAT32, check_length, si_values
from device_adapters.clock import CounterUnwrapper
from device_adapters.errors import MalformedPayloadError, RefusedCommandError
from device_adapters.frames import ACCELEROMETER, GYROSCOPE, IMU, Frame, Sensor
from device_adapters.stamps import StampSpreader
from device_adapters.units import DEGREE

NAME = "movesense"
SERVICE = "34802252-7185-4d5d-b431-630e7050e8f0"
WRITE = "34800001-7185-4d5d-b431-630e7050e8f0"
NOTIFY = "34800002-7185-4d5d-b431-630e7050e8f0"
NEWER_SERVICE = "0000fdf3-0000-1000-8000-00805f9b34fb"
NEWER_WRITE = "6b200001-ff4e-4979-8186-fb7ba486fcd7"
NEWER_NOTIFY = "6b200002-ff4e-4979-8186-fb7ba486fcd7"

SUBSCRIBE, UNSUBSCRIBE = 1, 2
ANSWER, DATA, CONTINUATION = 1, 2, 3
HTTP_OK = 200
FIRST_REFERENCE = 99
"""References are the client's to choose, but not 0."""

STAMP_BYTES = 4
MAX_MESSAGE_BYTES = 4096
"""More than a second of the fastest rate, in all its continuations."""

SCALES = {"Acc": (1.0,) * 3, "Gyro": (DEGREE,) * 3, "IMU6": (1.0,) * 3 + (DEGREE,) * 3}
SENSORS: dict[str, Sensor] = {"Acc": ACCELEROMETER, "Gyro": GYROSCOPE, "IMU6": IMU}


class MovesenseOptions(FormatOptions):
    """What a Movesense sensor is to measure.

    Attributes:
        rate_hz: samples a second; the radio carries up to 208 of `IMU6`.
        measure: the measurement, or two that are joined.
    """

    rate_hz: Literal[13, 26, 52, 104, 208] = 52
    measure: Literal["IMU6", "Acc", "Acc+Gyro"] = "IMU6"


class MovesenseFormat(BleFormat):
    """A Movesense sensor."""

    Options = MovesenseOptions
    services = (SERVICE, NEWER_SERVICE)
    name_patterns = ("Movesense *",)
    subscriptions = (NOTIFY, NEWER_NOTIFY)

    def __init__(self, options: MovesenseOptions) -> None:
        self._rate_hz = options.rate_hz
        self._measures = options.measure.split("+")

    @override
    async def start(self, gatt: Gatt) -> Decoder:
        write, notify = _characteristics(gatt)
        for reference, measure in enumerate(self._measures, FIRST_REFERENCE):
            path = f"/Meas/{measure}/{self._rate_hz}"
            answer = await gatt.request(
                write,
                bytes([SUBSCRIBE, reference]) + path.encode() + b"\0",
                answer_on=notify,
                is_answer=begins_with(bytes([ANSWER, reference])),
            )
            check_length(NAME, answer, 4)
            # The oldest firmware sends its errors' bytes the other way round.
            if HTTP_OK not in {int.from_bytes(answer[2:4], o) for o in ("little", "big")}:
                status = int.from_bytes(answer[2:4], "little")
                raise RefusedCommandError(NAME, f"send {path}", f"status {status}")
        return MovesenseDecoder(self._measures, self._rate_hz)

    @override
    async def stop(self, gatt: Gatt) -> None:
        write, _ = _characteristics(gatt)
        for reference, _ in enumerate(self._measures, FIRST_REFERENCE):
            await gatt.write(write, bytes([UNSUBSCRIBE, reference]))


def _characteristics(gatt: Gatt) -> tuple[str, str]:
    return (WRITE, NOTIFY) if gatt.has(NOTIFY) else (NEWER_WRITE, NEWER_NOTIFY)


class MovesenseDecoder(Decoder):
    """Decodes GSP; the stamp is of a message's first sample, in milliseconds since power-on.

    A message that does not fit one notification goes on in the next, and nothing tells how many are
    to come. All messages of a subscription are of one length, though: the first waits for its
    successor, which shows that length, and the later ones are known to be complete by it.
    """

    clock = "device"
    conversion = "deg/s to rad/s"

    def __init__(self, measures: Sequence[str], rate_hz: float) -> None:
        self.sensors = tuple(SENSORS[measure] for measure in measures)
        self.rate_hz = rate_hz
        self._streams = [
            _Stream(number, measure, rate_hz) for number, measure in enumerate(measures)
        ]

    @override
    def decode(self, characteristic: str, payload: bytes) -> Sequence[Frame]:
        check_length(NAME, payload, 2)
        kind, reference = payload[0], payload[1]
        if kind == ANSWER:
            return ()
        if kind not in {DATA, CONTINUATION}:
            raise MalformedPayloadError(NAME, f"is of unknown kind {kind}", payload)
        number = reference - FIRST_REFERENCE
        if not 0 <= number < len(self._streams):
            raise MalformedPayloadError(NAME, f"answers unknown reference {reference}", payload)
        stream = self._streams[number]
        return stream.begin(payload) if kind == DATA else stream.go_on(payload)


class _Stream:
    """Puts one subscription's messages together."""

    def __init__(self, number: int, measure: str, rate_hz: float) -> None:
        self._number = number
        self._scale = SCALES[measure]
        self._sample_bytes = FLOAT32.itemsize * len(self._scale)
        self._stamps = StampSpreader(rate_hz, "first")
        self._milliseconds = CounterUnwrapper(32)
        self._message = b""
        self._length: int | None = None

    def begin(self, payload: bytes) -> Sequence[Frame]:
        """Return the frame that ends where this one begins, or this one where it is whole."""
        waiting, self._message = self._message, payload[2:]
        if self._length is not None:
            # What still waits now lacks its end; its stamp's absence counts it as lost.
            return self._take_whole(payload)
        if not waiting:
            return ()
        self._length = len(waiting)
        return (self._frame(waiting, payload), *self._take_whole(payload))

    def go_on(self, payload: bytes) -> Sequence[Frame]:
        """Return the frame that this continuation completes."""
        if not self._message:
            self._length = None
            raise MalformedPayloadError(NAME, "continues a message that never began", payload)
        self._message += payload[2:]
        if len(self._message) > MAX_MESSAGE_BYTES:
            self._message, self._length = b"", None
            raise MalformedPayloadError(
                NAME, f"continues a message beyond {MAX_MESSAGE_BYTES} bytes", payload
            )
        return self._take_whole(payload)

    def _take_whole(self, payload: bytes) -> Sequence[Frame]:
        if len(self._message) != self._length:
            return ()
        message, self._message = self._message, b""
        return (self._frame(message, payload),)

    def _frame(self, message: bytes, payload: bytes) -> Frame:
        count, rest = divmod(len(message) - STAMP_BYTES, self._sample_bytes)
        if count < 1 or rest:
            self._length = None
            raise MalformedPayloadError(
                NAME, f"ends a message of {len(message)} bytes, no whole number of samples", payload
            )
        readings = np.frombuffer(message, FLOAT32, offset=STAMP_BYTES)
        by_sensor = readings.reshape(-1, count, 3)
        samples = np.concatenate(list(by_sensor), axis=1)
        values = si_values(NAME, payload, samples, self._scale)
        milliseconds = self._milliseconds.unwrap(int.from_bytes(message[:STAMP_BYTES], "little"))
        times, lost = self._stamps.spread(milliseconds / 1e3, count)
        return Frame(values, times, lost, self._number)
