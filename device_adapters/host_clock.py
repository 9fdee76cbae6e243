"""The gateway's own clock, which all its devices share: seconds since the epoch that never step.

A machine without a battery for its clock sets it by hours once it reaches a time server. What is
waited for, and how devices lie to each other, must not change then: only what is told does.
"""

import time

_EPOCH = time.time() - time.monotonic()


def now() -> float:
    """Return the time on the gateway's clock: of day as the process began, and even since."""
    return _EPOCH + time.monotonic()


def set_by() -> float:
    """Return by how many seconds the host's clock has been set since; whole milliseconds."""
    return round(time.time() - now(), 3)
