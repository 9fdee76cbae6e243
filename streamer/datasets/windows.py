"""The file of a set that is made of windows: one compressed NumPy file, without pickle."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.datasets.array_file import ArrayFile
from streamer.datasets.dataset import SHORTEST_WINDOW, UNLABELLED, Windows
from streamer.datasets.names import renamed
from streamer.errors import DatasetError

WINDOWS_FILE = "windows.npz"


def write_windows(windows: Windows, path: Path) -> None:
    """Write windows to a file."""
    np.savez_compressed(
        path,
        allow_pickle=False,
        values=windows.values,
        labels=windows.labels,
        wearers=windows.wearers,
        names=np.array(windows.names),
        channels=np.array(windows.channels),
        units=np.array(windows.units),
        rate_hz=np.array(windows.rate_hz),
    )


def read_windows(path: Path) -> Windows:
    """Read what `write_windows` wrote.

    Raises:
        DatasetError: the file is missing or not of this kind.
    """
    file = ArrayFile("windows", path, "file of windows")
    windows = Windows(
        file.take("values", "numbers", 3).astype(np.float32),
        file.take("labels", "whole numbers", 1).astype(np.int64),
        file.take("wearers", "text", 1),
        tuple(file.take("names", "text", 1).tolist()),
        tuple(file.take("channels", "text", 1).tolist()),
        tuple(file.take("units", "text", 1).tolist()),
        float(file.take("rate_hz", "numbers", 0)),
    )
    check_windows("windows", path, windows)
    return windows


def check_windows(dataset: str, path: Path, windows: Windows) -> None:
    """Check that everything of a set of windows fits together.

    Raises:
        DatasetError: it does not.
    """
    values, count = windows.values, len(windows.values)
    if values.ndim != 3 or not count:
        raise DatasetError(
            dataset,
            path,
            f"has windows of the shape {values.shape}; expected [windows, time, channels]",
        )
    if values.shape[1] < SHORTEST_WINDOW:
        raise DatasetError(
            dataset,
            path,
            f"has windows of {values.shape[1]} samples; expected {SHORTEST_WINDOW} or more",
        )
    if not 0 < windows.rate_hz < np.inf:
        raise DatasetError(
            dataset, path, f"has the rate {windows.rate_hz:g} Hz; expected a positive number"
        )
    if values.shape[2] != len(windows.channels) or len(windows.channels) != len(windows.units):
        raise DatasetError(
            dataset,
            path,
            f"has {values.shape[2]} channels, {len(windows.channels)} names and "
            f"{len(windows.units)} units of them",
        )
    if windows.labels.shape != (count,) or windows.wearers.shape != (count,):
        raise DatasetError(
            dataset,
            path,
            f"has {count} windows, labels of the shape {windows.labels.shape} and wearers of the "
            f"shape {windows.wearers.shape}",
        )
    check_labels(dataset, path, windows.labels, len(windows.names))


def check_labels(dataset: str, path: Path, labels: NDArray[np.int64], names: int) -> None:
    """Check that label indices are those of so many names, or `UNLABELLED`.

    Raises:
        DatasetError: one is not.
    """
    wrong = (labels < UNLABELLED) | (labels >= names)
    if wrong.any():
        raise DatasetError(dataset, path, f"has the label {labels[wrong][0]} but {names} names")


def rename_windows(windows: Windows, names: Mapping[str, str]) -> Windows:
    """Return the windows under other names; labels of the same new name become one."""
    after = renamed(windows.names, names)
    place = [after.index(renamed([name], names)[0]) for name in windows.names]
    labels = np.array([*place, UNLABELLED], dtype=np.int64)[windows.labels]
    return Windows(
        windows.values,
        labels,
        windows.wearers,
        after,
        windows.channels,
        windows.units,
        windows.rate_hz,
    )
