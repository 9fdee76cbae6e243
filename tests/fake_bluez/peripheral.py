"""What is in range: a peripheral's advertisement and its characteristics."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Characteristic:
    """One characteristic.

    Attributes:
        uuid: in full and in lower case.
        flags: as BlueZ names them: `read`, `write`, `write-without-response`, `notify`, `indicate`.
        value: what a read returns.
        on_write: is called with what was written.
        subscribers: the D-Bus clients that asked for notifications.
        path: its D-Bus object while connected.
    """

    uuid: str
    flags: tuple[str, ...]
    value: bytes = b""
    on_write: Callable[[bytes], None] | None = None
    subscribers: set[str] = field(default_factory=set)
    path: str = ""


@dataclass(slots=True, eq=False)
class Peripheral:
    """Something that advertises and can be connected to.

    Attributes:
        address: such as `A0:9E:1A:00:00:01`.
        name: as advertised.
        services: characteristics by the UUID of their service.
        advertised: UUIDs of the services that it advertises.
        rssi: dBm.
        in_range: whether it is heard.
        connect_errors: BlueZ's error texts for the next attempts to connect, one each.
        connect_seconds: how long an attempt to connect takes.
        writes: (characteristic, value) of everything that was written.
        connections: how often it was connected to.
        on_disconnected: is called when the link is gone.
        path: its D-Bus object.
        connected: whether there is a link.
        known: whether BlueZ has an object for it.
    """

    address: str
    name: str
    services: dict[str, list[Characteristic]]
    advertised: tuple[str, ...] = ()
    rssi: int = -60
    in_range: bool = True
    connect_errors: list[str] = field(default_factory=list)
    connect_seconds: float = 0.0
    writes: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0
    on_disconnected: Callable[[], None] | None = None
    path: str = ""
    connected: bool = False
    known: bool = False

    @property
    def characteristics(self) -> list[Characteristic]:
        return [found for group in self.services.values() for found in group]

    def characteristic(self, uuid: str) -> Characteristic:
        return next(found for found in self.characteristics if found.uuid == uuid)
