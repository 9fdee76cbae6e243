"""What must be asked of BlueZ itself, since bleak does not tell: its adapters, and its death.

BlueZ is reached over the D-Bus system bus, see its doc/org.bluez.Adapter.rst and
doc/org.bluez.Device.rst.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bleak.exc import BleakError
from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

from device_adapters.errors import BluetoothUnavailableError

BLUEZ = "org.bluez"
ADAPTER_INTERFACE = "org.bluez.Adapter1"
DEVICE_INTERFACE = "org.bluez.Device1"

ANSWER_SECONDS = 5.0
"""D-Bus is local; who has not answered by then does not run."""

REMEDIES = {
    "org.freedesktop.DBus.Error.AccessDenied": (
        "you may not use it; run: sudo usermod -aG bluetooth $USER   and log in again"
    ),
    "org.freedesktop.DBus.Error.ServiceUnknown": (
        "bluetoothd does not run; run: sudo systemctl start bluetooth   "
        "(if there is no such service: sudo apt-get install bluez)"
    ),
}
"""What to do about an error of D-Bus, by its name."""

OWNER_CHANGED = (
    f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{BLUEZ}'"
)

BLEAK_FAULTS = (
    BleakError,
    DBusFastError,
    AssertionError,
    AttributeError,
    EOFError,
    KeyError,
    OSError,
)
"""What bleak lets out when a link, an adapter, BlueZ or D-Bus goes away during a call."""

Objects = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class BluetoothAdapter:
    """A radio of this machine.

    Attributes:
        name: `hci0` and so on; it may change when adapters are plugged in or the machine restarts.
        address: the adapter's own, which does not change.
        powered: whether it is switched on.
    """

    name: str
    address: str
    powered: bool


@dataclass(frozen=True, slots=True)
class ConnectedDevice:
    """A device that BlueZ holds a link to.

    Attributes:
        address: such as `A0:9E:1A:00:00:01`.
        name: its own, or the one that its user gave it.
        services: UUIDs of its services.
    """

    address: str
    name: str
    services: frozenset[str]


async def bluetooth_adapter(wanted: str | None) -> BluetoothAdapter:
    """Return the adapter with this name or address, or the first by name that is switched on.

    Raises:
        BluetoothUnavailableError: there is none, it is switched off, or BlueZ can't be asked.
    """
    adapters = await bluetooth_adapters()
    if not adapters:
        raise BluetoothUnavailableError(
            "there is no Bluetooth adapter; plug one in (bluetoothctl list shows those there are)"
        )
    if wanted is None:
        named = [adapter for adapter in adapters if adapter.powered] or adapters
    else:
        named = [
            adapter
            for adapter in adapters
            if wanted.lower() in {adapter.name, adapter.address.lower()}
        ]
    if not named:
        there = ", ".join(f"{adapter.name} ({adapter.address})" for adapter in adapters)
        raise BluetoothUnavailableError(f"no adapter {wanted!r}; there are {there}")
    if not named[0].powered:
        raise BluetoothUnavailableError(
            f"{named[0].name} is switched off; run: bluetoothctl power on   "
            "(if that fails: sudo rfkill unblock bluetooth)"
        )
    return named[0]


async def bluetooth_adapters() -> list[BluetoothAdapter]:
    """Return the Bluetooth adapters of this machine, by name.

    Raises:
        BluetoothUnavailableError: BlueZ can't be asked.
    """
    async with _system_bus() as bus:
        objects = await _objects(bus)
    return sorted(
        (
            BluetoothAdapter(
                path.rpartition("/")[2],
                str(interfaces[ADAPTER_INTERFACE]["Address"].value),
                bool(interfaces[ADAPTER_INTERFACE]["Powered"].value),
            )
            for path, interfaces in objects.items()
            if ADAPTER_INTERFACE in interfaces
        ),
        key=lambda adapter: adapter.name,
    )


async def connected_devices(adapter: str) -> list[ConnectedDevice]:
    """Return the devices that BlueZ holds a link to, whichever program made it.

    BlueZ keeps the links of a program that was killed, and what is connected does not advertise.

    Raises:
        BluetoothUnavailableError: BlueZ can't be asked.
    """
    async with _system_bus() as bus:
        objects = await _objects(bus)
    return [
        ConnectedDevice(
            str(device["Address"].value),
            str(device["Alias"].value),
            frozenset(device["UUIDs"].value if "UUIDs" in device else ()),
        )
        for path, interfaces in objects.items()
        if path.startswith(f"/org/bluez/{adapter}/")
        and (device := interfaces.get(DEVICE_INTERFACE)) is not None
        and device["Connected"].value
    ]


async def disconnect(adapter: str, address: str) -> None:
    """Let BlueZ end a link, whichever program made it.

    Raises:
        BluetoothUnavailableError: BlueZ can't do it.
    """
    async with _system_bus() as bus:
        await _call(
            bus,
            Message(
                destination=BLUEZ,
                path=f"/org/bluez/{adapter}/dev_{address.replace(':', '_')}",
                interface=DEVICE_INTERFACE,
                member="Disconnect",
            ),
        )


@asynccontextmanager
async def bluez_watched(gone: Callable[[], None]) -> AsyncGenerator[None, None]:
    """Call `gone` when bluetoothd leaves the bus, which bleak does not notice.

    Raises:
        BluetoothUnavailableError: D-Bus can't be asked.
    """

    def notice(message: Message) -> None:
        if message.member == "NameOwnerChanged" and message.body[0] == BLUEZ:
            gone()

    async with _system_bus() as bus:
        bus.add_message_handler(notice)
        await _call(
            bus,
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=[OWNER_CHANGED],
            ),
        )
        yield


@asynccontextmanager
async def _system_bus() -> AsyncGenerator[MessageBus, None]:
    try:
        bus = MessageBus(bus_type=BusType.SYSTEM)
    except (OSError, DBusFastError) as error:
        raise _no_bus(error) from error
    try:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await bus.connect()
        except (OSError, EOFError, DBusFastError) as error:
            raise _no_bus(error) from error
        yield bus
    finally:
        bus.disconnect()


def _no_bus(error: Exception) -> BluetoothUnavailableError:
    return BluetoothUnavailableError(
        f"the D-Bus system bus can't be reached ({error}); start dbus, or in a container mount "
        "/run/dbus/system_bus_socket"
    )


async def _objects(bus: MessageBus) -> Objects:
    reply = await _call(
        bus,
        Message(
            destination=BLUEZ,
            path="/",
            interface="org.freedesktop.DBus.ObjectManager",
            member="GetManagedObjects",
        ),
    )
    objects: Objects = reply.body[0]
    return objects


async def _call(bus: MessageBus, message: Message) -> Message:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reply = await bus.call(message)
    except (OSError, EOFError, DBusFastError) as error:
        raise BluetoothUnavailableError(
            f"{message.destination} does not answer to {message.member}; "
            "run: sudo systemctl restart bluetooth"
        ) from error
    assert reply is not None  # noqa: S101 - only a message that wants no reply gets none
    if reply.message_type is MessageType.ERROR:
        name = str(reply.error_name)
        remedy = REMEDIES.get(name, f"{name}: {reply.body[0] if reply.body else 'no reason given'}")
        raise BluetoothUnavailableError(remedy)
    return reply
