"""Reading files of named arrays that training wrote."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from streamer.datasets.array_file import UNREADABLE, read_arrays
from streamer.errors import TrainingError


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a compressed NumPy file by their names.

    Raises:
        OSError: it can't be opened.
        TrainingError: it is damaged.
    """
    try:
        return read_arrays(path)
    except UNREADABLE as error:
        raise TrainingError(f"{path} is damaged ({error}); remove it to train afresh") from error
