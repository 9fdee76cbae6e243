"""One wearable: found, connected, made to send, watched, and found again whenever it is lost."""

import asyncio
import contextlib
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from bleak import BleakClient
from bleak.exc import BleakDeviceNotFoundError
from bleak_retry_connector import (
    BleakClientWithServiceCache,
    clear_cache,
    establish_connection,
)
from typing_extensions import override

from device_adapters import host_clock
from device_adapters.backoff import Backoff
from device_adapters.ble.bluez import (
    BLEAK_FAULTS,
    bluetooth_adapter,
    bluez_watched,
    connected_devices,
    disconnect,
)
from device_adapters.ble.connection import Connection, told_as_link_errors
from device_adapters.ble.formats.format import BleFormat, Decoder
from device_adapters.ble.scanner import Scanner, Sighting
from device_adapters.ble.wearable import WearableOptions
from device_adapters.clock import DeviceClock
from device_adapters.errors import DeviceAdapterError, LinkError, MalformedPayloadError
from device_adapters.rate import RateMeter
from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.timeline import Timeline

CONNECT_SECONDS = 20.0
"""For all attempts of `establish_connection` together: other links wait meanwhile, and a wearable
that was just heard connects within a few seconds or has gone."""

GOODBYE_SECONDS = 3.0
"""For telling a wearable to stop, and again for disconnecting from it."""

EARLY_NOTIFICATIONS = 256
"""Notifications kept until the wearable has said how to read them."""

_log = logging.getLogger(__name__)


