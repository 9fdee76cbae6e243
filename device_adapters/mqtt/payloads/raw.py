"""Our own binary payload: a header of 16 bytes, then the samples; see `docs/payloads.md`."""

import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from device_adapters.errors import PayloadError
from device_adapters.mqtt.payloads.numbers import check_period, check_samples
from device_adapters.mqtt.payloads.payload import Packet, PayloadFormat, PayloadOptions

VERSION = 1
HEADER = struct.Struct("<BBHIII")
"""Version, channels, samples, counter, time of the first sample (us), time between two (ns)."""

VALUE = np.dtype("<f4")
MICROSECOND = 1e-6
NANOSECOND = 1e-9


class RawFormat(PayloadFormat):
    """Little-endian float32 in SI units behind a header with counter and device time."""

    counts = "samples"
    counter_bits = 32
    clock_turn_s = 2**32 * MICROSECOND

    @override
    def __init__(self, options: PayloadOptions) -> None:
        pass

    @override
    def decode(self, payload: bytes) -> Packet:
        if len(payload) < HEADER.size:
            raise PayloadError("raw", f"{len(payload)} bytes are less than a header, 16")
        version, channels, samples, counter, time_us, period_ns = HEADER.unpack_from(payload)
        if version != VERSION:
            raise PayloadError("raw", f"it begins with version {version}, known is {VERSION}")
        if not channels:
            raise PayloadError("raw", "its header tells of 0 channels; 1 to 255 are taken")
        # Its times increase and its values are float32 as they are: what `packet` checks besides.
        check_samples("raw", samples)
        check_period("raw", period_ns * NANOSECOND)
        size = HEADER.size + samples * channels * VALUE.itemsize
        if len(payload) != size:
            raise PayloadError("raw", f"{len(payload)} bytes; by its header it has {size}")
        values = np.frombuffer(payload, VALUE, offset=HEADER.size).reshape(samples, channels)
        times = _steps(samples, period_ns) + time_us * MICROSECOND
        return Packet(times, values, counter, period_ns * NANOSECOND, laid_out=True)

    @override
    def encode(self, packet: Packet) -> bytes:
        samples, channels = packet.values.shape
        header = HEADER.pack(
            VERSION,
            channels,
            samples,
            (packet.counter or 0) % 2**32,
            round(float(packet.times[0]) / MICROSECOND) % 2**32,
            round(packet.period_s / NANOSECOND),
        )
        return header + packet.values.astype(VALUE).tobytes()


@lru_cache(maxsize=256)
def _steps(samples: int, period_ns: int) -> NDArray[np.float64]:
    steps = np.arange(samples, dtype=np.float64) * (period_ns * NANOSECOND)
    steps.flags.writeable = False
    return steps
