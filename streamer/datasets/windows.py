"""The file of a set that is made of windows: one compressed NumPy file, without pickle."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from streamer.datasets.dataset import UNLABELLED, Windows
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
    try:
        with np.load(path, allow_pickle=False) as arrays:
            windows = Windows(
                arrays["values"],
                arrays["labels"],
                arrays["wearers"],
                tuple(arrays["names"].tolist()),
                tuple(arrays["channels"].tolist()),
                tuple(arrays["units"].tolist()),
                float(arrays["rate_hz"]),
            )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DatasetError("windows", path, f"is no file of windows: {error}") from error
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
    wrong = (windows.labels < UNLABELLED) | (windows.labels >= len(windows.names))
    if wrong.any():
        raise DatasetError(
            dataset,
            path,
            f"has the label {windows.labels[wrong][0]} but {len(windows.names)} names",
        )


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
