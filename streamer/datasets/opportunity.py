"""Opportunity: 17 gestures in a kitchen, five IMUs on back and arms, 4 people, 30 Hz.

Rows of 250 columns: time (ms), 36 of accelerometers, then 13 of each IMU on back and arms:
acceleration (thousandths of 9.8 m/s2), rotation (stored times 1000; the documentation gives no
unit, the sensors deliver rad/s), magnetic field, orientation. The last column is the gesture.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY
from streamer.datasets.dataset import Dataset, Recording, build_recording, hour_start
from streamer.datasets.tables import find_folder, label_indices, read_numbers
from streamer.errors import DatasetError

NAME = "opportunity"
COLUMNS = 250
GESTURES = {
    406516: "open door 1",
    406517: "open door 2",
    404516: "close door 1",
    404517: "close door 2",
    406520: "open fridge",
    404520: "close fridge",
    406505: "open dishwasher",
    404505: "close dishwasher",
    406519: "open drawer 1",
    404519: "close drawer 1",
    406511: "open drawer 2",
    404511: "close drawer 2",
    406508: "open drawer 3",
    404508: "close drawer 3",
    408512: "clean table",
    407521: "drink from cup",
    405506: "toggle switch",
}
PLACES = {"back": 37, "rua": 50, "rla": 63, "lua": 76, "lla": 89}
"""The first column of each IMU, counted from 0: back, right and left, upper and lower arm."""

USED = (0, COLUMNS - 1, *(start + offset for start in PLACES.values() for offset in range(6)))


def read(folder: Path) -> Iterator[Recording]:
    """Read a recording for each run (five of daily living and a drill for each person).

    Raises:
        DatasetError: files are missing or malformed; the message names them.
    """
    subfolders = ["dataset", "OpportunityUCIDataset/dataset"]
    raw = find_folder(NAME, folder, subfolders, "S*-*.dat")
    for number, path in enumerate(sorted(raw.glob("S*-*.dat"))):
        match = re.fullmatch(r"(S\d)-(ADL\d|Drill)\.dat", path.name)
        if match is None:
            raise DatasetError(NAME, path, "is not named SN-ADLM.dat or SN-Drill.dat")
        rows = read_numbers(NAME, path, COLUMNS, USED)
        yield build_recording(
            f"opportunity_{match[1]}_{match[2]}",
            OPPORTUNITY.stream(match[1]),
            hour_start(2 * number) + rows[:, 0] / 1000,
            OPPORTUNITY.to_si(rows[:, 2:]),
            label_indices(NAME, path, rows[:, 1], tuple(GESTURES), unlabelled=0),
            OPPORTUNITY.labels,
        )


OPPORTUNITY = Dataset(
    name=NAME,
    title=(
        "OPPORTUNITY Activity Recognition; Roggen et al., Collecting Complex Activity Datasets in "
        "Highly Rich Networked Sensor Environments, INSS 2010"
    ),
    licence="CC BY 4.0",
    source="UCI Machine Learning Repository, data set 226",
    layout="dataset/S1-ADL1.dat to S4-ADL5.dat and S1-Drill.dat to S4-Drill.dat",
    rate_hz=30.0,
    channels=tuple(
        f"{place}_{sensor}_{axis}"
        for place in PLACES
        for sensor in ("acc", "gyro")
        for axis in "xyz"
    ),
    units=((ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3) * 5,
    si_scale=((9.8 / 1000,) * 3 + (1 / 1000,) * 3) * 5,
    conversion="9.8/1000 m/s2 to m/s2, 1/1000 rad/s to rad/s",
    labels=tuple(GESTURES.values()),
    wearers=("S1", "S2", "S3", "S4"),
    recordings=24,
    window=150,
    test=("S4",),
    read=read,
)
