"""NumPy files of several arrays (`.npz`), read with errors that name the array and the fault."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamer.errors import DatasetError

Kind = Literal["numbers", "whole numbers", "text", "text or whole numbers"]

_DTYPES: dict[Kind, str] = {
    "numbers": "iuf",
    "whole numbers": "iu",
    "text": "U",
    "text or whole numbers": "Uiu",
}

UNREADABLE = (
    ValueError,
    EOFError,
    TypeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy raises of a file that is cut off, damaged, or of another kind."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return a file's arrays by their names.

    Raises:
        OSError: it can't be opened.
        ValueError, ...: one of `UNREADABLE`.
    """
    # NumPy leaves a file open that it can't read, unless it was opened for it.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


class ArrayFile:
    """The arrays of a file, without pickle.

    Args:
        dataset: the data set's name, for errors.
        path: the file.
        what: what the file should be, for errors.

    Raises:
        DatasetError: the file is missing, cut off, damaged, or of another kind.
    """

    def __init__(self, dataset: str, path: Path, what: str) -> None:
        self._dataset = dataset
        self._path = path
        try:
            self._arrays = read_arrays(path)
        except (OSError, *UNREADABLE) as error:
            raise DatasetError(dataset, path, f"is no {what}: {error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def take(self, name: str, kind: Kind, dimensions: int) -> NDArray[Any]:
        """Return an array.

        Raises:
            DatasetError: it is missing, or is of another kind or number of dimensions.
        """
        if name not in self._arrays:
            known = ", ".join(self._arrays) or "none"
            raise DatasetError(self._dataset, self._path, f"has no array {name!r}; it has {known}")
        array = self._arrays[name]
        if array.dtype.kind not in _DTYPES[kind] or array.ndim != dimensions:
            raise DatasetError(
                self._dataset,
                self._path,
                f"has the array {name!r} of {array.dtype}, shape {array.shape}; "
                f"expected {kind} of {dimensions} dimensions",
            )
        return array
