"""Samples come in here: adapters, clocks, recorded sessions. Knows nothing of models."""

from device_adapters.adapter import AdapterOptions, AdapterStatistics, DeviceAdapter, adapter_class
from device_adapters.samples import SampleBatch, StreamInfo

__all__ = [
    "AdapterOptions",
    "AdapterStatistics",
    "DeviceAdapter",
    "SampleBatch",
    "StreamInfo",
    "adapter_class",
]
