"""Which wearables are in range, shown to people or printed as JSON."""

import json
import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from device_adapters.ble.scanner import Sighting, scan


async def show_wearables(
    console: Console, adapter: str | None, seconds: float, *, everything: bool
) -> None:
    """Listen for advertisements and show who sent them, the strongest first.

    Args:
        console: where it is shown.
        adapter: name or address of the Bluetooth adapter; the first that is switched on by default.
        seconds: how long to listen.
        everything: show devices of no known format too.

    Raises:
        BluetoothUnavailableError: the adapter can't be used.
    """
    with console.status(f"listening for {seconds:g} s"):
        sightings = await scan(adapter, seconds)
    shown = [sighting for sighting in sightings if everything or sighting.formats]
    if shown:
        console.print(_table(shown))
    hidden = len(sightings) - len(shown)
    console.print(_summary(len(shown), hidden, seconds), highlight=False)
    if shown and shown[0].formats:
        device = shlex.quote(shown[0].name or shown[0].address)
        console.print(f"Next: streamer listen {device}", highlight=False, markup=False)


async def print_wearables(adapter: str | None, seconds: float) -> None:
    """Listen for advertisements and print a JSON object a line for each device.

    Raises:
        BluetoothUnavailableError: the adapter can't be used.
    """
    for sighting in await scan(adapter, seconds):
        print(  # noqa: T201 - what the command is for
            json.dumps(
                {
                    "address": sighting.address,
                    "name": sighting.name,
                    "formats": sighting.formats,
                    "rssi": sighting.rssi,
                    "adapter": sighting.adapter,
                    "services": sorted(sighting.services),
                }
            )
        )


def _table(sightings: Sequence[Sighting]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("name", "address", "format", "strength", "heard by"):
        table.add_column(heading, no_wrap=True)
    for sighting in sightings:
        table.add_row(
            Text(sighting.name or "-"),
            sighting.address,
            ", ".join(sighting.formats) or "-",
            f"{sighting.rssi} dBm",
            sighting.adapter,
        )
    return table


def _summary(shown: int, hidden: int, seconds: float) -> str:
    found = f"{shown} wearable{'' if shown == 1 else 's'} heard in {seconds:g} s"
    return f"{found}; {hidden} more of no known format (--all shows them)" if hidden else found
