"""Which channels are the three axes of one sensor, by their names."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

AXES = ("_x", "_y", "_z")

Device = tuple[tuple[int, ...], ...]
"""Of each of a device's sensors the places of its axes x, y and z among the channels."""


@dataclass(frozen=True, slots=True)
class TriaxialSensor:
    """A sensor of three axes.

    Attributes:
        name: `chest_acc` of the channels `chest_acc_x`, `chest_acc_y`, `chest_acc_z`.
        axes: the places of its channels, in the order of the axes.
    """

    name: str
    axes: tuple[int, ...]

    @property
    def place(self) -> str:
        """What its name begins with, before the last word: `chest`; nothing of one word."""
        return self.name.rpartition("_")[0]

    @property
    def kind(self) -> str:
        """The last word of its name: `acc`."""
        return self.name.rpartition("_")[2]


@cache
def triaxial_sensors(channels: tuple[str, ...]) -> tuple[TriaxialSensor, ...]:
    """Return each sensor that has all three axes."""
    names = [name.removesuffix(AXES[0]) for name in channels if name.endswith(AXES[0])]
    return tuple(
        TriaxialSensor(name, tuple(channels.index(name + axis) for axis in AXES))
        for name in names
        if {name + axis for axis in AXES} <= set(channels)
    )


def places_of(sensors: Sequence[TriaxialSensor], units: Sequence[str]) -> tuple[str, ...]:
    """Return the places at which several devices are worn, as the sensors' names tell.

    They do where each begins with a place and ends with a kind, which is measured in one unit
    wherever it is worn; otherwise, and where there is one place, none is returned.

    Args:
        sensors: of three axes.
        units: of all channels.
    """
    places = tuple(dict.fromkeys(sensor.place for sensor in sensors))
    measured = {(sensor.kind, units[sensor.axes[0]]) for sensor in sensors}
    kinds = {kind for kind, _ in measured}
    return places if len(places) > 1 and all(places) and len(kinds) == len(measured) else ()


def devices_of(sensors: Sequence[TriaxialSensor], apart: Collection[str]) -> tuple[Device, ...]:
    """Return the devices that are worn on their own.

    Args:
        sensors: of three axes.
        apart: places that have a device each; sensors of no such place are one device more.
    """
    devices: dict[str, Device] = {}
    for sensor in sensors:
        place = sensor.place if sensor.place in apart else ""
        devices[place] = (*devices.get(place, ()), sensor.axes)
    return tuple(devices.values())
