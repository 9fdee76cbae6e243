"""Wearables that publish their samples to an MQTT broker."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from typing_extensions import override

from device_adapters import host_clock
from device_adapters.adapter import AdapterOptions, AdapterStatistics
from device_adapters.backoff import Backoff
from device_adapters.errors import (
    BrokerAddressError,
    InvalidNameError,
    InvalidStreamError,
    MqttConnectionError,
    PayloadError,
)
from device_adapters.live import LiveAdapter
from device_adapters.mqtt.client import Message, MqttConnection, connection
from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.mqtt.payloads import (
    MAX_PAYLOAD_BYTES,
    Packet,
    PayloadFormat,
    PayloadOptions,
    payload_class,
)
from device_adapters.mqtt.topics import check_topic_filter, published_topic
from device_adapters.mqtt.wearable import Wearable
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.units import Unit, conversion, si_factors, si_units

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS: tuple[Unit, ...] = ("m/s2", "m/s2", "m/s2", "rad/s", "rad/s", "rad/s")
QUEUED_BATCHES = 20_000
"""Two seconds of ten thousand wearables that send a message a second."""

TURN_MESSAGES = 256
"""Decoded in one turn of the event loop: 25 ms of JSON."""

SHORTEST_PAUSE_SECONDS = 0.05
"""Between two looks for packets that have waited too long."""

SPACING_SECONDS = 0.01
"""After messages were taken, the next are waited for so long: they come together, and share what a
turn of the event loop costs. A wearable alone is not held up."""

LEFT_SECONDS = 3600.0
"""A wearable that was silent for so long has left: another may have its place."""

ROLL_CALL_SECONDS = 60.0
"""Between two looks for wearables that have left."""

DEVICE_LEVEL = "+"

NOTHING_IS_TAKEN = "nothing of %r is taken: no %s came; switch it on, or change payload_options"

MESSAGES_OVERLAP = (
    "messages of %r begin within those before them and are rejected: it sends faster than %g Hz, "
    "or another device sends under its name"
)

_log = logging.getLogger(__name__)


class MqttOptions(BrokerAddress, AdapterOptions):
    """Which messages are samples.

    Attributes:
        topic: where the wearables publish; the level `+` is the device's name. May begin with
            `$share/<group>/`: each message then goes to one gateway of the group.
        payload: the format of the messages, `raw` for ours.
        payload_options: the format's own options.
        channels: a name for each channel of the messages.
        units: the unit of each in the messages: `m/s2` (with gravity), `g`, `mg`, `rad/s`, `deg/s`,
            `mdeg/s`, `uT`, `gauss` or `mgauss`.
        max_devices: how many wearables are admitted at a time; one that sends nothing for an hour
            is forgotten.
        reorder_s: how long a message waits for one that it overtook, before that is taken for lost.
    """

    topic: str = "wearables/+/imu"
    payload: str = "raw"
    payload_options: PayloadOptions = Field(
        default={}, validate_default=True
    )  # made by its validator
    channels: tuple[str, ...] = CHANNELS
    units: tuple[Unit, ...] = UNITS
    max_devices: int = Field(default=10_000, ge=1)
    reorder_s: float = Field(default=0.5, ge=0, le=10)

    @field_validator("topic")
    @classmethod
    def _is_a_topic_filter(cls, topic: str) -> str:
        check_topic_filter(topic)
        return topic

    @field_validator("payload")
    @classmethod
    def _is_installed(cls, payload: str) -> str:
        payload_class(payload)
        return payload

    @field_validator("payload_options", mode="before")
    @classmethod
    def _are_the_formats(cls, options: object, info: ValidationInfo) -> Any:  # noqa: ANN401
        if "payload" not in info.data:
            return PayloadOptions()  # the payload's own fault is told
        model = payload_class(info.data["payload"]).Options
        for key in options if isinstance(options, dict) else ():
            if key not in model.model_fields:
                known = ", ".join(sorted(model.model_fields)) or "none"
                raise ValueError(f"unknown key {key!r}; known keys are {known}")
        return model.model_validate(options)

    @model_validator(mode="after")
    def _names_the_device(self) -> Self:
        levels = published_topic(self.topic).split("/")
        wanted = 0 if payload_class(self.payload).names_devices else 1
        if levels.count(DEVICE_LEVEL) < wanted:
            raise ValueError("topic must have one level '+', the device's name")
        if wanted and (levels.count(DEVICE_LEVEL) > wanted or "#" in self.topic):
            raise ValueError("topic must have one level '+', the device's name, and no '#'")
        return self

    @model_validator(mode="after")
    def _describes_a_stream(self) -> Self:
        StreamInfo("any", self.channels, si_units(self.units), 1.0, "mqtt", "device")
        channels = self.payload_format().channels
        if channels not in {None, len(self.channels)}:
            raise ValueError(
                f"{self.payload} has {channels} channels by payload_options, but channels names "
                f"{len(self.channels)}: {', '.join(self.channels)}"
            )
        return self

    def payload_format(self) -> PayloadFormat:
        """Return the format with its options."""
        return payload_class(self.payload)(self.payload_options)


class MqttAdapter(LiveAdapter):
    """Subscribes to a topic of every wearable, for ever; reconnects and subscribes again.

    Args:
        options: the validated options.
        clock: the gateway's own.
    """

    Options = MqttOptions

    def __init__(self, options: MqttOptions, clock: Callable[[], float] = host_clock.now) -> None:
        super().__init__(QUEUED_BATCHES)
        self._options = options
        self._now = clock
        self._payloads = options.payload_format()
        levels = published_topic(options.topic).split("/")
        self._device_level = None if self._payloads.names_devices else levels.index(DEVICE_LEVEL)
        self._factors = si_factors(options.units)
        self._streams: dict[str, StreamInfo] = {}
        self._wearables: dict[str, Wearable] = {}
        self._waiting: set[Wearable] = set()
        self._at_fault: set[str] = set()
        self._lost = 0
        self._rejected = 0
        self._subscribed = asyncio.Event()
        self._taking = asyncio.Lock()  # what is waited for may have come, and be next to be taken

    @property
    @override
    def streams(self) -> Mapping[str, StreamInfo]:
        return self._streams

    @override
    async def __aenter__(self) -> Self:
        connection(self._options)  # credentials that can't be read are told at once
        return await super().__aenter__()

    async def subscribed(self) -> None:
        """Wait until the broker has agreed to send the wearables' messages."""
        await self._subscribed.wait()

    @override
    def statistics(self) -> AdapterStatistics:
        wearables = self._wearables.values()
        lost = self._lost + sum(wearable.untold_lost for wearable in wearables)
        rejected = self._rejected + sum(wearable.rejected for wearable in wearables)
        return self._statistics(lost, rejected)

    @override
    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stay_subscribed(), name="mqtt wearables subscription")
            tasks.create_task(self._go_on_without_the_lost(), name="mqtt wearables patience")
            tasks.create_task(self._call_the_roll(), name="mqtt wearables roll call")

    async def _stay_subscribed(self) -> None:
        backoff = Backoff(f"broker {self._options.url!r}")
        while True:
            try:
                async with connection(self._options) as broker:
                    await broker.subscribe(self._options.topic)
                    backoff.succeeded()
                    self._subscribed.set()
                    await self._receive(broker)
            # A password file may be away for a moment, while it is written anew.
            except (MqttConnectionError, BrokerAddressError) as error:
                self._subscribed.clear()
                await backoff.wait(error)

    async def _receive(self, broker: MqttConnection) -> None:
        dropped = 0
        while True:
            messages = await broker.receive()
            self._rejected += broker.dropped - dropped
            dropped = broker.dropped
            await self._take_in_turns(messages, self._now())
            await asyncio.sleep(SPACING_SECONDS)

    async def _take_in_turns(self, messages: list[Message], arrival: float) -> None:
        """Take in messages that came together, and let others run meanwhile."""
        async with self._taking:
            for first in range(0, len(messages), TURN_MESSAGES):
                self._take(messages[first : first + TURN_MESSAGES], arrival)
                await asyncio.sleep(0)

    async def _go_on_without_the_lost(self) -> None:
        """Let packets go that wait for one which does not come, even if nothing else comes."""
        while True:
            await asyncio.sleep(max(self._options.reorder_s, SHORTEST_PAUSE_SECONDS))
            async with self._taking:
                self._go_on(self._now())

    def _go_on(self, now: float) -> None:
        set_by = host_clock.set_by()
        for wearable in list(self._waiting):
            self._put(wearable, wearable.overdue(now), set_by)
            if not wearable.waits:
                self._waiting.discard(wearable)

    async def _call_the_roll(self) -> None:
        while True:
            await asyncio.sleep(ROLL_CALL_SECONDS)
            async with self._taking:
                self._forget_who_left(self._now())

    def _forget_who_left(self, now: float) -> None:
        unread = {batch.device for batch in self._queue if batch is not None}
        for device, wearable in list(self._wearables.items()):
            if now - wearable.heard > LEFT_SECONDS and device not in unread:
                self._lost += wearable.untold_lost
                self._rejected += wearable.rejected
                self._waiting.discard(wearable)
                del self._wearables[device], self._streams[device]

    def _take(self, messages: list[Message], arrival: float) -> None:
        set_by = host_clock.set_by()
        for message in messages:
            try:
                packet = self._decode(message)
                wearable = self._wearable(message, packet)
            except (PayloadError, InvalidNameError, InvalidStreamError) as error:
                self._rejected += 1
                self._tell_once(self._sender(message), "message of %r rejected: %s", error)
            else:
                self._put(wearable, wearable.take(packet, arrival), set_by)
                if wearable.waits:
                    self._waiting.add(wearable)
                if absent := wearable.absent:
                    self._tell_once(wearable.device, NOTHING_IS_TAKEN, ", ".join(absent))
                if wearable.overlaps:
                    self._tell_once(wearable.device, MESSAGES_OVERLAP, wearable.rate_hz)

    def _put(self, wearable: Wearable, batches: Iterable[SampleBatch], set_by: float) -> None:
        stream = self._streams[wearable.device]
        if stream.rate_hz != wearable.rate_hz:
            self._streams[wearable.device] = replace(stream, rate_hz=wearable.rate_hz)
        for batch in batches:
            self._lost += batch.lost
            self._queue.put(replace(batch, clock_set_s=set_by) if set_by else batch)

    def _decode(self, message: Message) -> Packet:
        """Return a message's samples.

        Raises:
            PayloadError: with the reason.
        """
        name = self._options.payload
        if message.retain:
            raise PayloadError(name, "it was retained, who knows for how long")
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            size = len(message.payload)
            raise PayloadError(name, f"{size} bytes are too many; at most {MAX_PAYLOAD_BYTES}")
        packet = self._payloads.decode(message.payload)
        channels = packet.values.shape[1]
        if self._payloads.sensors is None and channels != len(self._options.channels):
            wanted = len(self._options.channels)
            raise PayloadError(name, f"{channels} channels; the configuration names {wanted}")
        for place, unit in enumerate(packet.units):
            if unit not in {None, self._options.units[place]}:
                told = f"{self._options.channels[place]} is told in {unit}; the configuration has"
                raise PayloadError(name, f"{told} units in {self._options.units[place]}")
        return packet

    def _sender(self, message: Message) -> str:
        """Return the device that the topic names; the topic, where the payload names it."""
        if self._device_level is None:
            return message.topic
        return message.topic.split("/")[self._device_level]

    def _wearable(self, message: Message, packet: Packet) -> Wearable:
        """Return who sent a packet; one that is new is admitted.

        Raises:
            InvalidNameError, InvalidStreamError: it is not.
        """
        device = packet.device or self._sender(message)
        wearable = self._wearables.get(device)
        if wearable is None:
            wearable = self._admit(device, 1 / packet.period_s)
        return wearable

    def _admit(self, device: str, rate_hz: float) -> Wearable:
        options = self._options
        if len(self._wearables) == options.max_devices:
            raise InvalidStreamError(
                device, f"there are {options.max_devices} wearables already, as many as configured"
            )
        done = ", ".join(filter(None, (self._payloads.conversion, conversion(options.units))))
        self._streams[device] = StreamInfo(
            device, options.channels, si_units(options.units), rate_hz, "mqtt", "device", done
        )
        self._wearables[device] = Wearable(
            device, self._payloads, self._factors, options.reorder_s, rate_hz
        )
        return self._wearables[device]

    def _tell_once(self, sender: str, told: str, reason: object) -> None:
        """Tell the first fault of a sender; of any number of senders, so many and no more."""
        if sender not in self._at_fault and len(self._at_fault) < self._options.max_devices:
            self._at_fault.add(sender)
            _log.warning(told, sender, reason)
