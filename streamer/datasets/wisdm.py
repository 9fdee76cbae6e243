"""WISDM 2019: 18 activities, a watch on the wrist and a phone in the pocket, 51 people, 20 Hz.

Rows are `person,activity letter,time in ns,x,y,z;`. Acceleration and rotation are sampled apart:
rotation is put on the straight line between its own samples at the acceleration's times.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY
from streamer.datasets.dataset import Dataset, Recording, build_recording, hour_start
from streamer.errors import DatasetError
from streamer.resample import MAX_GAP_SECONDS

LETTERS = "ABCDEFGHIJKLMOPQRS"
"""The activities' letters; there is no N."""

ROW = np.dtype([("person", "i8"), ("letter", "U4"), ("time", "i8"), ("axes", "f8", 3)])
Worn = Literal["watch", "phone"]


def read(worn: Worn, folder: Path) -> Iterator[Recording]:
    """Read one device's files, a recording for each person and activity.

    Raises:
        DatasetError: files are missing or malformed; the message names them.
    """
    dataset = DATASETS[worn]
    places = [folder / worn, folder / "raw" / worn, folder / "wisdm-dataset" / "raw" / worn]
    raw = next((place for place in places if place.is_dir()), None)
    paths = sorted(raw.glob(f"accel/data_*_accel_{worn}.txt")) if raw else []
    if not paths:
        raise DatasetError(
            dataset.name, folder, f"holds no raw/{worn}/accel/data_NNNN_accel_{worn}.txt"
        )
    number = 0
    for path in paths:
        match = re.fullmatch(rf"data_(\d+)_accel_{worn}\.txt", path.name)
        if match is None:
            raise DatasetError(dataset.name, path, f"is not named data_NNNN_accel_{worn}.txt")
        acceleration = _read_rows(dataset.name, path)
        gyro = path.parent.parent / "gyro" / path.name.replace("accel", "gyro")
        rotation = _read_rows(dataset.name, gyro)
        for activity, letter in enumerate(LETTERS):
            number += 1
            rows = acceleration[acceleration["letter"] == letter]
            if len(rows):
                times = (rows["time"] - rows["time"][0]) / 1e9
                turned = _at(rows["time"], rotation[rotation["letter"] == letter], dataset.rate_hz)
                yield build_recording(
                    f"{dataset.name}_{match[1]}_{letter}",
                    dataset.stream(match[1]),
                    hour_start(number) + times,
                    dataset.to_si(np.hstack([rows["axes"], turned])),
                    np.full(len(rows), activity, dtype=np.int64),
                    dataset.labels,
                )


def _read_rows(dataset: str, path: Path) -> NDArray[np.void]:
    try:
        lines = path.read_text(encoding="utf-8").replace(";", "").splitlines()
        if not any(line.strip() for line in lines):
            raise DatasetError(dataset, path, "is empty")
        rows = np.loadtxt(lines, delimiter=",", dtype=ROW, ndmin=1)
    except FileNotFoundError as error:
        raise DatasetError(dataset, path, "is missing") from error
    except (OSError, ValueError) as error:
        raise DatasetError(
            dataset, path, f"can't be read as rows of person,letter,time,x,y,z;: {error}"
        ) from error
    unknown = set(np.unique(rows["letter"]).tolist()) - set(LETTERS)
    if unknown:
        raise DatasetError(dataset, path, f"has the activities {sorted(unknown)}; expected A to S")
    return rows


def _at(times: NDArray[np.int64], rows: NDArray[np.void], rate_hz: float) -> NDArray[np.float64]:
    """Return the rows' values at these times (ns), NaN where none is near enough, [n, 3]."""
    values = np.full((len(times), 3), np.nan)
    _, first = np.unique(rows["time"], return_index=True)
    rows = rows[first]
    if len(rows) < 2:
        return values
    known = rows["time"].astype(np.float64)
    right = np.clip(np.searchsorted(rows["time"], times), 1, len(rows) - 1)
    before, after = times - rows["time"][right - 1], rows["time"][right] - times
    period = 1e9 / rate_hz
    # One period beyond either end is still near: the two sensors do not start together.
    near = (before >= -period) & (after >= -period)
    near &= before + after <= MAX_GAP_SECONDS * 1e9 + period
    for axis in range(3):
        column = np.interp(times.astype(np.float64), known, rows["axes"][:, axis])
        values[near, axis] = column[near]
    return values


def _dataset(worn: Worn) -> Dataset:
    return Dataset(
        name=f"wisdm-{worn}",
        title=(
            "WISDM Smartphone and Smartwatch Activity and Biometrics Dataset; Weiss et al., "
            "Smartphone and Smartwatch-Based Biometrics Using Activities of Daily Living, "
            "IEEE Access 7 (2019)"
        ),
        licence="CC BY 4.0",
        source="UCI Machine Learning Repository, data set 507",
        layout=f"raw/{worn}/accel/data_NNNN_accel_{worn}.txt (m/s2) and the same of gyro (rad/s)",
        rate_hz=20.0,
        channels=("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"),
        units=(ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3,
        si_scale=(1.0,) * 6,
        conversion="",
        labels=(
            "walking",
            "jogging",
            "stairs",
            "sitting",
            "standing",
            "typing",
            "brushing teeth",
            "eating soup",
            "eating chips",
            "eating pasta",
            "drinking from cup",
            "eating sandwich",
            "kicking soccer ball",
            "playing catch with tennis ball",
            "dribbling basketball",
            "writing",
            "clapping",
            "folding clothes",
        ),
        wearers=tuple(str(person) for person in range(1600, 1651)),
        recordings=51 * len(LETTERS),
        window=200,
        test=tuple(str(person) for person in range(1641, 1651)),
        read=partial(read, worn),
    )


WISDM_WATCH = _dataset("watch")
WISDM_PHONE = _dataset("phone")
DATASETS: dict[Worn, Dataset] = {"watch": WISDM_WATCH, "phone": WISDM_PHONE}
