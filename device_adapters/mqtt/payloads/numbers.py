"""What text and object formats share: strict numbers, and the packet that is made of them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_adapters.errors import PayloadError
from device_adapters.mqtt.payloads.payload import Packet
from device_adapters.units import MAX_TIME_SECONDS

MAX_SAMPLES = 10_000
"""In one message; more is nobody's intent."""

PERIODS_SECONDS = (1e-5, 100.0)
"""From the fastest vibration sensor to what no one calls a stream."""

MOST_PERIODS_APART = 10
"""As most samples of a message may be; between them the gateway sees a gap, which it fills."""

LONGEST_PAUSE = 86_400.0
"""Seconds between two samples of a message; after more the clock was set between them."""

NUMBER_TYPES = frozenset({int, float})
"""Those of a list's numbers; a bool is none."""

WHOLE_RATE = 0.02
"""A measured rate this near a whole number of hertz is meant to be that."""


def number(name: str, what: str, value: object) -> float:
    """Return a finite number.

    Args:
        name: the format's, for the error.
        what: the number's place, for the error.
        value: what was found there.

    Raises:
        PayloadError: it is not one.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if math.isfinite(found):
            return found
    raise PayloadError(name, f"{what} is {shown(value)}; it must be a finite number")


def whole_number(name: str, what: str, value: object) -> int:
    """Return an integer, which is at least 0.

    Raises:
        PayloadError: it is not one.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise PayloadError(name, f"{what} is {shown(value)}; it must be a whole number")


def numbers(name: str, what: str, value: object, dimensions: int) -> NDArray[np.float64]:
    """Return finite numbers as float64, from a list (of equally long lists).

    Raises:
        PayloadError: they are not that.
    """
    # As objects: numpy would make every text of a list as long as the longest.
    found: NDArray[Any] = np.array(value, dtype=object)
    if found.ndim != dimensions or not NUMBER_TYPES.issuperset(map(type, found.flat)):
        kind = "a list of numbers" if dimensions == 1 else "a list of equally long lists of numbers"
        raise PayloadError(name, f"{what} is {shown(value)}; it must be {kind}")
    try:
        exact = found.astype(np.float64)
    except OverflowError as error:
        raise PayloadError(name, f"{what} holds a number that float64 does not") from error
    if not np.isfinite(exact).all():
        raise PayloadError(name, f"{what} holds a number that is not finite")
    return exact


def shown(value: object) -> str:
    """Return a value for an error message, cut short."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        text = "a huge number"
    except RecursionError:
        text = "nested too deep to be shown"
    return text if len(text) <= 40 else f"{text[:37]}..."


def measured_period(name: str, times: NDArray[np.float64]) -> float:
    """Return the usual time between samples, where nothing tells their rate.

    Raises:
        PayloadError: there are not two samples to tell it from.
    """
    if len(times) < 2:
        raise PayloadError(name, "one sample does not tell a rate; configure rate_hz")
    step = float(np.median(np.diff(times)))
    rate = 1 / step if step > 0 else 0.0
    whole = round(rate)
    return 1 / whole if whole and abs(rate - whole) < WHOLE_RATE * whole else step


def check_samples(name: str, samples: int) -> None:
    """Check that a packet has samples, and no more than are meant.

    Raises:
        PayloadError: it has not.
    """
    if not 0 < samples <= MAX_SAMPLES:
        raise PayloadError(name, f"it holds {samples} samples; 1 to {MAX_SAMPLES} are taken")


def check_period(name: str, period_s: float) -> None:
    """Check that samples are as far apart as those of a stream.

    Raises:
        PayloadError: they are not.
    """
    if not PERIODS_SECONDS[0] <= period_s <= PERIODS_SECONDS[1]:
        raise PayloadError(name, f"its samples are {period_s:g} s apart; is the unit right?")


def packet(
    name: str,
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    counter: int | None,
    period_s: float,
    device: str | None = None,
    *,
    laid_out: bool = False,
) -> Packet:
    """Return the packet of what was read, if it can be one.

    Raises:
        PayloadError: the times don't increase, or are not of this world; so is the period; or
            they contradict each other; or there are no samples, or too many.
    """
    check_samples(name, len(times))
    if len(times) != len(values):
        raise PayloadError(name, f"{len(values)} samples but {len(times)} times")
    if np.abs(times).max() > MAX_TIME_SECONDS:
        raise PayloadError(name, f"time {times[0]:g} s is out of range; is its unit right?")
    steps = np.diff(times)
    if (steps <= 0).any():
        raise PayloadError(name, "its times do not increase")
    if len(steps) and steps.max() > LONGEST_PAUSE:
        raise PayloadError(name, f"its times leap by {steps.max():g} s")
    check_period(name, period_s)
    if len(steps) and (usual := float(np.median(steps))) > MOST_PERIODS_APART * period_s:
        raise PayloadError(
            name, f"its times are {usual:g} s apart, its rate is {1 / period_s:g} Hz; is it right?"
        )
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single[~np.isnan(values)]).all():
        raise PayloadError(name, "it holds a number that float32 does not")
    return Packet(times, single, counter, period_s, device, laid_out)
