"""Mhealth: 12 activities, sensors at chest, left ankle and right lower arm, 10 people, 50 Hz.

Rows of 24 columns: acceleration at the chest (m/s2), two of an electrocardiogram, then of ankle and
arm each acceleration (m/s2), rotation (deg/s) and magnetic field; the last is the activity.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY
from device_adapters.units import DEGREE
from streamer.datasets.dataset import Dataset, Recording, build_recording, hour_start
from streamer.datasets.tables import find_folder, label_indices, read_numbers
from streamer.errors import DatasetError

NAME = "mhealth"
COLUMNS = 24
USED = (23, 0, 1, 2, *range(5, 11), *range(14, 20))


def read(folder: Path) -> Iterator[Recording]:
    """Read a recording for each person.

    Raises:
        DatasetError: files are missing or malformed; the message names them.
    """
    raw = find_folder(NAME, folder, ["MHEALTHDATASET"], "mHealth_subject*.log")
    for path in sorted(raw.glob("mHealth_subject*.log")):
        match = re.fullmatch(r"mHealth_subject(\d+)\.log", path.name)
        if match is None:
            raise DatasetError(NAME, path, "is not named mHealth_subjectN.log")
        person = int(match[1])
        rows = read_numbers(NAME, path, COLUMNS, USED)
        yield build_recording(
            f"mhealth_subject{person:02d}",
            MHEALTH.stream(f"subject{person:02d}"),
            hour_start(2 * person) + np.arange(len(rows)) / MHEALTH.rate_hz,
            MHEALTH.to_si(rows[:, 1:]),
            label_indices(NAME, path, rows[:, 0], range(1, 13), unlabelled=0),
            MHEALTH.labels,
        )


MHEALTH = Dataset(
    name=NAME,
    title=(
        "MHEALTH; Banos et al., mHealthDroid: A Novel Framework for Agile Development of Mobile "
        "Health Applications, IWAAL 2014"
    ),
    licence="CC BY 4.0",
    source="UCI Machine Learning Repository, data set 319",
    layout="mHealth_subject1.log to mHealth_subject10.log",
    rate_hz=50.0,
    channels=(
        *(f"chest_acc_{axis}" for axis in "xyz"),
        *(
            f"{place}_{sensor}_{axis}"
            for place in ("ankle", "arm")
            for sensor in ("acc", "gyro")
            for axis in "xyz"
        ),
    ),
    units=(ACCELERATION,) * 3 + ((ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3) * 2,
    si_scale=(1.0,) * 3 + ((1.0,) * 3 + (DEGREE,) * 3) * 2,
    conversion="deg/s to rad/s",
    labels=(
        "standing still",
        "sitting and relaxing",
        "lying down",
        "walking",
        "climbing stairs",
        "waist bends forward",
        "frontal elevation of arms",
        "knees bending",
        "cycling",
        "jogging",
        "running",
        "jump front and back",
    ),
    wearers=tuple(f"subject{person:02d}" for person in range(1, 11)),
    recordings=10,
    window=128,
    test=("subject09", "subject10"),
    read=read,
)
