"""Parts that installed packages register by entry points: ours, and those of third parties."""

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from device_adapters.errors import UnknownPartError


# What is installed is read from files, which takes 20 ms in an environment of a hundred packages.
@cache
def registered(group: str, kind: str, name: str) -> Any:  # noqa: ANN401 - the caller knows
    """Return what an installed package registered as `name` in an entry point group.

    Raises:
        UnknownPartError: no installed package has; the message calls what was asked for `kind`.
    """
    known = entry_points(group=group)
    if name not in known.names:
        raise UnknownPartError(kind, name, known.names)
    return known[name].load()
