"""PAMAP2: 12 protocol activities (and six optional), IMUs at wrist, chest and ankle, 9 people.

Rows of 54 columns: time (s), activity, heart rate, then 17 of each IMU: temperature, acceleration
of the +-16 g and of the +-6 g sensor (m/s2), rotation (rad/s), magnetic field, orientation. The
+-16 g sensor is read, since the other saturates and is not calibrated, as its authors tell.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY
from streamer.datasets.dataset import Dataset, Recording, build_recording, hour_start
from streamer.datasets.tables import label_indices, read_numbers
from streamer.errors import DatasetError

NAME = "pamap2"
COLUMNS = 54
ACTIVITY_NUMBERS = (1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 17, 24, 9, 10, 11, 18, 19, 20)
"""Of the labels below; 0 is what lies between two activities."""

PLACES = {"hand": 3, "chest": 20, "ankle": 37}
"""The first column of each IMU, counted from 0."""

USED = (0, 1, *(start + offset for start in PLACES.values() for offset in (1, 2, 3, 7, 8, 9)))


def read(folder: Path) -> Iterator[Recording]:
    """Read `Protocol` and, where it is there, `Optional`, a recording for each file.

    Raises:
        DatasetError: files are missing or malformed; the message names them.
    """
    places = [folder, folder / "PAMAP2_Dataset"]
    paths = [
        path
        for place in places
        for part in ("Protocol", "Optional")
        for path in sorted(place.glob(f"{part}/subject*.dat"))
    ]
    if not paths:
        raise DatasetError(NAME, folder, "holds no Protocol/subject10N.dat")
    for number, path in enumerate(paths):
        match = re.fullmatch(r"subject(\d{3})\.dat", path.name)
        if match is None:
            raise DatasetError(NAME, path, "is not named subject10N.dat")
        rows = read_numbers(NAME, path, COLUMNS, USED)
        yield build_recording(
            f"pamap2_{path.parent.name.lower()}_{match[1]}",
            PAMAP2.stream(f"subject{match[1]}"),
            hour_start(4 * number) + rows[:, 0],
            PAMAP2.to_si(rows[:, 2:]),
            label_indices(NAME, path, rows[:, 1], ACTIVITY_NUMBERS, unlabelled=0),
            PAMAP2.labels,
        )


PAMAP2 = Dataset(
    name=NAME,
    title=(
        "PAMAP2 Physical Activity Monitoring; Reiss and Stricker, Introducing a New Benchmarked "
        "Dataset for Activity Monitoring, ISWC 2012"
    ),
    licence="CC BY 4.0",
    source="UCI Machine Learning Repository, data set 231",
    layout="Protocol/subject101.dat to subject109.dat, and Optional/ likewise",
    rate_hz=100.0,
    channels=tuple(
        f"{place}_{sensor}_{axis}"
        for place in PLACES
        for sensor in ("acc", "gyro")
        for axis in "xyz"
    ),
    units=((ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3) * 3,
    si_scale=(1.0,) * 18,
    conversion="",
    labels=(
        "lying",
        "sitting",
        "standing",
        "walking",
        "running",
        "cycling",
        "nordic walking",
        "ascending stairs",
        "descending stairs",
        "vacuum cleaning",
        "ironing",
        "rope jumping",
        "watching tv",
        "computer work",
        "car driving",
        "folding laundry",
        "house cleaning",
        "playing soccer",
    ),
    wearers=tuple(f"subject{person}" for person in range(101, 110)),
    recordings=14,
    window=512,
    test=("subject105", "subject106"),
    read=read,
)
