"""Reading published text files of numbers, with errors that name the file and the fault."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.errors import DatasetError


def read_numbers(
    dataset: str, path: Path, columns: int, used: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Read a file of numbers between blanks; `NaN` may stand for a missing one.

    Args:
        dataset: the data set's name, for errors.
        path: the file.
        columns: how many it must have.
        used: the columns to return, counted from 0; all by default.

    Returns:
        float64 [rows, used columns].

    Raises:
        DatasetError: the file is missing, empty, or not made of such rows.
    """
    try:
        with path.open(encoding="utf-8") as file, warnings.catch_warnings():
            for row, line in enumerate(file, start=1):
                found = len(line.split())
                if found not in {0, columns}:
                    told = f"has {found} columns in row {row}; expected {columns}"
                    raise DatasetError(dataset, path, told)
            file.seek(0)
            warnings.simplefilter("ignore")  # numpy only warns of an empty file
            numbers = np.loadtxt(file, dtype=np.float64, usecols=used, ndmin=2)
    except FileNotFoundError as error:
        raise DatasetError(dataset, path, "is missing") from error
    except (OSError, ValueError) as error:
        raise DatasetError(dataset, path, f"can't be read as numbers: {error}") from error
    if not numbers.size:
        raise DatasetError(dataset, path, "is empty")
    return numbers


def find_folder(dataset: str, folder: Path, names: Sequence[str], pattern: str) -> Path:
    """Return the folder with files of this pattern: `folder` itself or one of its subfolders.

    Raises:
        DatasetError: none of them has any; the message tells what was looked for.
    """
    for candidate in (folder, *(folder / name for name in names)):
        if any(candidate.glob(pattern)):
            return candidate
    places = " nor ".join(["itself", *(f"in {name}" for name in names)])
    raise DatasetError(dataset, folder, f"holds no {pattern}, neither {places}")


def label_indices(
    dataset: str,
    path: Path,
    published: NDArray[np.float64],
    numbers: Sequence[int],
    unlabelled: int,
) -> NDArray[np.int64]:
    """Map published activity numbers to positions in `numbers`, `unlabelled` to -1.

    Raises:
        DatasetError: a number is neither.
    """
    codes = np.array([unlabelled, *numbers])
    order = np.argsort(codes)
    place = np.minimum(np.searchsorted(codes[order], published), len(codes) - 1)
    wrong = codes[order][place] != published
    if wrong.any():
        raise DatasetError(
            dataset,
            path,
            f"has the activity {published[wrong][0]:g} in row {int(np.argmax(wrong)) + 1}; "
            f"expected {unlabelled} or one of {', '.join(map(str, numbers))}",
        )
    indices: NDArray[np.int64] = (order[place] - 1).astype(np.int64)
    return indices
