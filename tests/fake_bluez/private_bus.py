"""A dbus-daemon of our own: on a socket in a temporary folder, without root."""

import subprocess
from pathlib import Path

CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    {policy}
  </policy>
</busconfig>
"""

ANYBODY = ""
"""Policy: everybody may use Bluetooth."""

NOBODY = '<deny send_destination="org.bluez"/>'
"""Policy: what a user outside the group `bluetooth` meets."""


class PrivateBus:
    """A running dbus-daemon.

    Attributes:
        address: what `DBUS_SYSTEM_BUS_ADDRESS` must be for clients to find it.
    """

    def __init__(self, program: str, folder: Path, policy: str = ANYBODY) -> None:
        configuration = folder / "bus.conf"
        configuration.write_text(CONFIGURATION.format(socket=folder / "bus", policy=policy))
        self._process = subprocess.Popen(
            [program, f"--config-file={configuration}", "--nofork", "--print-address=1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        # It prints its address once it listens.
        self.address = self._process.stdout.readline().strip()
        assert self.address, "dbus-daemon did not start"

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=5)
