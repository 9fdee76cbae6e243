"""Data sets in one compressed NumPy file, in published values.

Continuous ones: `X` [samples, channels] (integers with a `scale` for each channel, or floats), `y`
(label from 0, -1 without) [samples], `offsets` [recordings + 1], `subject` and `rec` [recordings].
UCI-HAR's windows: `X_train`, `y_train` (from 0), `subject_train`, and the same of `test`.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.datasets.dataset import Dataset, Recording, Windows, build_recording, hour_start
from streamer.datasets.windows import check_windows
from streamer.errors import DatasetError

Arrays = Mapping[str, NDArray[Any]]


def read_compact(dataset: Dataset, path: Path) -> Iterator[Recording] | Windows:
    """Read such a file of this data set.

    Raises:
        DatasetError: the file is not of this kind, or of another data set.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if "X_train" in arrays:
            return _windows(dataset, path, arrays)
        channels, classes = arrays["X"].shape[1], len(arrays["classes"])
        ends = arrays["offsets"][-1]
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        raise DatasetError(dataset.name, path, f"is no compact file: {error}") from error
    if (channels, classes) != (len(dataset.channels), len(dataset.labels)) or ends != len(
        arrays["y"]
    ):
        raise DatasetError(
            dataset.name,
            path,
            f"has {channels} channels and {classes} labels; expected "
            f"{len(dataset.channels)} and {len(dataset.labels)}",
        )
    return _recordings(dataset, path, arrays)


def _recordings(dataset: Dataset, path: Path, arrays: Arrays) -> Iterator[Recording]:
    scale = arrays.get("scale", np.float32(1))
    for number, (begin, end) in enumerate(pairwise(arrays["offsets"].tolist())):
        yield build_recording(
            f"{dataset.name}_{arrays['rec'][number]}",
            dataset.stream(_wearer(dataset, path, int(arrays["subject"][number]))),
            hour_start(number + 1) + np.arange(end - begin) / dataset.rate_hz,
            dataset.to_si(arrays["X"][begin:end] * scale),
            arrays["y"][begin:end].astype(np.int64),
            dataset.labels,
        )


def _windows(dataset: Dataset, path: Path, arrays: Arrays) -> Windows:
    joined = {
        key: np.concatenate([arrays[f"{key}_train"], arrays[f"{key}_test"]])
        for key in ("X", "y", "subject")
    }
    people = [_wearer(dataset, path, person) for person in joined["subject"].tolist()]
    if joined["X"].shape[2:] != (len(dataset.channels),):
        raise DatasetError(
            dataset.name,
            path,
            f"has windows of the shape {joined['X'].shape}; "
            f"expected {len(dataset.channels)} channels",
        )
    windows = Windows(
        dataset.to_si(joined["X"]),
        joined["y"].astype(np.int64),
        np.array(people),
        dataset.labels,
        dataset.channels,
        dataset.units,
        dataset.rate_hz,
    )
    check_windows(dataset.name, path, windows)
    return windows


def _wearer(dataset: Dataset, path: Path, person: int) -> str:
    """Return the wearer of this number, whose name ends in it."""
    for wearer in dataset.wearers:
        if int("".join(filter(str.isdigit, wearer))) == person:
            return wearer
    raise DatasetError(dataset.name, path, f"has person {person}, who is not in {dataset.name}")
