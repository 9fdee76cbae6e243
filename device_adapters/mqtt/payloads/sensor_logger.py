"""The phone app Sensor Logger, as its page on pushing data describes its messages.

Source: https://github.com/tszheichoi/awesome-sensor-logger, `PUSHING.md`.
"""

from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from device_adapters.errors import PayloadError
from device_adapters.mqtt.payloads.numbers import (
    measured_period,
    number,
    packet,
    shown,
    whole_number,
)
from device_adapters.mqtt.payloads.payload import Packet, PayloadFormat, PayloadOptions
from device_adapters.samples import STANDARD_GRAVITY

NANOSECOND = 1e-9
AXES = ("x", "y", "z")


class SensorLoggerOptions(PayloadOptions):
    """Which of the phone's sensors are read.

    Attributes:
        acceleration: `accelerometer`, to which `gravity` is added; or Android's
            `totalacceleration`, which has both.
        rate_hz: samples a second; if not set, they are taken from the times in a message.
    """

    acceleration: Literal["accelerometer", "totalacceleration"] = "accelerometer"
    rate_hz: float | None = Field(default=None, gt=0, le=1000)


class SensorLoggerFormat(PayloadFormat):
    """Acceleration, gravity and angular velocity, which come as records of their own.

    Other sensors' records are passed over.
    """

    Options = SensorLoggerOptions
    counts = "messages"
    names_devices = True
    name = "sensor_logger"

    @override
    def __init__(self, options: SensorLoggerOptions) -> None:
        self._rate = options.rate_hz
        self._adds_gravity = options.acceleration == "accelerometer"
        names = [options.acceleration, "gyroscope", *(["gravity"] if self._adds_gravity else [])]
        self._starts = {name: 3 * place for place, name in enumerate(names)}
        self.sensors = dict.fromkeys(names, 3)
        self.channels = 6
        self.conversion = "gravity added" if self._adds_gravity else ""

    @override
    def decode(self, payload: bytes) -> Packet:
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise PayloadError(self.name, f"it is no JSON: {error}") from error
        if not isinstance(document, dict) or not isinstance(document.get("payload"), list):
            raise PayloadError(self.name, "it has no list of records, payload")
        device = document.get("deviceId")
        if not isinstance(device, str) or not device:
            raise PayloadError(self.name, f"deviceId is {shown(device)}; it must name the phone")
        counter = whole_number(self.name, "messageId", document.get("messageId"))
        if not document["payload"]:
            raise PayloadError(self.name, "it holds no records")
        rows: dict[int, list[float]] = {}
        for record in document["payload"]:
            self._read(record, rows)
        stamps = sorted(rows)
        times = np.array(stamps, dtype=np.float64) * NANOSECOND
        values = np.array([rows[stamp] for stamp in stamps])
        return packet(self.name, times, values, counter, self._period(times, values), device)

    @override
    def encode(self, packet: Packet) -> bytes:
        records: list[dict[str, Any]] = []
        for time, row in zip(packet.times.tolist(), packet.values.tolist(), strict=True):
            nanoseconds = round(time / NANOSECOND)
            acceleration, gyroscope, gravity = row[:3], row[3:], [0.0, 0.0, STANDARD_GRAVITY]
            if self._adds_gravity:
                acceleration = [a - g for a, g in zip(acceleration, gravity, strict=True)]
            for name, start in self._starts.items():
                vector = (acceleration, gyroscope, gravity)[start // 3]
                fields = dict(zip(AXES, vector, strict=True))
                records.append({"name": name, "time": nanoseconds, "values": fields})
        return orjson.dumps(
            {
                "messageId": packet.counter or 0,
                "sessionId": "simulated",
                "deviceId": packet.device or "simulated",
                "payload": records,
            }
        )

    @override
    def merge(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._adds_gravity:
            return values
        return np.concatenate([values[:, :3] + values[:, 6:], values[:, 3:6]], axis=1)

    def _read(self, record: object, rows: dict[int, list[float]]) -> None:
        """Put a record's values where they belong; the row of a sensor not read stays empty."""
        if not isinstance(record, dict) or not isinstance(record.get("name"), str):
            raise PayloadError(self.name, f"{shown(record)} is no record with a name")
        name = record["name"].lower()
        stamp = whole_number(self.name, f"time of {name}", record.get("time"))
        row = rows.setdefault(stamp, [np.nan] * (3 * len(self._starts)))
        start = self._starts.get(name)
        if start is None:
            return
        fields = record.get("values")
        if not isinstance(fields, dict):
            raise PayloadError(self.name, f"{name} has no values")
        for offset, axis in enumerate(AXES):
            row[start + offset] = number(self.name, f"{axis} of {name}", fields.get(axis))

    def _period(self, times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
        if self._rate is not None:
            return 1 / self._rate
        sampled = ~np.isnan(values[:, ::3])
        return measured_period(self.name, times[sampled[:, sampled.sum(axis=0).argmax()]])
