"""Wearables that publish their samples to an MQTT broker."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Self

from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from device_adapters.adapter import AdapterOptions, AdapterStatistics, DeviceAdapter
from device_adapters.backoff import Backoff
from device_adapters.errors import (
    InvalidNameError,
    InvalidStreamError,
    MqttConnectionError,
    PayloadError,
)
from device_adapters.mqtt.client import Message, connection
from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.mqtt.payloads import Packet, payload_format
from device_adapters.mqtt.wearable import Wearable
from device_adapters.queues import DropOldestQueue
from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY, SampleBatch, StreamInfo

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS = (ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3
QUEUED_BATCHES = 20_000
"""Two seconds of ten thousand wearables that send a message a second."""

DEVICE_LEVEL = "+"

_log = logging.getLogger(__name__)


class MqttOptions(BrokerAddress, AdapterOptions):
    """Which messages are samples.

    Attributes:
        topic: where the wearables publish; the level `+` is the device's name.
        payload: the format of the messages, `raw` for ours.
        channels: a name for each channel of the messages.
        units: the unit of each, `m/s2` (with gravity) or `rad/s`.
        max_devices: how many wearables are admitted.
    """

    topic: str = "wearables/+/imu"
    payload: str = "raw"
    channels: tuple[str, ...] = CHANNELS
    units: tuple[str, ...] = UNITS
    max_devices: int = Field(default=10_000, ge=1)

    @field_validator("topic")
    @classmethod
    def _names_the_device(cls, topic: str) -> str:
        levels = topic.split("/")
        if levels.count(DEVICE_LEVEL) != 1 or any("#" in level for level in levels):
            raise ValueError("must have one level '+', the device's name, and no '#'")
        return topic

    @field_validator("payload")
    @classmethod
    def _is_installed(cls, payload: str) -> str:
        payload_format(payload)
        return payload

    @model_validator(mode="after")
    def _describes_a_stream(self) -> Self:
        StreamInfo("any", self.channels, self.units, 1.0, "mqtt", "device")
        return self


class MqttAdapter(DeviceAdapter):
    """Subscribes to a topic of every wearable, for ever; reconnects and subscribes again."""

    Options = MqttOptions

    def __init__(self, options: MqttOptions) -> None:
        self._options = options
        self._payloads = payload_format(options.payload)
        self._device_level = options.topic.split("/").index(DEVICE_LEVEL)
        self._streams: dict[str, StreamInfo] = {}
        self._wearables: dict[str, Wearable] = {}
        self._turned_away: set[str] = set()
        self._queue: DropOldestQueue[SampleBatch] = DropOldestQueue(QUEUED_BATCHES, weight=len)
        self._samples = 0
        self._lost = 0
        self._rejected = 0
        self._subscribed = asyncio.Event()

    @property
    @override
    def streams(self) -> Mapping[str, StreamInfo]:
        return self._streams

    @override
    async def __aenter__(self) -> Self:
        connection(self._options)  # credentials that can't be read are told at once
        self._subscription = asyncio.create_task(self._stay_subscribed(), name="mqtt wearables")
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        self._subscription.cancel()
        await asyncio.gather(self._subscription, return_exceptions=True)

    @override
    async def __aiter__(self) -> AsyncIterator[SampleBatch]:
        while True:
            batch = await self._queue.get()
            self._samples += len(batch)
            yield batch

    async def subscribed(self) -> None:
        """Wait until the broker has agreed to send the wearables' messages."""
        await self._subscribed.wait()

    @override
    def statistics(self) -> AdapterStatistics:
        queue = self._queue.statistics()
        return AdapterStatistics(
            self._samples, self._lost, queue.dropped, queue.used, queue.capacity, self._rejected
        )

    async def _stay_subscribed(self) -> None:
        backoff = Backoff(f"broker {self._options.url}")
        while True:
            try:
                async with connection(self._options) as broker:
                    await broker.subscribe(self._options.topic)
                    backoff.succeeded()
                    self._subscribed.set()
                    while True:
                        messages = await broker.receive()
                        self._take(messages, time.time())
            except MqttConnectionError as error:
                self._subscribed.clear()
                await backoff.wait(error)

    def _take(self, messages: list[Message], arrival: float) -> None:
        for message in messages:
            device = message.topic.split("/")[self._device_level]
            try:
                batch = self._batch(device, message, arrival)
            except (PayloadError, InvalidNameError, InvalidStreamError) as error:
                self._turn_away(device, error)
                batch = None
            if batch is None:
                self._rejected += 1
            else:
                self._lost += batch.lost
                self._queue.put(batch)

    def _batch(self, device: str, message: Message, arrival: float) -> SampleBatch | None:
        """Return a message's samples, None if they are of no use.

        Raises:
            InvalidNameError, InvalidStreamError, PayloadError: with the reason.
        """
        if message.retain:
            raise PayloadError(self._options.payload, "it was retained, who knows for how long")
        packet = self._payloads.decode(message.payload)
        channels = packet.values.shape[1]
        if channels != len(self._options.channels):
            raise PayloadError(
                self._options.payload,
                f"{channels} channels; the configuration names {len(self._options.channels)}",
            )
        wearable = self._wearables.get(device)
        if wearable is None:
            wearable = self._admit(device, packet)
        return wearable.place(packet, arrival)

    def _admit(self, device: str, packet: Packet) -> Wearable:
        options = self._options
        if len(self._wearables) == options.max_devices:
            raise InvalidStreamError(
                device, f"there are {options.max_devices} wearables already, as many as configured"
            )
        rate = 1 / packet.period_s
        self._streams[device] = StreamInfo(
            device, options.channels, options.units, rate, "mqtt", "device"
        )
        self._wearables[device] = Wearable(device, self._payloads)
        return self._wearables[device]

    def _turn_away(self, device: str, error: Exception) -> None:
        """Tell the first fault of a device; of any number of devices, so many and no more."""
        if device not in self._turned_away and len(self._turned_away) < self._options.max_devices:
            self._turned_away.add(device)
            _log.warning("message of %r rejected: %s", device, error)
