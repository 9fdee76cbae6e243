"""A BlueZ without Bluetooth: `org.bluez` on a private D-Bus, for bleak's real backend to talk to.

`PrivateBus` is the bus, `FakeBlueZ` the daemon, a `Peripheral` what is in range of it. Scenarios
are told from Python: advertise, notify, drop a link, pull an adapter out, let the daemon die.
"""

from fake_bluez.daemon import FakeBlueZ
from fake_bluez.peripheral import Characteristic, Peripheral
from fake_bluez.private_bus import ANYBODY, NOBODY, PrivateBus

__all__ = ["ANYBODY", "NOBODY", "Characteristic", "FakeBlueZ", "Peripheral", "PrivateBus"]
