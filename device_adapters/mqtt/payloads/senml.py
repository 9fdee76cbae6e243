"""SenML (RFC 8428), in JSON and CBOR: one record for each value of a channel."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from pydantic import Field
from typing_extensions import override

from device_adapters.errors import PayloadError
from device_adapters.mqtt.payloads.cbor import dump_cbor, load_cbor
from device_adapters.mqtt.payloads.numbers import measured_period, number, packet, shown
from device_adapters.mqtt.payloads.payload import Packet, PayloadFormat, PayloadOptions
from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY, MAGNETIC_FIELD

RELATIVE_BELOW = 2**28
"""Smaller times are relative to when the pack is read (RFC 8428, 4.5.3), which no clock told."""

UNITS = {
    ACCELERATION: (ACCELERATION, 1.0),
    ANGULAR_VELOCITY: (ANGULAR_VELOCITY, 1.0),
    "T": (MAGNETIC_FIELD, 1e6),
}
"""For each of SenML's units (RFC 8428, 12.1) a stream's, and how many of it one is."""

VERSION = 10
CBOR_LABELS = {
    -1: "bver",
    -2: "bn",
    -3: "bt",
    -4: "bu",
    -5: "bv",
    -6: "bs",
    0: "n",
    1: "u",
    2: "v",
    3: "vs",
    4: "vb",
    5: "s",
    6: "t",
    7: "ut",
    8: "vd",
}
"""RFC 8428, table 6."""


class SenmlOptions(PayloadOptions):
    """Which records are samples.

    Attributes:
        names: each channel's name, the part of a record's name after its last `/` or `:`.
        rate_hz: samples a second; if not set, they are taken from the times in a pack.
    """

    names: tuple[str, ...] = Field(
        default=("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"), min_length=1
    )
    rate_hz: float | None = Field(default=None, gt=0, le=100_000)


class SenmlJsonFormat(PayloadFormat):
    """SenML in JSON. Records of other names are passed over; all times must be absolute.

    A unit, where it is given, must be m/s2, rad/s or T: SenML's g is the gram.
    """

    Options = SenmlOptions
    counts = None
    name = "senml_json"

    @override
    def __init__(self, options: SenmlOptions) -> None:
        self._options = options
        self.channels = len(options.names)
        self._columns = {name: column for column, name in enumerate(options.names)}

    @override
    def decode(self, payload: bytes) -> Packet:
        rows: dict[float, list[float | None]] = {}
        units: list[str | None] = [None] * len(self._columns)
        base: dict[str, Any] = {}
        sender: str | None = None
        for record in self._records(payload):
            base.update((key, value) for key, value in record.items() if key[0] == "b")
            prefix, name = self._name(base, record)
            if name not in self._columns:
                continue
            if sender not in {None, prefix}:
                raise PayloadError(self.name, f"it is of {sender!r} and of {prefix!r}")
            sender = prefix
            column = self._columns[name]
            unit, factor = self._unit(record.get("u", base.get("bu")))
            time = self._sum(base, record, "t")
            row = rows.setdefault(time, [None] * len(self._columns))
            if row[column] is not None:
                raise PayloadError(self.name, f"it tells {name} twice for time {time:f}")
            if "v" not in record and "bv" not in base:
                raise PayloadError(self.name, f"{name} at {time:f} has no number")
            row[column] = factor * self._sum(base, record, "v")
            if unit is not None and units[column] not in {None, unit}:
                raise PayloadError(self.name, f"it tells {name} in {units[column]} and in {unit}")
            units[column] = unit or units[column]
        return replace(self._packet(rows), units=units)

    @override
    def encode(self, packet: Packet) -> bytes:
        records: list[dict[str, Any]] = []
        base = float(packet.times[0])
        for time, row in zip(packet.times.tolist(), packet.values.tolist(), strict=True):
            for name, value in zip(self._options.names, row, strict=True):
                records.append({"n": name, "v": value, "t": time - base})
        records[0] = {"bn": "urn:dev:simulated/", "bt": base} | records[0]
        return self._dump(records)

    def _load(self, payload: bytes) -> object:
        try:
            return orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise PayloadError(self.name, f"it is no JSON: {error}") from error

    def _dump(self, records: list[dict[str, Any]]) -> bytes:
        return orjson.dumps(records)

    def _records(self, payload: bytes) -> list[dict[str, Any]]:
        """Return the pack, if its version and all its keys are understood (RFC 8428, 4.4)."""
        records = self._load(payload)
        if not isinstance(records, list):
            raise PayloadError(self.name, "it is no list of records")
        for record in records:
            if not isinstance(record, dict):
                raise PayloadError(self.name, f"{shown(record)} is no record")
            for key in record:
                if not isinstance(key, str) or not key or key.endswith("_"):
                    raise PayloadError(self.name, f"it must be understood by {shown(key)}")
            if number(self.name, "bver", record.get("bver", VERSION)) > VERSION:
                raise PayloadError(self.name, f"version {record['bver']}; known is {VERSION}")
        return records

    def _name(self, base: dict[str, Any], record: dict[str, Any]) -> tuple[str, str]:
        """Return who sent a record, and the channel's name."""
        first, last = base.get("bn", ""), record.get("n", "")
        if not isinstance(first, str) or not isinstance(last, str):
            raise PayloadError(self.name, f"a name is {shown(first)}, {shown(last)}")
        name = first + last
        start = max(name.rfind("/"), name.rfind(":")) + 1
        return name[:start], name[start:]

    def _unit(self, unit: object) -> tuple[str | None, float]:
        """Return a stream's unit for one that is told, and how many of it one is."""
        if unit is None:
            return None, 1.0
        if not isinstance(unit, str) or unit not in UNITS:
            raise PayloadError(self.name, f"unit {shown(unit)}; known are {', '.join(UNITS)}")
        return UNITS[unit]

    def _sum(self, base: dict[str, Any], record: dict[str, Any], key: str) -> float:
        first, last = base.get(f"b{key}", 0), record.get(key, 0)
        return number(self.name, f"b{key}", first) + number(self.name, key, last)

    def _packet(self, rows: dict[float, list[float | None]]) -> Packet:
        for time, row in rows.items():
            if None in row:
                missing = self._options.names[row.index(None)]
                raise PayloadError(self.name, f"it has no {missing} for time {time:f}")
        if not rows:
            raise PayloadError(self.name, f"no record is of {', '.join(self._columns)}")
        if min(rows) < RELATIVE_BELOW:
            raise PayloadError(self.name, "its times are relative to now; set bt to the true time")
        times = np.array(sorted(rows))
        values = np.array([rows[time] for time in times.tolist()], dtype=np.float64)
        rate = self._options.rate_hz
        period = measured_period(self.name, times) if rate is None else 1 / rate
        return packet(self.name, times, values, None, period)


class SenmlCborFormat(SenmlJsonFormat):
    """SenML in CBOR, with the numbers of RFC 8428, table 6, for its labels."""

    name = "senml_cbor"

    @override
    def _load(self, payload: bytes) -> object:
        records = load_cbor(self.name, payload)
        if not isinstance(records, list):
            return records
        return [
            {CBOR_LABELS.get(key, key): value for key, value in record.items()}
            if isinstance(record, dict)
            else record
            for record in records
        ]

    @override
    def _dump(self, records: list[dict[str, Any]]) -> bytes:
        numbers = {label: key for key, label in CBOR_LABELS.items()}
        return dump_cbor([{numbers[key]: value for key, value in r.items()} for r in records])
