"""HAPT: six activities and six postural transitions, a waist-worn phone, 30 people, 50 Hz.

Rows of `labels.txt`: experiment, person, activity, first and last sample, counted from 1.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY, STANDARD_GRAVITY
from streamer.datasets.dataset import (
    UNLABELLED,
    Dataset,
    Recording,
    build_recording,
    hour_start,
)
from streamer.datasets.tables import find_folder, read_numbers
from streamer.errors import DatasetError

NAME = "hapt"
_ACCELERATION_FILE = re.compile(r"acc_exp(\d+)_user(\d+)\.txt")


def read(folder: Path) -> Iterator[Recording]:
    """Read the official layout; `folder` is the data set's, or its `RawData`.

    Raises:
        DatasetError: files are missing or malformed; the message names them.
    """
    raw = find_folder(NAME, folder, ["RawData"], "acc_exp*_user*.txt")
    spans = _read_spans(raw / "labels.txt")
    for path in sorted(raw.glob("acc_exp*_user*.txt")):
        match = _ACCELERATION_FILE.fullmatch(path.name)
        if match is None:
            raise DatasetError(NAME, path, "is not named acc_expNN_userMM.txt")
        experiment, person = int(match[1]), int(match[2])
        acceleration = read_numbers(NAME, path, 3)
        rotation = read_numbers(NAME, path.with_name(path.name.replace("acc_", "gyro_", 1)), 3)
        if len(acceleration) != len(rotation):
            raise DatasetError(
                NAME, path, f"has {len(acceleration)} samples but its gyro file {len(rotation)}"
            )
        labels = np.full(len(acceleration), UNLABELLED, dtype=np.int64)
        own = spans[(spans[:, :2] == (experiment, person)).all(axis=1)]
        for _, _, activity, first, last in own:
            labels[first - 1 : last] = activity - 1
        cut_off = own[:, 4].max(initial=0) > len(labels)
        yield build_recording(
            f"hapt_exp{experiment:02d}_user{person:02d}",
            HAPT.stream(f"user{person:02d}"),
            hour_start(experiment) + np.arange(len(labels)) / HAPT.rate_hz,
            HAPT.to_si(np.hstack([acceleration, rotation])),
            labels,
            HAPT.labels,
            f"{path} ends at sample {len(labels)}, before its last label" if cut_off else "",
        )


def _read_spans(path: Path) -> NDArray[np.int64]:
    rows = read_numbers(NAME, path, 5).astype(np.int64)
    for experiment, person, activity, first, last in rows.tolist():
        if not 1 <= activity <= len(HAPT.labels) or not 1 <= first <= last:
            raise DatasetError(
                NAME,
                path,
                f"has the row {experiment} {person} {activity} {first} {last}; "
                "expected experiment, person, activity 1 to 12, first and last sample",
            )
    return rows


HAPT = Dataset(
    name=NAME,
    title=(
        "Smartphone-Based Recognition of Human Activities and Postural Transitions; Reyes-Ortiz "
        "et al., Transition-Aware Human Activity Recognition Using Smartphones, Neurocomputing "
        "171 (2016)"
    ),
    licence="CC BY 4.0",
    source="UCI Machine Learning Repository, data set 341",
    layout="RawData/acc_expNN_userMM.txt (g), gyro_expNN_userMM.txt (rad/s), labels.txt",
    rate_hz=50.0,
    channels=("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"),
    units=(ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3,
    si_scale=(STANDARD_GRAVITY,) * 3 + (1.0,) * 3,
    conversion="g to m/s2",
    labels=(
        "walk",
        "walk up stairs",
        "walk down stairs",
        "sit",
        "stand",
        "lie",
        "stand to sit",
        "sit to stand",
        "sit to lie",
        "lie to sit",
        "stand to lie",
        "lie to stand",
    ),
    wearers=tuple(f"user{person:02d}" for person in range(1, 31)),
    recordings=61,
    window=128,
    test=tuple(f"user{person:02d}" for person in (2, 4, 9, 10, 12, 13, 18, 20, 24)),
    read=read,
)
