"""Data sets in one compressed NumPy file, in published values.

Continuous ones: `X` [samples, channels] (integers with a `scale` for each channel, or floats), `y`
(label from 0, -1 without) [samples], `offsets` [recordings + 1], `subject` and `rec` [recordings].
UCI-HAR's windows: `X_train`, `y_train` (from 0), `subject_train`, and the same of `test`.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.datasets.array_file import ArrayFile, Kind
from streamer.datasets.dataset import Dataset, Recording, Windows, build_recording, hour_start
from streamer.datasets.windows import check_labels, check_windows
from streamer.errors import DatasetError


def read_compact(dataset: Dataset, path: Path) -> Iterator[Recording] | Windows:
    """Read such a file of this data set.

    Raises:
        DatasetError: the file is not of this kind, or of another data set.
    """
    file = ArrayFile(dataset.name, path, "compact file")
    if "X_train" in file:
        return _windows(dataset, path, file)
    return _recordings(dataset, path, file)


def _recordings(dataset: Dataset, path: Path, file: ArrayFile) -> Iterator[Recording]:
    """Check the file as a whole, and return its recordings."""
    values = file.take("X", "numbers", 2)
    labels = file.take("y", "whole numbers", 1).astype(np.int64)
    offsets = file.take("offsets", "whole numbers", 1)
    people = file.take("subject", "whole numbers", 1).tolist()
    names = file.take("rec", "text or whole numbers", 1).tolist()
    channels, classes = values.shape[1], len(file.take("classes", "text or whole numbers", 1))
    if (channels, classes) != (len(dataset.channels), len(dataset.labels)):
        raise DatasetError(
            dataset.name,
            path,
            f"has {channels} channels and {classes} labels; expected "
            f"{len(dataset.channels)} and {len(dataset.labels)}",
        )
    rising = len(offsets) > 1 and offsets[0] == 0 and (np.diff(offsets) >= 0).all()
    if not rising or not offsets[-1] == len(values) == len(labels):
        raise DatasetError(
            dataset.name,
            path,
            f"has {len(values)} rows of X, {len(labels)} of y and the offsets {offsets.tolist()}; "
            "expected as many rows of both, and offsets that rise from 0 to their number",
        )
    if not len(people) == len(names) == len(offsets) - 1:
        raise DatasetError(
            dataset.name,
            path,
            f"has {len(people)} entries of subject and {len(names)} of rec; "
            f"expected {len(offsets) - 1}, one for each recording",
        )
    check_labels(dataset.name, path, labels, classes)
    scale = file.take("scale", "numbers", 1) if "scale" in file else np.ones(channels)
    if len(scale) != channels:
        raise DatasetError(
            dataset.name, path, f"has {len(scale)} entries of scale; expected {channels}"
        )
    wearers = [_wearer(dataset, path, person) for person in people]
    return (
        build_recording(
            f"{dataset.name}_{names[number]}",
            dataset.stream(wearers[number]),
            hour_start(number + 1) + np.arange(end - begin) / dataset.rate_hz,
            dataset.to_si(values[begin:end] * scale.astype(np.float32)),
            labels[begin:end],
            dataset.labels,
        )
        for number, (begin, end) in enumerate(pairwise(offsets.tolist()))
    )


def _windows(dataset: Dataset, path: Path, file: ArrayFile) -> Windows:
    def joined(name: str, kind: Kind, dimensions: int) -> NDArray[Any]:
        parts = [file.take(f"{name}_{part}", kind, dimensions) for part in ("train", "test")]
        if parts[0].shape[1:] != parts[1].shape[1:]:
            raise DatasetError(
                dataset.name,
                path,
                f"has {name}_train of the shape {parts[0].shape} and {name}_test of the shape "
                f"{parts[1].shape}; expected the same after the first number",
            )
        return np.concatenate(parts)

    values = joined("X", "numbers", 3)
    if values.shape[2:] != (len(dataset.channels),):
        raise DatasetError(
            dataset.name,
            path,
            f"has windows of the shape {values.shape}; expected {len(dataset.channels)} channels",
        )
    people = joined("subject", "whole numbers", 1).tolist()
    windows = Windows(
        dataset.to_si(values),
        joined("y", "whole numbers", 1).astype(np.int64),
        np.array([_wearer(dataset, path, person) for person in people]),
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