class LinkState(StrEnum):
    """What a link is doing."""

    LOOKING = "looking"
    CONNECTING = "connecting"
    STREAMING = "streaming"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What a link is doing, and has done since the adapter was entered.

    Attributes:
        wearable: the name in topics.
        state: what it is doing.
        adapter: the Bluetooth adapter, such as `hci0`; empty before the wearable was first heard.
        address: the wearable's; empty before it was first heard.
        advertised: the wearable's own name; may be empty.
        rssi: the strength at which it was last heard advertising, dBm; None before that.
        samples: samples received.
        lost: samples known to be missing, also while there was no link.
        malformed: notifications that could not be read.
        rate_hz: samples received a second, over the last seconds; 0 while none come.
        last_sample: when the last sample was taken, seconds since the epoch; None before it.
        reconnects: how often a stream began again.
        fault: why the last attempt or stream ended; None before the first fault.
    """

    wearable: str
    state: LinkState
    adapter: str
    address: str
    advertised: str
    rssi: int | None
    samples: int
    lost: int
    malformed: int
    rate_hz: float
    last_sample: float | None
    reconnects: int
    fault: DeviceAdapterError | None


class Link:
    """Keeps one wearable streaming.

    Args:
        options: which wearable, and how.
        scanner: of the Bluetooth adapter to use.
        taken: the addresses that links have claimed; shared by all links.
        deliver: is called with every batch, from the event loop.

    Attributes:
        info: what the wearable sends; None before it first streamed.
        lost: samples known to be missing, also while there was no link.
        malformed: notifications that could not be read.
    """

    def __init__(
        self,
        options: WearableOptions,
        scanner: Scanner,
        taken: set[str],
        deliver: Callable[[SampleBatch], None],
    ) -> None:
        self.info: StreamInfo | None = None
        self.lost = 0
        self.malformed = 0
        self._options = options
        self._scanner = scanner
        self._taken = taken
        self._deliver = deliver
        self._backoff = Backoff(f"wearable {options.name!r}")
        self._state = LinkState.WAITING
        self._sighting: Sighting | None = None
        self._rate = RateMeter()
        self._streams = 0
        self._samples = 0
        self._clock = DeviceClock()
        self._newest: SampleBatch | None = None
        self._heard_at = 0.0
        self._fault: DeviceAdapterError | None = None

    def status(self) -> LinkStatus:
        """Return what the link is doing."""
        seen, newest = self._sighting, self._newest
        return LinkStatus(
            wearable=self._options.name,
            state=self._state,
            adapter=seen.adapter if seen is not None else "",
            address=seen.address if seen is not None else "",
            advertised=seen.name if seen is not None else "",
            rssi=seen.rssi if seen is not None else None,
            samples=self._samples,
            lost=self.lost,
            malformed=self.malformed,
            rate_hz=self._rate.rate_hz(asyncio.get_running_loop().time()),
            last_sample=None if newest is None else newest.end + newest.host_offset_s,
            reconnects=max(0, self._streams - 1),
            fault=self._fault,
        )

    async def run(self) -> NoReturn:
        """Keep the wearable streaming until cancelled; then tell it to stop."""
        while True:
            try:
                async with self._found() as sighting:
                    await self._stream(sighting)
            except DeviceAdapterError as error:
                self._fault = error
                self._state = LinkState.WAITING
                await self._backoff.wait(error)

    @asynccontextmanager
    async def _found(self) -> AsyncGenerator[Sighting, None]:
        """Look for the wearable, and keep other links from taking it as well."""
        self._state = LinkState.LOOKING
        claimed: set[str] = set()

        def claims(sighting: Sighting) -> bool:
            address = sighting.address
            claim = address not in self._taken and self._options.matches(
                address, sighting.name, sighting.services
            )
            if claim:
                claimed.add(address)
                self._taken.add(address)
            return claim

        await self._end_stale_links()
        try:
            self._sighting = await self._scanner.find(claims, self._options.description)
            yield self._sighting
        finally:
            self._taken -= claimed

    async def _end_stale_links(self) -> None:
        """Disconnect the wearable if a program that was killed has left it connected."""
        adapter = await bluetooth_adapter(self._options.adapter)
        for device in await connected_devices(adapter.name):
            if device.address not in self._taken and self._options.matches(
                device.address, device.name, device.services
            ):
                _log.warning(
                    "wearable %r: %s is connected already, by another program or one that was "
                    "killed; disconnecting it",
                    self._options.name,
                    device.address,
                )
                await disconnect(adapter.name, device.address)

    async def _stream(self, sighting: Sighting) -> NoReturn:
        """Connect, start, and watch until the stream ends.

        Raises:
            DeviceAdapterError: why it ended.
        """
        self._state = LinkState.CONNECTING
        spoken = self._options.spoken_by(sighting.name, sighting.services)
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(reason: str) -> None:
            if not ended.done():
                ended.set_result(reason)

        reception = _Reception(self._received, self._rejected)
        async with (
            bluez_watched(lambda: end("bluetoothd is gone")),
            self._connected(sighting, ended, lambda: end("the link is lost")) as client,
        ):
            connection = Connection(client, ended, reception.notice)
            if not await connection.subscribe(spoken.subscriptions):
                raise LinkError(
                    f"{sighting.name or sighting.address} has none of the characteristics of its "
                    f"format, {type(spoken).__name__}; set another format"
                )
            async with _stopped(spoken, connection):
                decoder = await spoken.start(connection)
                self.info = _stream_info(self._options.name, decoder)
                self._heard_at = asyncio.get_running_loop().time()
                self._streams += 1
                reception.begin(decoder, Timeline(self.info, decoder.sensors, self._clock))
                await self._watch(ended)

    @asynccontextmanager
    async def _connected(
        self, sighting: Sighting, ended: asyncio.Future[str], lost: Callable[[], None]
    ) -> AsyncGenerator[BleakClient, None]:
        try:
            async with self._scanner.connecting:
                client = await self._connect(sighting, ended, lost)
        except LinkError:
            await clear_cache(sighting.address)
            raise
        try:
            yield client
        finally:
            with contextlib.suppress(*BLEAK_FAULTS):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await client.disconnect()

    async def _connect(
        self, sighting: Sighting, ended: asyncio.Future[str], lost: Callable[[], None]
    ) -> BleakClient:
        """Connect; give up when `ended` says so, which bleak would not notice."""
        connecting = asyncio.create_task(
            establish_connection(
                _Client,
                sighting.device,
                self._options.name,
                disconnected_callback=lambda _: lost(),
                # BlueZ keeps a cache itself; bleak's outlives a crash of bluetoothd.
                use_services_cache=False,
                bluez={"adapter": sighting.adapter},
            ),
            name=f"ble connect {self._options.name}",
        )
        try:
            await asyncio.wait(
                (connecting, ended),
                timeout=CONNECT_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if connecting.done():
                with told_as_link_errors("connecting"):
                    return connecting.result()
            reason = ended.result() if ended.done() else f"no link in {CONNECT_SECONDS:g} s"
            raise LinkError(reason)
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)

    async def _watch(self, ended: asyncio.Future[str]) -> NoReturn:
        """Wait until the link ends or falls silent.

        Raises:
            LinkError: it did.
        """
        loop = asyncio.get_running_loop()
        silence = self._options.silence_s
        while (remaining := self._heard_at + silence - loop.time()) > 0:
            await asyncio.wait((ended,), timeout=remaining)
            if ended.done():
                raise LinkError(ended.result())
        raise LinkError(f"no samples came for {silence:g} s")

    def _received(self, batch: SampleBatch) -> None:
        """Deliver a batch; the first after an outage tells what was missed in it."""
        assert self.info is not None  # noqa: S101 - it is set before anything is received
        now = asyncio.get_running_loop().time()
        if self._state is not LinkState.STREAMING:
            self._state = LinkState.STREAMING
            self._backoff.succeeded()
            # What the batch itself tells lies between the two as well.
            lost = max(batch.lost, self._missed(batch, self.info.rate_hz))
            batch = dataclasses.replace(batch, lost=lost)
        if set_by := host_clock.set_by():
            batch = dataclasses.replace(batch, clock_set_s=set_by)
        self._heard_at = now
        self._newest = batch
        self._samples += len(batch)
        self.lost += batch.lost
        self._rate.add(now, len(batch))
        self._deliver(batch)

    def _missed(self, first: SampleBatch, rate_hz: float) -> int:
        """Return how many samples were taken since the last one, before this first of a stream."""
        if self._newest is None:
            return 0
        outage = float(first.shared_times[0] - self._newest.shared_times[-1])
        return max(0, round(outage * rate_hz) - 1)

    def _rejected(self, error: MalformedPayloadError) -> None:
        level = logging.DEBUG if self.malformed else logging.WARNING
        _log.log(level, "wearable %r: %s; passed over", self._options.name, error)
        self.malformed += 1


class _Client(BleakClientWithServiceCache):
    """A client whose wearable is looked for anew once BlueZ has forgotten it.

    `establish_connection` would wait 4 s for it to come back by itself, nine times.
    """

    @override
    async def connect(self, **kwargs: Any) -> None:
        try:
            await super().connect(**kwargs)
        except BleakDeviceNotFoundError as error:
            raise LinkError("BlueZ has forgotten the wearable") from error


class _Reception:
    """Reads one connection's notifications; keeps those that come before it is known how.

    Args:
        received: is called with every batch.
        rejected: is called for every notification that can't be read.
    """

    def __init__(
        self,
        received: Callable[[SampleBatch], None],
        rejected: Callable[[MalformedPayloadError], None],
    ) -> None:
        self._received = received
        self._rejected = rejected
        self._early: deque[tuple[str, bytes, float]] = deque(maxlen=EARLY_NOTIFICATIONS)
        self._reader: tuple[Decoder, Timeline] | None = None

    def begin(self, decoder: Decoder, timeline: Timeline) -> None:
        """Read with these from now on, and what was kept."""
        self._reader = (decoder, timeline)
        while self._early:
            self.notice(*self._early.popleft())

    def notice(self, characteristic: str, payload: bytes, arrival: float) -> None:
        """Read a notification."""
        if self._reader is None:
            self._early.append((characteristic, payload, arrival))
            return
        decoder, timeline = self._reader
        try:
            frames = decoder.decode(characteristic, payload)
        except MalformedPayloadError as error:
            self._rejected(error)
            return
        for frame in frames:
            batch = timeline.push(frame, arrival)
            if batch is not None:
                self._received(batch)


@asynccontextmanager
async def _stopped(spoken: BleFormat, connection: Connection) -> AsyncGenerator[None, None]:
    """Tell the wearable to stop in the end: a Polar H10 goes on until its battery is empty."""
    try:
        yield
    finally:
        with contextlib.suppress(DeviceAdapterError, TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await spoken.stop(connection)


def _stream_info(name: str, decoder: Decoder) -> StreamInfo:
    return StreamInfo(
        name,
        tuple(channel for sensor in decoder.sensors for channel in sensor.channels),
        tuple(unit for sensor in decoder.sensors for unit in sensor.units),
        decoder.rate_hz,
        "ble",
        decoder.clock,
        decoder.conversion,
    )
