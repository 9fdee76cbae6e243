"""The folder that SHARE's released code reads: four arrays and the words of every label.

`X_train.npy` and `X_test.npy` [windows, time, channels], `y_train.npy` and `y_test.npy` [windows],
and a JSON file with `label_dictionary` (label number to words), in the folder itself or, as
released, in `configs/NAME.json` beside the folder `dataset/NAME`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.datasets.array_file import UNREADABLE
from streamer.datasets.dataset import Windows
from streamer.datasets.windows import check_windows
from streamer.errors import DatasetError

NAME = "SHARE arrays"
TRAIN_PARTS = 5
"""Nobody says whose the windows are, so the training windows are parted into blocks in their order:
neighbours in time, which overlap, then mostly stay together."""

TEST_WEARER = "test"
NO_UNIT = "1"
"""The values were normalised before they were saved; their units are unknown."""


def read_share_arrays(folder: Path, rate_hz: float) -> Windows:
    """Read such a folder.

    Args:
        folder: with the four arrays.
        rate_hz: samples a second, which the folder does not tell.

    Raises:
        DatasetError: a file is missing, malformed, or does not fit the others.
    """
    words = _label_words(folder)
    numbers = sorted(words)
    values, labels, wearers = [], [], []
    for part in ("train", "test"):
        samples = _array(folder / f"X_{part}.npy", 3)
        codes = _array(folder / f"y_{part}.npy", 1)
        if len(samples) != len(codes):
            raise DatasetError(
                NAME,
                folder / f"y_{part}.npy",
                f"has {len(codes)} labels of the {len(samples)} windows in X_{part}.npy",
            )
        unknown = sorted(set(np.unique(codes).tolist()) - set(numbers))
        if unknown:
            raise DatasetError(
                NAME, folder / f"y_{part}.npy", f"has labels without words: {unknown}"
            )
        values.append(samples.astype(np.float32))
        labels.append(np.searchsorted(numbers, codes).astype(np.int64))
        block = np.arange(len(samples)) * TRAIN_PARTS // max(1, len(samples))
        wearers += [
            TEST_WEARER if part == "test" else f"train-{number + 1}" for number in block.tolist()
        ]
    if values[0].shape[1:] != values[1].shape[1:]:
        raise DatasetError(
            NAME,
            folder,
            f"has windows of {values[0].shape[1:]} to train and {values[1].shape[1:]} to test",
        )
    channels = tuple(f"channel_{number:02d}" for number in range(values[0].shape[2]))
    windows = Windows(
        np.concatenate(values),
        np.concatenate(labels),
        np.array(wearers),
        tuple(words[number] for number in numbers),
        channels,
        (NO_UNIT,) * len(channels),
        rate_hz,
    )
    check_windows(NAME, folder, windows)
    return windows


def _array(path: Path, dimensions: int) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise DatasetError(NAME, path, "is missing") from error
    except (OSError, *UNREADABLE) as error:
        raise DatasetError(NAME, path, f"is no array of numbers: {error}") from error
    if array.dtype.kind not in "iuf" or array.ndim != dimensions:
        raise DatasetError(
            NAME,
            path,
            f"has {array.dtype} of the shape {array.shape}; expected numbers of {dimensions} "
            "dimensions",
        )
    return array


def _label_words(folder: Path) -> dict[int, str]:
    resolved = folder.resolve()
    beside = resolved.parent.parent / "configs" / f"{resolved.name}.json"
    paths = [path for path in (*sorted(folder.glob("*.json")), beside) if path.is_file()]
    for path in paths:
        try:
            content = json.loads(path.read_bytes())
            if "label_dictionary" in content:
                dictionary = content["label_dictionary"]
                return {int(number): _joined(words) for number, words in dictionary.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                NAME, path, f"holds no label_dictionary of number to words: {error!r}"
            ) from error
    raise DatasetError(NAME, folder, f"has no *.json with a label_dictionary, and no {beside}")


def _joined(words: object) -> str:
    if not isinstance(words, list):
        raise TypeError(f"{words!r} is no list of words, such as {[words]!r}")
    return " ".join(words)
