"""Reading CBOR that may come from anyone."""

from typing import Any

import cbor2

from device_adapters.errors import PayloadError

MAX_DEPTH = 16
"""Deeper than any wearable nests."""

TAGS = (*range(6), *range(25, 31), 35, 36, 37, 52, 54, 100, 258, 260, 261, 1004, 43000, 55799)
"""Those that cbor2 would make objects of; others stay tagged, and are no numbers either."""


def load_cbor(name: str, payload: bytes) -> object:
    """Return what a payload holds, of plain CBOR without tags.

    Raises:
        PayloadError: it is not that.
    """
    try:
        return cbor2.loads(
            payload,
            semantic_decoders=dict.fromkeys(TAGS, _refuse),
            max_depth=MAX_DEPTH,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError) as error:
        raise PayloadError(name, f"it is no plain CBOR: {error}") from error


def dump_cbor(document: object) -> bytes:
    """Return the CBOR of a document."""
    return cbor2.dumps(document)


def _refuse(*_: Any) -> object:  # noqa: ANN401 - what cbor2 hands over differs between tags
    raise ValueError("tags are not taken")
