"""The gateway's own clock, which all its devices share: seconds since the epoch that never step.

A machine without a battery for its clock sets it by hours once it reaches a time server. What is
waited for, and how devices lie to each other, must not change then: only what is told does.
"""

import time

READ_WITHIN_SECONDS = 0.0005
"""Two clocks tell one moment only if nobody else had the processor between the looks at them."""


def _epoch() -> float:
    """Return what time of day it was when the clock that never steps began."""
    while True:
        before = time.monotonic()
        time_of_day = time.time()
        after = time.monotonic()
        if after - before < READ_WITHIN_SECONDS:
            return time_of_day - (before + after) / 2


_EPOCH = _epoch()


def now() -> float:
    """Return the time on the gateway's clock: of day as the process began, and even since."""
    return _EPOCH + time.monotonic()


def set_by() -> float:
    """Return by how many seconds the host's clock has been set since; whole milliseconds."""
    return round(_epoch() - _EPOCH, 3)
