"""The daemon: answers what bleak's BlueZ backend calls, and sends the signals that it waits for.

Written after BlueZ's D-Bus documentation (doc/org.bluez.*.rst) and what bleak 3.1 uses of it.
Faithful where clients stumble: a client may have one discovery at a time, an object of a device
outlives its link but its characteristics do not, what a client started ends when it leaves the bus,
and a daemon that dies sends nothing at all.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Self

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from fake_bluez.peripheral import Characteristic, Peripheral

OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
ADAPTER = "org.bluez.Adapter1"
DEVICE = "org.bluez.Device1"
SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"

FAILED = "org.bluez.Error.Failed"
IN_PROGRESS = "org.bluez.Error.InProgress"
NOT_READY = "org.bluez.Error.NotReady"
NOT_SUPPORTED = "org.bluez.Error.NotSupported"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"

ADVERTISING_SECONDS = 0.05
RESOLVING_SECONDS = 0.01
SEND_BUFFER_BYTES = 1 << 20
"""dbus-fast gives up a connection whose socket is full; a burst of notifications needs room."""

Properties = dict[str, Variant]
Reply = tuple[str, list[Any]]
NOTHING: Reply = ("", [])
TRUE, FALSE = Variant("b", True), Variant("b", False)  # noqa: FBT003 - D-Bus values


class DBusFault(Exception):  # noqa: N818 - a reply, not a fault of the test
    """What is answered instead of a result."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.name = name
        self.text = text


