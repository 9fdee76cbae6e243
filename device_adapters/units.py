"""Units that wearables send in, and what makes SI units of them."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import (
    ACCELERATION,
    ANGULAR_VELOCITY,
    MAGNETIC_FIELD,
    STANDARD_GRAVITY,
)

Unit = Literal["m/s2", "g", "mg", "rad/s", "deg/s", "mdeg/s", "uT", "gauss", "mgauss"]
"""A key of `UNITS`."""

DEGREE = math.pi / 180.0

UNITS = {
    ACCELERATION: (ACCELERATION, 1.0),
    "g": (ACCELERATION, STANDARD_GRAVITY),
    "mg": (ACCELERATION, 1e-3 * STANDARD_GRAVITY),
    ANGULAR_VELOCITY: (ANGULAR_VELOCITY, 1.0),
    "deg/s": (ANGULAR_VELOCITY, DEGREE),
    "mdeg/s": (ANGULAR_VELOCITY, 1e-3 * DEGREE),
    MAGNETIC_FIELD: (MAGNETIC_FIELD, 1.0),
    "gauss": (MAGNETIC_FIELD, 100.0),
    "mgauss": (MAGNETIC_FIELD, 0.1),
}
"""For each unit of a wearable the SI unit, and how many of it one is."""

TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""For each unit of a device's clock how many seconds one is."""

MAX_TIME_SECONDS = 1e11
"""Three thousand years: nanoseconds taken for seconds lie beyond, and float64 does not tell samples
apart there."""


def si_units(units: Sequence[str]) -> tuple[str, ...]:
    """Return the SI unit of each unit; one that is not known stays as it is."""
    return tuple(UNITS[unit][0] if unit in UNITS else unit for unit in units)


def si_factors(units: Sequence[str]) -> NDArray[np.float32] | None:
    """Return what to multiply each channel with, float32 [channels]; None if all are SI units."""
    factors = [UNITS[unit][1] for unit in units]
    return None if set(factors) == {1.0} else np.array(factors, dtype=np.float32)


def conversion(units: Sequence[str]) -> str:
    """Return what is done to reach SI units, such as `g to m/s2`; empty if nothing."""
    return ", ".join(
        f"{unit} to {UNITS[unit][0]}" for unit in dict.fromkeys(units) if UNITS[unit][0] != unit
    )
