"""Which wearables are in range."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from device_adapters.ble.bluez import BLEAK_FAULTS, bluetooth_adapter
from device_adapters.ble.formats.format import recognises
from device_adapters.ble.wearable import known_formats
from device_adapters.errors import BluetoothUnavailableError, WearableNotFoundError

ROUND_SECONDS = 10.0
"""How long is listened for a wearable before its absence is told. Wearables advertise at least
every 2 s or so; and a discovery that BlueZ has lost hold of is started afresh with the next round.
"""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A wearable's newest advertisement.

    Attributes:
        address: such as `A0:9E:1A:00:00:01`.
        name: as advertised, but for what can't be printed; empty if it tells none.
        services: UUIDs of the services that it advertises, in lower case.
        rssi: received signal strength, dBm.
        formats: the formats that it seems to speak.
        adapter: the Bluetooth adapter that heard it, such as `hci0`.
        device: what bleak connects to.
    """

    address: str
    name: str
    services: frozenset[str]
    rssi: int
    formats: tuple[str, ...]
    adapter: str
    device: BLEDevice


@asynccontextmanager
async def discovery(
    adapter: str | None, notice: Callable[[Sighting], None]
) -> AsyncGenerator[None, None]:
    """Tell `notice` of every advertisement that a Bluetooth adapter hears.

    BlueZ grants a program one discovery on an adapter at a time.

    Args:
        adapter: the name or address of the adapter; by default the first that is switched on.
        notice: is called from the event loop.

    Raises:
        BluetoothUnavailableError: the adapter can't be used.
    """
    # Unnamed, bleak takes an arbitrary one where there are several.
    name = (await bluetooth_adapter(adapter)).name
    known = known_formats()

    def heard(device: BLEDevice, advertisement: AdvertisementData) -> None:
        services = frozenset(uuid.lower() for uuid in advertisement.service_uuids)
        # Anybody may advertise anything; it is shown in terminals and logs.
        advertised = "".join(c for c in advertisement.local_name or "" if c.isprintable())
        notice(
            Sighting(
                device.address,
                advertised,
                services,
                advertisement.rssi,
                tuple(
                    n for n, known_as in known.items() if recognises(known_as, advertised, services)
                ),
                name,
                device,
            )
        )

    scanner = BleakScanner(heard, bluez={"adapter": name})
    try:
        await scanner.start()
    except BLEAK_FAULTS as error:
        raise BluetoothUnavailableError(f"{name} can't scan: {error}") from error
    try:
        yield
    finally:
        # A discovery that can't be stopped has ended: its adapter or BlueZ is gone.
        with contextlib.suppress(*BLEAK_FAULTS):
            await scanner.stop()


async def scan(adapter: str | None, seconds: float) -> list[Sighting]:
    """Return the newest advertisement of every device in range, the strongest first.

    Raises:
        BluetoothUnavailableError: the adapter can't be used.
    """
    newest: dict[str, Sighting] = {}

    def notice(sighting: Sighting) -> None:
        newest[sighting.address] = sighting

    async with discovery(adapter, notice):
        await asyncio.sleep(seconds)
    return sorted(newest.values(), key=lambda sighting: -sighting.rssi)


class Scanner:
    """One Bluetooth adapter's discovery, shared by all links that look for their wearable.

    Args:
        adapter: the name or address of the adapter; by default the first that is switched on.

    Attributes:
        connecting: to be held while connecting; several attempts at once disturb each other.
    """

    def __init__(self, adapter: str | None) -> None:
        self.connecting = asyncio.Lock()
        self._adapter = adapter
        self._searches: dict[asyncio.Future[Sighting], Callable[[Sighting], bool]] = {}
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()

    async def find(self, claims: Callable[[Sighting], bool], wanted: str) -> Sighting:
        """Return the first sighting that `claims` says yes to; no one else gets that one.

        Args:
            claims: is called for one sighting after another, until it says yes.
            wanted: what is looked for, to be told if it is not there.

        Raises:
            WearableNotFoundError: it was not heard for `ROUND_SECONDS`.
            BluetoothUnavailableError: the adapter can't be used.
        """
        found: asyncio.Future[Sighting] = asyncio.get_running_loop().create_future()
        self._searches[found] = claims
        self._update()
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                return await found
        except TimeoutError as error:
            adapter = self._adapter or "the Bluetooth adapter"
            raise WearableNotFoundError(wanted, adapter, ROUND_SECONDS) from error
        finally:
            del self._searches[found]
            self._update()

    async def run(self) -> NoReturn:
        """Listen whenever somebody looks for a wearable, until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                async with discovery(self._adapter, self._notice):
                    await self._listen()
            except BluetoothUnavailableError as error:
                for search in self._searches:
                    if not search.done():
                        search.set_exception(error)
                await asyncio.sleep(0)

    async def _listen(self) -> None:
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await self._unwanted.wait()
        except TimeoutError:
            pass

    def _notice(self, sighting: Sighting) -> None:
        for search, claims in self._searches.items():
            if not search.done() and claims(sighting):
                search.set_result(sighting)
                return

    def _update(self) -> None:
        if self._searches:
            self._wanted.set()
            self._unwanted.clear()
        else:
            self._wanted.clear()
            self._unwanted.set()
