"""Places in arrays for streams that come and go."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST_SLOTS = 16
"""Streams that there is room for at first; the room doubles when it is used up."""


class Slots:
    """Gives each name a number that no other has at the time, as small as may be.

    Attributes:
        capacity: all slots are below it; it grows when there are more names.
    """

    def __init__(self) -> None:
        self.capacity = FIRST_SLOTS
        self._of: dict[str, int] = {}
        self._free = list(range(FIRST_SLOTS))

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __contains__(self, name: str) -> bool:
        return name in self._of

    def __getitem__(self, name: str) -> int:
        return self._of[name]

    def add(self, name: str) -> int:
        """Return a free slot, which is the name's from now on."""
        if not self._free:
            self._free = list(range(self.capacity, 2 * self.capacity))
            self.capacity *= 2
        self._of[name] = self._free.pop(0)
        return self._of[name]

    def remove(self, name: str) -> int:
        """Return the name's slot, which is free from now on."""
        slot = self._of.pop(name)
        self._free.append(slot)
        return slot


def grown(array: NDArray[Any], capacity: int) -> NDArray[Any]:
    """Return the array with room for `capacity` slots; the new ones are zero."""
    wider = np.zeros((capacity, *array.shape[1:]), dtype=array.dtype)
    wider[: len(array)] = array
    return wider


def begins(names: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where each stretch of equal entries begins."""
    changes = np.ones(len(names), dtype=np.bool_)
    np.not_equal(names[1:], names[:-1], out=changes[1:])
    return changes.nonzero()[0]


def ends(begins: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return where stretches of `count` entries in all end, by where they begin."""
    result = np.empty_like(begins)
    result[:-1] = begins[1:]
    result[-1:] = count
    return result


def ramp(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return 0, 1, ... for each of these lengths in turn, all in one array."""
    ends = lengths.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) - (ends - lengths).repeat(lengths)
