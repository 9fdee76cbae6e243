"""What the formats share in reading bytes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from device_adapters.errors import MalformedPayloadError
from device_adapters.samples import STANDARD_GRAVITY

MAX_PAYLOAD_BYTES = 512
"""The longest value of an attribute (Bluetooth Core Specification, vol. 3, part F, 3.2.9)."""

G = STANDARD_GRAVITY
INT16 = np.dtype("<i2")
FLOAT32 = np.dtype("<f4")


def si_values(
    format_name: str, payload: bytes, readings: ArrayLike, scale: ArrayLike
) -> NDArray[np.float32]:
    """Return readings times scale as float32 of the readings' shape.

    Raises:
        MalformedPayloadError: a value is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(np.asarray(readings) * np.asarray(scale), dtype=np.float32)
    if not np.isfinite(values).all():
        raise MalformedPayloadError(format_name, "holds a value that is not finite", payload)
    return values


def check_length(format_name: str, payload: bytes, least: int) -> None:
    """Check that a payload has `least` bytes and no more than a notification can have.

    Raises:
        MalformedPayloadError: it has not.
    """
    if len(payload) < least:
        raise MalformedPayloadError(format_name, f"has fewer than {least} bytes", payload)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MalformedPayloadError(
            format_name, f"has more than the {MAX_PAYLOAD_BYTES} bytes of a notification", payload
        )
