"""What makes SI units of those that wearables send in."""

from typing import get_args

import pytest

from device_adapters.units import UNITS, Unit, conversion, si_factors, si_units


def test_every_unit_that_can_be_asked_for_is_known() -> None:
    assert get_args(Unit) == tuple(UNITS)


@pytest.mark.parametrize(
    ("units", "si", "factors", "told"),
    [
        (("m/s2", "rad/s", "uT"), ("m/s2", "rad/s", "uT"), None, ""),
        (("g", "g", "rad/s"), ("m/s2", "m/s2", "rad/s"), [9.80665, 9.80665, 1], "g to m/s2"),
        (
            ("mg", "deg/s", "mdeg/s"),
            ("m/s2", "rad/s", "rad/s"),
            [0.00980665, 0.017453293, 1.7453293e-5],
            "mg to m/s2, deg/s to rad/s, mdeg/s to rad/s",
        ),
        (("gauss", "mgauss"), ("uT", "uT"), [100, 0.1], "gauss to uT, mgauss to uT"),
    ],
)
def test_units_are_turned_into_those_inside(
    units: tuple[str, ...], si: tuple[str, ...], factors: list[float] | None, told: str
) -> None:
    assert si_units(units) == si
    found = si_factors(units)
    assert (None if found is None else found.tolist()) == (factors and pytest.approx(factors))
    assert conversion(units) == told
