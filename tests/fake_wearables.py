"""Wearables in range of the fake BlueZ, byte by byte as the real ones answer and stream.

Every sample carries its number: `acc_x` is the number times the format's smallest step. The numbers
go on whether or not anybody listens, as a wearable's own clock does.
"""

import asyncio
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from device_adapters.ble.formats import (
    infinitime,
    metamotion,
    movella_dot,
    movesense,
    polar,
    thingy52,
    witmotion,
)
from device_adapters.samples import STANDARD_GRAVITY
from fake_bluez import Characteristic, FakeBlueZ, Peripheral

NUMBERS = 4000
"""Samples are numbered modulo this, so that every format can hold the number."""

READ_WRITE_INDICATE = ("read", "write", "indicate")
Notification = tuple[str, bytes]


class FakeWearable(ABC):
    """A peripheral that streams numbered samples once it is told to.

    Attributes:
        step: `acc_x` of the sample with number 1, m/s2.
        rate_hz: samples a second.
        samples: how many a notification holds.
        streaming: whether it was told to send.
        moves: whether it numbers its samples; else it lies still.
        taken: samples taken since it was switched on.
        sent: those of them that somebody listened to.
    """

    step: ClassVar[float]
    rate_hz: ClassVar[float]
    samples: ClassVar[int]
    tells_time: ClassVar[bool] = True

    def __init__(
        self,
        bluez: FakeBlueZ,
        address: str,
        name: str,
        services: dict[str, list[Characteristic]],
        adapter: str = "hci0",
    ) -> None:
        self.bluez = bluez
        self.peripheral = Peripheral(address, name, services, advertised=tuple(services)[:1])
        self.peripheral.on_disconnected = self.on_disconnected
        self.streaming = False
        self.moves = True
        self.taken = 0
        self.sent = 0
        bluez.add(self.peripheral, adapter)

    @abstractmethod
    def notifications(self, numbers: NDArray[np.int64]) -> Sequence[Notification]:
        """Return what is sent for these samples, the numbers being counted from switching on."""

    def send(self, *, lost: bool = False) -> int:
        """Take the next samples and send them; returns how many were sent."""
        numbers = np.arange(self.taken, self.taken + self.samples)
        self.taken += self.samples
        if lost or not self.streaming:
            return 0
        sent = [self.bluez.notify(self.peripheral, *n) for n in self.notifications(numbers)]
        heard = self.samples if all(sent) else 0
        self.sent += heard
        return heard

    async def run(self) -> None:
        """Take samples in real time, until cancelled."""
        loop = asyncio.get_running_loop()
        began, first = loop.time(), self.taken
        while True:
            due = began + (self.taken + self.samples - first) / self.rate_hz
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.send()

    def on_disconnected(self) -> None:
        self.streaming = False

    def readings(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return acceleration in steps, [n, 3]: the number, nothing, gravity."""
        gravity = np.full(len(numbers), round(STANDARD_GRAVITY / self.step))
        return np.stack([numbers % NUMBERS * self.moves, 0 * numbers, gravity], axis=1)

    @classmethod
    def numbers(cls, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the numbers, modulo `NUMBERS`, of received samples."""
        numbers: NDArray[np.int64] = np.rint(values[:, 0] / cls.step).astype(np.int64)
        return numbers


class FakePolar(FakeWearable):
    """A Verity Sense: settings, start with a factor, delta-compressed frames, the last's stamp."""

    step = STANDARD_GRAVITY / 4096
    rate_hz = 52
    samples = 13

    SETTINGS: ClassVar = {
        polar.ACC: bytes.fromhex("0001 3400 0101 1000 0201 0800 0401 03"),
        polar.GYRO: bytes.fromhex("0001 3400 0101 1000 0201 d007 0401 03"),
    }
    FACTORS: ClassVar = {polar.ACC: 1 / 4096, polar.GYRO: 0.07}

    def __init__(
        self,
        bluez: FakeBlueZ,
        address: str = "A0:9E:1A:00:00:01",
        name: str = "Polar Sense A1B2C301",
        adapter: str = "hci0",
    ) -> None:
        control = Characteristic(
            polar.CONTROL, READ_WRITE_INDICATE, bytes.fromhex("0f2602"), self._commanded
        )
        data = Characteristic(polar.DATA, ("notify",))
        super().__init__(bluez, address, name, {polar.SERVICE: [control, data]}, adapter)
        self.measured: set[int] = set()

    def _commanded(self, command: bytes) -> None:
        operation, kind = command[0], command[1]
        status, parameters = 0, b""
        if operation == polar.GET_SETTINGS:
            parameters = self.SETTINGS[kind]
        elif operation == polar.START:
            status = polar.ALREADY_IN_STATE if kind in self.measured else 0
            parameters = bytes([polar.FACTOR, 1]) + struct.pack("<f", self.FACTORS[kind])
            self.measured.add(kind)
        elif operation == polar.STOP:
            status = 0 if kind in self.measured else polar.ALREADY_IN_STATE
            self.measured.discard(kind)
        self.streaming = self.measured == {polar.ACC, polar.GYRO}
        answer = bytes([polar.RESPONSE, operation, kind, status, 0]) + parameters
        self.bluez.notify(self.peripheral, polar.CONTROL, answer)

    def on_disconnected(self) -> None:
        super().on_disconnected()
        self.measured.clear()

    def notifications(self, numbers: NDArray[np.int64]) -> Sequence[Notification]:
        nanoseconds = 700_000_000 * 10**9 + round(int(numbers[-1]) * 1e9 / self.rate_hz)
        turning = np.tile(numbers[:, None] % 100, (1, 3))
        return [
            (polar.DATA, self._frame(kind, nanoseconds, readings))
            for kind, readings in ((polar.ACC, self.readings(numbers)), (polar.GYRO, turning))
        ]

    @staticmethod
    def _frame(kind: int, nanoseconds: int, readings: NDArray[np.int64]) -> bytes:
        head = struct.pack("<BQB", kind, nanoseconds, 0x80)
        reference = readings[0].astype("<i2").tobytes()
        differences = np.diff(readings, axis=0).astype("<i2")
        return b"".join([head, reference, bytes([16, len(differences)]), differences.tobytes()])


class FakeMovesense(FakeWearable):
    """IMU6: answers to subscriptions by path, four samples a notification, the first's stamp."""

    step = 0.01
    rate_hz = 52
    samples = 4

    def __init__(
        self,
        bluez: FakeBlueZ,
        address: str = "0C:8C:DC:00:00:01",
        name: str = "Movesense 174630000001",
        adapter: str = "hci0",
    ) -> None:
        write = Characteristic(movesense.WRITE, ("write",), on_write=self._commanded)
        notify = Characteristic(movesense.NOTIFY, ("notify",))
        super().__init__(bluez, address, name, {movesense.SERVICE: [write, notify]}, adapter)
        self._reference = 0

    def _commanded(self, command: bytes) -> None:
        operation, self._reference = command[0], command[1]
        self.streaming = operation == movesense.SUBSCRIBE
        answer = bytes([movesense.ANSWER, self._reference]) + (200).to_bytes(2, "little")
        self.bluez.notify(self.peripheral, movesense.NOTIFY, answer)

    def notifications(self, numbers: NDArray[np.int64]) -> Sequence[Notification]:
        milliseconds = round(int(numbers[0]) * 1e3 / self.rate_hz) % 2**32
        head = bytes([movesense.DATA, self._reference]) + milliseconds.to_bytes(4, "little")
        acceleration = (self.readings(numbers) * self.step).astype("<f4")
        return [
            (movesense.NOTIFY, head + acceleration.tobytes() + np.zeros((4, 3), "<f4").tobytes())
        ]


class FakeMovellaDot(FakeWearable):
    """Rate quantities: one sample a notification with a stamp in microseconds, and padding."""

    step = 0.01
    rate_hz = 60
    samples = 1

    def __init__(self, bluez: FakeBlueZ, address: str = "D4:22:CD:00:00:01") -> None:
        services = {
            movella_dot.CONFIGURATION: [
                Characteristic(movella_dot.DEVICE_CONTROL, ("read", "write"))
            ],
            movella_dot.SERVICE: [
                Characteristic(
                    movella_dot.MEASUREMENT_CONTROL, ("read", "write"), on_write=self._commanded
                ),
                Characteristic(movella_dot.MEDIUM_PAYLOAD, ("notify",)),
            ],
        }
        super().__init__(bluez, address, "Movella DOT", services)

    def _commanded(self, command: bytes) -> None:
        self.streaming = command == bytes([1, 1, movella_dot.RATE_QUANTITIES])

    def notifications(self, numbers: NDArray[np.int64]) -> Sequence[Notification]:
        microseconds = round(int(numbers[0]) * 1e6 / self.rate_hz) % 2**32
        acceleration = (self.readings(numbers) * self.step).astype("<f4").tobytes()
        payload = microseconds.to_bytes(4, "little") + acceleration
        return [(movella_dot.MEDIUM_PAYLOAD, payload.ljust(40, b"\0"))]


class FakeMetaMotion(FakeWearable):
    """A board with a BMI160: three packed samples of either sensor, no time at all."""

    step = STANDARD_GRAVITY / 4096
    rate_hz = 50
    samples = 3
    tells_time = False

    def __init__(self, bluez: FakeBlueZ, address: str = "C8:4B:AA:00:00:01") -> None:
        command = Characteristic(
            metamotion.COMMAND, ("write", "write-without-response"), on_write=self._commanded
        )
        notify = Characteristic(metamotion.NOTIFY, ("notify",))
        super().__init__(bluez, address, "MetaWear", {metamotion.SERVICE: [command, notify]})
        self._powered: set[int] = set()

    def _commanded(self, command: bytes) -> None:
        module, register = command[0], command[1]
        if register == metamotion.MODULE_INFO:
            info = bytes([module, metamotion.MODULE_INFO, 1, 1])
            self.bluez.notify(self.peripheral, metamotion.NOTIFY, info)
        elif register == metamotion.POWER:
            (self._powered.add if command[2] else self._powered.discard)(module)
        self.streaming = self._powered == {metamotion.ACC, metamotion.GYRO}

    def notifications(self, numbers: NDArray[np.int64]) -> Sequence[Notification]:
        heads = {metamotion.ACC: 0x1C, metamotion.GYRO: 0x07}
        readings = self.readings(numbers).astype("<i2").tobytes()
        return [
            (metamotion.NOTIFY, bytes([module, register]) + readings)
            for module, register in heads.items()
        ]


class FakeThingy52(FakeWearable):
    """One raw sample a notification, from the moment that somebody listens."""

    step = STANDARD_GRAVITY / 1024
    rate_hz = 50
    samples = 1
    tells_time = False

    def __init__(self, bluez: FakeBlueZ, address: str = "E0:12:34:00:00:01") -> None:
        services = {
            thingy52.CONFIGURATION_SERVICE: [
                Characteristic("ef680101-9b35-4933-9b10-52ffa9740042", ("read",))
            ],
            thingy52.MOTION_SERVICE: [
                Characteristic(thingy52.MOTION_CONFIG, ("read", "write"), bytes(9)),
                Characteristic(thingy52.RAW_MOTION, ("notify",)),
            ],
        }
        super().__init__(bluez, address, "Thingy", services)
        self.streaming = True

    def on_disconnected(self) -> None:
        """Goes on: who listens again is sent samples again."""

    def notifications(self, numbers: NDArray[np.int64]) -> Sequence[Notification]:
        readings = self.readings(numbers).astype("<i2").tobytes()
        return [(thingy52.RAW_MOTION, readings + bytes(12))]


class FakeWitMotion(FakeThingy52):
    """Frames of 20 bytes, split and joined in notifications as they come."""

    step = STANDARD_GRAVITY / 2048
    samples = 2

    def __init__(self, bluez: FakeBlueZ, address: str = "F1:0A:00:00:00:01") -> None:
        services = {
            witmotion.SERVICE: [
                Characteristic(witmotion.NOTIFY, ("notify",)),
                Characteristic(witmotion.WRITE, ("write", "write-without-response")),
            ]
        }
        FakeWearable.__init__(self, bluez, address, "WT901BLE68", services)
        self.streaming = True

    def notifications(self, numbers: NDArray[np.int64]) -> Sequence[Notification]:
        readings = self.readings(numbers).astype("<i2")
        stream = b"".join(b"\x55\x61" + row.tobytes() + bytes(12) for row in readings)
        return [(witmotion.NOTIFY, stream[:15]), (witmotion.NOTIFY, stream[15:])]


class FakeInfiniTime(FakeThingy52):
    """A watch: acceleration alone, ten times a second."""

    rate_hz = 10

    def __init__(self, bluez: FakeBlueZ, address: str = "D1:5B:00:00:00:01") -> None:
        services = {infinitime.SERVICE: [Characteristic(infinitime.RAW_MOTION, ("notify",))]}
        FakeWearable.__init__(self, bluez, address, "InfiniTime", services)
        self.streaming = True

    def notifications(self, numbers: NDArray[np.int64]) -> Sequence[Notification]:
        return [(infinitime.RAW_MOTION, self.readings(numbers).astype("<i2").tobytes())]


class FakeSketch(FakeWearable):
    """Somebody's own firmware, which a TOML file describes: a counter, then six samples."""

    step = STANDARD_GRAVITY / 4096
    rate_hz = 100
    samples = 6

    SERVICE = "7a9b0001-3f5c-4a6e-9d2b-1c8e5f7a0b3d"
    DATA = "7a9b0002-3f5c-4a6e-9d2b-1c8e5f7a0b3d"
    DESCRIPTION = f"""
service = "{SERVICE}"
names = ["Sketch*"]
characteristic = "{DATA}"
rate_hz = 100
header = [{{ type = "u16", role = "counter", counts = "samples" }}]
sample = [
  {{ type = "i16", channel = "acc_x", unit = "g", scale = {1 / 4096} }},
  {{ type = "i16", channel = "acc_y", unit = "g", scale = {1 / 4096} }},
  {{ type = "i16", channel = "acc_z", unit = "g", scale = {1 / 4096} }},
]
start = [{{ characteristic = "{DATA}", value = "01" }}]
stop = [{{ characteristic = "{DATA}", value = "00" }}]
"""

    def __init__(self, bluez: FakeBlueZ, address: str = "C0:FF:EE:00:00:01") -> None:
        data = Characteristic(self.DATA, ("write", "notify"), on_write=self._commanded)
        super().__init__(bluez, address, "Sketch", {self.SERVICE: [data]})

    @classmethod
    def describe(cls, folder: Path) -> Path:
        path = folder / "sketch.toml"
        path.write_text(cls.DESCRIPTION)
        return path

    def _commanded(self, command: bytes) -> None:
        self.streaming = command == b"\x01"

    def notifications(self, numbers: NDArray[np.int64]) -> Sequence[Notification]:
        counter = (int(numbers[0]) % 65536).to_bytes(2, "little")
        return [(self.DATA, counter + self.readings(numbers).astype("<i2").tobytes())]