class FakeBlueZ:
    """`org.bluez` with some adapters; an async context manager.

    Args:
        address: of the bus.
        adapters: names of the Bluetooth adapters.
    """

    def __init__(self, address: str, adapters: tuple[str, ...] = ("hci0",)) -> None:
        self._address = address
        self._adapters = adapters
        self._objects: dict[str, dict[str, Properties]] = {}
        self._peripherals: dict[str, Peripheral] = {}
        self._discoverers: dict[str, set[str]] = {}
        self._connecting: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._methods: dict[tuple[str, str], Callable[[Message], Awaitable[Reply]]] = {
            (PROPERTIES, "GetAll"): self._get_all,
            (ADAPTER, "SetDiscoveryFilter"): self._accept,
            (ADAPTER, "StartDiscovery"): self._start_discovery,
            (ADAPTER, "StopDiscovery"): self._stop_discovery,
            (ADAPTER, "RemoveDevice"): self._remove_device,
            (DEVICE, "Connect"): self._connect,
            (DEVICE, "Disconnect"): self._disconnect,
            (CHARACTERISTIC, "ReadValue"): self._read_value,
            (CHARACTERISTIC, "WriteValue"): self._write_value,
            (CHARACTERISTIC, "StartNotify"): self._start_notify,
            (CHARACTERISTIC, "StopNotify"): self._stop_notify,
        }
        self.running = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self.running:
            await self.crash()

    # What a scenario tells.

    async def start(self) -> None:
        """Appear on the bus, with the adapters and nothing known of any device."""
        self._bus = MessageBus(bus_address=self._address)
        await self._bus.connect()
        assert self._bus._sock is not None
        self._bus._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._bus.add_message_handler(self._on_message)
        await self._bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=["type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'"],
            )
        )
        await self._bus.request_name("org.bluez")
        self.running = True
        for name in self._adapters:
            self.plug_in(name)
        self._spawn(self._advertise(), "fake advertising")

    async def crash(self) -> None:
        """Leave the bus as a killed process does: without a signal. Links do not survive it."""
        self.running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._bus.disconnect()
        with contextlib.suppress(EOFError):  # the bus itself may have died before
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._objects.clear()
        self._discoverers.clear()
        self._connecting.clear()
        for peripheral in self._peripherals.values():
            peripheral.known = False
            self._break_link(peripheral)

    def plug_in(self, adapter: str) -> None:
        """Add a Bluetooth adapter, switched on."""
        path = f"/org/bluez/{adapter}"
        number = int(adapter.removeprefix("hci"))
        self._discoverers[path] = set()
        self._add_object(
            path,
            ADAPTER,
            {
                "Address": Variant("s", f"00:00:00:00:5E:{number:02X}"),
                "AddressType": Variant("s", "public"),
                "Name": Variant("s", adapter),
                "Alias": Variant("s", adapter),
                "Class": Variant("u", 0),
                "Powered": TRUE,
                "Discovering": FALSE,
                "UUIDs": Variant("as", []),
                "Roles": Variant("as", ["central", "peripheral"]),
            },
        )

    def pull_out(self, adapter: str) -> None:
        """Remove a Bluetooth adapter, with all its links and devices."""
        path = f"/org/bluez/{adapter}"
        for peripheral in self._on(path):
            self._disconnected(peripheral)
            self._forget(peripheral)
        self._remove_object(path)
        del self._discoverers[path]

    def switch(self, adapter: str, *, on: bool) -> None:
        """Switch a Bluetooth adapter on or off."""
        self._changed(f"/org/bluez/{adapter}", ADAPTER, {"Powered": Variant("b", on)})

    def add(self, peripheral: Peripheral, adapter: str = "hci0") -> None:
        """Put a peripheral in range of an adapter."""
        device = f"dev_{peripheral.address.replace(':', '_')}"
        peripheral.path = f"/org/bluez/{adapter}/{device}"
        self._peripherals[peripheral.path] = peripheral

    def notify(self, peripheral: Peripheral, uuid: str, value: bytes) -> bool:
        """Notify of a characteristic's value; False if nobody has asked for it."""
        characteristic = peripheral.characteristic(uuid)
        if not (self.running and peripheral.connected and characteristic.subscribers):
            return False
        self._changed(characteristic.path, CHARACTERISTIC, {"Value": Variant("ay", value)})
        return True

    def drop_link(self, peripheral: Peripheral) -> None:
        """Let a link time out, as when the wearer walks away."""
        self._disconnected(peripheral)

    def forget(self, peripheral: Peripheral) -> None:
        """Drop a device that is being connected to, as BlueZ does with what it saw long ago."""
        self._connecting[peripheral.path].set()
        self._forget(peripheral)

    def is_connecting(self, peripheral: Peripheral) -> bool:
        return peripheral.path in self._connecting

    def leave_connected(self, peripheral: Peripheral) -> None:
        """Make a link that nobody uses, as a program that was killed leaves it."""
        self._heard(peripheral)
        peripheral.connected = True
        self._changed(peripheral.path, DEVICE, {"Connected": TRUE})
        self._resolve(peripheral)

    @property
    def peripherals(self) -> list[Peripheral]:
        return list(self._peripherals.values())

    def is_discovering(self, adapter: str = "hci0") -> bool:
        return bool(self._discoverers[f"/org/bluez/{adapter}"])

    # Objects and their signals.

    def _signal(self, path: str, interface: str, member: str, signature: str, *body: Any) -> None:
        if self.running:
            self._bus.send(Message.new_signal(path, interface, member, signature, list(body)))

    def _changed(
        self, path: str, interface: str, properties: Properties, invalidated: tuple[str, ...] = ()
    ) -> None:
        known = self._objects[path][interface]
        known.update(properties)
        for name in invalidated:
            known.pop(name, None)
        self._signal(
            path,
            PROPERTIES,
            "PropertiesChanged",
            "sa{sv}as",
            interface,
            properties,
            list(invalidated),
        )

    def _add_object(self, path: str, interface: str, properties: Properties) -> None:
        self._objects[path] = {interface: properties}
        added = {interface: properties}
        self._signal("/", OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", path, added)

    def _remove_object(self, path: str) -> None:
        interfaces = list(self._objects.pop(path))
        self._signal("/", OBJECT_MANAGER, "InterfacesRemoved", "oas", path, interfaces)

    # Devices.

    def _on(self, adapter_path: str) -> list[Peripheral]:
        return [
            peripheral
            for path, peripheral in self._peripherals.items()
            if path.startswith(f"{adapter_path}/")
        ]

    async def _advertise(self) -> None:
        while True:
            for adapter_path, discoverers in self._discoverers.items():
                for peripheral in self._on(adapter_path):
                    if discoverers and peripheral.in_range and not peripheral.connected:
                        self._heard(peripheral)
            await asyncio.sleep(ADVERTISING_SECONDS)

    def _heard(self, peripheral: Peripheral) -> None:
        if peripheral.known:
            self._changed(peripheral.path, DEVICE, {"RSSI": Variant("n", peripheral.rssi)})
            return
        peripheral.known = True
        self._add_object(
            peripheral.path,
            DEVICE,
            {
                "Address": Variant("s", peripheral.address),
                "AddressType": Variant("s", "random"),
                "Name": Variant("s", peripheral.name),
                "Alias": Variant("s", peripheral.name),
                "Adapter": Variant("o", peripheral.path.rpartition("/")[0]),
                "Paired": FALSE,
                "Connected": FALSE,
                "ServicesResolved": FALSE,
                "UUIDs": Variant("as", list(peripheral.advertised)),
                "RSSI": Variant("n", peripheral.rssi),
            },
        )

    def _forget(self, peripheral: Peripheral) -> None:
        if peripheral.known:
            peripheral.known = False
            self._remove_object(peripheral.path)

    def _resolve(self, peripheral: Peripheral) -> None:
        """Show the services of a connected device; every object takes a handle, as in GATT."""
        if not (self.running and peripheral.connected):
            return
        handle = 0x0010
        for service_uuid, characteristics in peripheral.services.items():
            service_path = f"{peripheral.path}/service{handle:04x}"
            handle += 1
            self._add_object(
                service_path,
                SERVICE,
                {
                    "UUID": Variant("s", service_uuid),
                    "Device": Variant("o", peripheral.path),
                    "Primary": TRUE,
                },
            )
            for characteristic in characteristics:
                characteristic.path = f"{service_path}/char{handle:04x}"
                handle += 3
                self._add_object(
                    characteristic.path,
                    CHARACTERISTIC,
                    {
                        "UUID": Variant("s", characteristic.uuid),
                        "Service": Variant("o", service_path),
                        "Value": Variant("ay", b""),
                        "Flags": Variant("as", list(characteristic.flags)),
                        "MTU": Variant("q", 247),
                    },
                )
        self._changed(peripheral.path, DEVICE, {"ServicesResolved": TRUE})

    def _disconnected(self, peripheral: Peripheral) -> None:
        if not peripheral.connected:
            return
        self._break_link(peripheral)
        self._changed(peripheral.path, DEVICE, {"ServicesResolved": FALSE})
        self._changed(peripheral.path, DEVICE, {"Connected": FALSE})
        for path in [p for p in self._objects if p.startswith(f"{peripheral.path}/")]:
            self._remove_object(path)

    @staticmethod
    def _break_link(peripheral: Peripheral) -> None:
        if peripheral.connected:
            peripheral.connected = False
            for characteristic in peripheral.characteristics:
                characteristic.subscribers.clear()
            if peripheral.on_disconnected is not None:
                peripheral.on_disconnected()

    # Method calls.

    def _spawn(self, work: Any, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_message(self, message: Message) -> bool | None:
        if message.message_type is MessageType.METHOD_CALL:
            self._spawn(self._dispatch(message), f"fake {message.member}")
            return True
        if message.member == "NameOwnerChanged" and not message.body[2]:
            self._client_left(message.body[0])
        return None

    def _client_left(self, client: str) -> None:
        for discoverers in self._discoverers.values():
            discoverers.discard(client)
        for peripheral in self._peripherals.values():
            for characteristic in peripheral.characteristics:
                characteristic.subscribers.discard(client)

    async def _dispatch(self, message: Message) -> None:
        try:
            signature, body = await self._answer(message)
        except DBusFault as fault:
            reply = Message.new_error(message, fault.name, fault.text)
        else:
            reply = Message.new_method_return(message, signature, body)
        await self._bus.send(reply)

    async def _answer(self, message: Message) -> Reply:
        key = (message.interface or "", message.member or "")
        if key == (OBJECT_MANAGER, "GetManagedObjects"):
            return "a{oa{sa{sv}}}", [self._objects]
        if message.path not in self._objects:
            raise DBusFault(UNKNOWN_OBJECT, f"no object {message.path}")
        if key not in self._methods:
            raise DBusFault(UNKNOWN_METHOD, ".".join(key))
        return await self._methods[key](message)

    async def _accept(self, _: Message) -> Reply:
        return NOTHING

    async def _get_all(self, message: Message) -> Reply:
        return "a{sv}", [self._objects[str(message.path)][message.body[0]]]

    async def _start_discovery(self, message: Message) -> Reply:
        path, client = str(message.path), str(message.sender)
        if not self._objects[path][ADAPTER]["Powered"].value:
            raise DBusFault(NOT_READY, "Resource Not Ready")
        if client in self._discoverers[path]:
            raise DBusFault(IN_PROGRESS, "Operation already in progress")
        self._discoverers[path].add(client)
        self._changed(path, ADAPTER, {"Discovering": TRUE})
        return NOTHING

    async def _stop_discovery(self, message: Message) -> Reply:
        path, client = str(message.path), str(message.sender)
        if client not in self._discoverers[path]:
            raise DBusFault(FAILED, "No discovery started")
        self._discoverers[path].discard(client)
        self._changed(path, ADAPTER, {"Discovering": Variant("b", self.is_discovering(path[11:]))})
        for peripheral in self._on(path):
            if peripheral.known:
                self._changed(peripheral.path, DEVICE, {}, invalidated=("RSSI",))
        return NOTHING

    async def _remove_device(self, message: Message) -> Reply:
        peripheral = self._peripherals[message.body[0]]
        self._disconnected(peripheral)
        self._forget(peripheral)
        return NOTHING

    async def _connect(self, message: Message) -> Reply:
        peripheral = self._peripherals[str(message.path)]
        if peripheral.connected:
            return NOTHING
        if peripheral.path in self._connecting:
            raise DBusFault(IN_PROGRESS, "Operation already in progress")
        cancelled = self._connecting[peripheral.path] = asyncio.Event()
        try:
            async with asyncio.timeout(peripheral.connect_seconds):
                await cancelled.wait()
            if not peripheral.known:
                raise DBusFault(UNKNOWN_OBJECT, f"no object {peripheral.path}")
            raise DBusFault(FAILED, "Operation was cancelled")
        except TimeoutError:
            pass
        finally:
            del self._connecting[peripheral.path]
        if peripheral.connect_errors:
            raise DBusFault(FAILED, peripheral.connect_errors.pop(0))
        if not peripheral.in_range:
            raise DBusFault(FAILED, "le-connection-abort-by-remote")
        peripheral.connected = True
        peripheral.connections += 1
        self._changed(peripheral.path, DEVICE, {"Connected": TRUE})
        asyncio.get_running_loop().call_later(RESOLVING_SECONDS, self._resolve, peripheral)
        return NOTHING

    async def _disconnect(self, message: Message) -> Reply:
        path = str(message.path)
        if path in self._connecting:
            self._connecting[path].set()
        self._disconnected(self._peripherals[path])
        return NOTHING

    def _found(self, message: Message) -> tuple[Peripheral, Characteristic]:
        return next(
            (peripheral, characteristic)
            for peripheral in self._peripherals.values()
            for characteristic in peripheral.characteristics
            if characteristic.path == message.path
        )

    async def _read_value(self, message: Message) -> Reply:
        peripheral, characteristic = self._found(message)
        if "read" not in characteristic.flags:
            raise DBusFault(NOT_SUPPORTED, "Operation is not supported")
        # Who is subscribed gets what is read as a notification too.
        self.notify(peripheral, characteristic.uuid, characteristic.value)
        return "ay", [characteristic.value]

    async def _write_value(self, message: Message) -> Reply:
        peripheral, characteristic = self._found(message)
        if not {"write", "write-without-response"} & set(characteristic.flags):
            raise DBusFault(NOT_SUPPORTED, "Operation is not supported")
        value = bytes(message.body[0])
        peripheral.writes.append((characteristic.uuid, value))
        if characteristic.on_write is not None:
            # The answer of a wearable comes after the acknowledgement of the write.
            asyncio.get_running_loop().call_soon(characteristic.on_write, value)
        return NOTHING

    async def _start_notify(self, message: Message) -> Reply:
        _, characteristic = self._found(message)
        if not {"notify", "indicate"} & set(characteristic.flags):
            raise DBusFault(NOT_SUPPORTED, "Operation is not supported")
        characteristic.subscribers.add(str(message.sender))
        return NOTHING

    async def _stop_notify(self, message: Message) -> Reply:
        _, characteristic = self._found(message)
        characteristic.subscribers.discard(str(message.sender))
        return NOTHING
