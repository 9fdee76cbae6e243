"""Samples in a document of keys, lists and numbers, whatever it is written in."""

from abc import abstractmethod
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from typing_extensions import override

from device_adapters.errors import PayloadError
from device_adapters.mqtt.payloads.numbers import (
    measured_period,
    number,
    numbers,
    packet,
    whole_number,
)
from device_adapters.mqtt.payloads.payload import Packet, PayloadFormat, PayloadOptions
from device_adapters.units import TIME_UNITS

SLOWEST_HZ = 0.01
"""Slower is no stream."""


class DocumentOptions(PayloadOptions):
    """Where a document has what.

    A place is a path of keys with dots between them: `imu.acc.0` is the first entry of the list
    `acc` in the object `imu`. Either `rows` or `channels` tells where the values are.

    Attributes:
        rows: of a list with a list of all channels for each sample.
        channels: of each channel's value; or of its list of values, one for each sample.
        samples: of a list with an object for each sample; `channels` and `time` are then in these.
        time: of the first sample's time by the device's clock; or of a list, one for each sample.
        time_unit: what times are in.
        counter: of the counter; empty if there is none.
        counts: what it counts, the number of the first sample or that of the message.
        counter_bits: the counter starts again at 0 after 2 to the power of this.
        rate: of the samples a second; if empty, they are taken from the times in a message.
        rate_hz: samples a second, where documents do not tell.
        device: of the device's name; if empty, the topic names it.
    """

    rows: str = "values"
    channels: tuple[str, ...] = ()
    samples: str = ""
    time: str = Field(default="t", min_length=1)
    time_unit: Literal["s", "ms", "us", "ns"] = "s"
    counter: str = "seq"
    counts: Literal["samples", "messages"] = "samples"
    counter_bits: int = Field(default=32, ge=4, le=63)
    rate: str = "rate"
    rate_hz: float | None = Field(default=None, gt=0, le=100_000)
    device: str = ""

    @model_validator(mode="after")
    def _has_one_layout(self) -> Self:
        if self.channels and "rows" in self.model_fields_set:
            raise ValueError("either rows or channels, not both")
        if self.samples and not self.channels:
            raise ValueError("samples needs channels: the place of each in a sample's object")
        return self


class DocumentFormat(PayloadFormat):
    """Reads and writes documents; what they are written in is a subclass's matter."""

    Options = DocumentOptions
    name: str

    @override
    def __init__(self, options: DocumentOptions) -> None:
        self._options = options
        self.counts = options.counts if options.counter else None
        self.counter_bits = options.counter_bits
        self.names_devices = bool(options.device)
        self.channels = len(options.channels) or None

    @abstractmethod
    def _load(self, payload: bytes) -> object:
        """Return the document; raise `PayloadError` if it is none."""

    @abstractmethod
    def _dump(self, document: object) -> bytes:
        """Return the payload of a document."""

    @override
    def decode(self, payload: bytes) -> Packet:
        options, document = self._options, self._load(payload)
        if options.samples:
            values, times = self._objects(document)
        else:
            values = self._values(document)
            times = self._times(self._at(document, options.time), len(values))
        period = self._period(document, times)
        laid_out = times.ndim == 0
        if laid_out:
            times = times + np.arange(len(values)) * period
        counter, device = None, None
        if options.counter:
            counter = whole_number(self.name, "counter", self._at(document, options.counter))
        if options.device:
            device = self._device(self._at(document, options.device))
        return packet(self.name, times, values, counter, period, device, laid_out=laid_out)

    @override
    def encode(self, packet: Packet) -> bytes:
        options = self._options
        document: dict[str, Any] = {}
        unit = TIME_UNITS[options.time_unit]
        times = (packet.times / unit).tolist()
        rows = packet.values.astype(np.float64).tolist()
        if options.samples:
            objects: list[Any] = [{} for _ in rows]
            for sample, time, row in zip(objects, times, rows, strict=True):
                _put(sample, options.time, time)
                for place, value in zip(options.channels, row, strict=True):
                    _put(sample, place, value)
            _put(document, options.samples, [_with_lists(sample) for sample in objects])
        else:
            told = options.rate or options.rate_hz
            _put(document, options.time, times[0] if told else times)
            if options.channels:
                for place, column in zip(options.channels, zip(*rows, strict=True), strict=True):
                    _put(document, place, list(column))
            else:
                _put(document, options.rows, rows)
        if options.rate and options.rate_hz is None:
            _put(document, options.rate, 1 / packet.period_s)
        if options.counter:
            _put(document, options.counter, (packet.counter or 0) % 2**options.counter_bits)
        if options.device:
            _put(document, options.device, packet.device)
        return self._dump(_with_lists(document))

    def _values(self, document: object) -> NDArray[np.float64]:
        """Return the samples, [n, channels]."""
        options = self._options
        if not options.channels:
            return numbers(self.name, options.rows, self._at(document, options.rows), 2)
        found = [self._at(document, place) for place in options.channels]
        if not isinstance(found[0], list):
            found = [[value] for value in found]
        return numbers(self.name, ", ".join(options.channels), found, 2).T

    def _objects(self, document: object) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return samples and times of a list of objects."""
        options = self._options
        objects = self._at(document, options.samples)
        if not isinstance(objects, list) or not objects:
            raise PayloadError(self.name, f"{options.samples} is no list of samples")
        rows = [[self._at(sample, place) for place in options.channels] for sample in objects]
        values = numbers(self.name, ", ".join(options.channels), rows, 2)
        return values, self._times([self._at(sample, options.time) for sample in objects], 0)

    def _times(self, found: object, samples: int) -> NDArray[np.float64]:
        """Return the time of the first sample, [], or of each, [n]; in seconds."""
        options = self._options
        if isinstance(found, list):
            times = numbers(self.name, options.time, found, 1)
        else:
            times = np.array(number(self.name, options.time, found))
            if samples == 1:
                times = times[None]
        return times * TIME_UNITS[options.time_unit]

    def _period(self, document: object, times: NDArray[np.float64]) -> float:
        options = self._options
        rate = options.rate_hz
        if rate is None and options.rate:
            rate = number(self.name, options.rate, self._at(document, options.rate))
        if rate is None:
            if times.ndim == 0:
                raise PayloadError(self.name, "one time for several samples needs a rate")
            return measured_period(self.name, times)
        if rate < SLOWEST_HZ:
            raise PayloadError(self.name, f"{options.rate} is {rate:g}; {SLOWEST_HZ:g} Hz is least")
        return 1 / rate

    def _device(self, found: object) -> str:
        if not isinstance(found, str) or not found:
            raise PayloadError(self.name, f"{self._options.device} names no device")
        return found

    def _at(self, document: object, place: str) -> object:
        found = document
        for step in place.split("."):
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                raise PayloadError(self.name, f"it has no {place}")
        return found


def _put(document: dict[str, Any], place: str, value: object) -> None:
    *steps, last = place.split(".")
    for step in steps:
        document = document.setdefault(step, {})
    document[last] = value


def _with_lists(document: object) -> object:
    """Return the document with lists for objects whose keys are 0, 1, and so on."""
    if not isinstance(document, dict):
        return document
    entries = {key: _with_lists(value) for key, value in document.items()}
    numbered = [str(number) for number in range(len(entries))]
    return [entries[key] for key in numbered] if sorted(entries) == sorted(numbered) else entries
