"""UCI-HAR: six activities, a waist-worn phone, 30 people, 50 Hz, published as filtered windows."""

from pathlib import Path

import numpy as np

from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY, STANDARD_GRAVITY
from streamer.datasets.dataset import Dataset, Windows
from streamer.datasets.tables import label_indices, read_numbers
from streamer.errors import DatasetError

NAME = "uci-har"
WINDOW = 128
SIGNALS = tuple(
    f"{signal}_{axis}" for signal in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"
)


def read(folder: Path) -> Windows:
    """Read `train` and `test`, or the one of them that is there.

    Raises:
        DatasetError: files are missing or malformed; the message names them.
    """
    parts = [
        part for part in ("train", "test") if (folder / part / f"subject_{part}.txt").is_file()
    ]
    if not parts:
        raise DatasetError(NAME, folder, "holds neither train/subject_train.txt nor test's")
    values, labels, wearers = [], [], []
    for part in parts:
        people = read_numbers(NAME, folder / part / f"subject_{part}.txt", 1)[:, 0].astype(int)
        activities = folder / part / f"y_{part}.txt"
        codes = read_numbers(NAME, activities, 1)[:, 0]
        files = [folder / part / "Inertial Signals" / f"{name}_{part}.txt" for name in SIGNALS]
        signals = [read_numbers(NAME, file, WINDOW) for file in files]
        for file, rows in zip([activities, *files], [codes, *signals], strict=True):
            if len(rows) != len(people):
                raise DatasetError(
                    NAME, file, f"has {len(rows)} rows but subject_{part}.txt {len(people)}"
                )
        values.append(UCI_HAR.to_si(np.stack(signals, axis=2)))
        labels.append(label_indices(NAME, activities, codes, range(1, 7), unlabelled=0))
        wearers += [f"user{person:02d}" for person in people.tolist()]
    return Windows(
        np.concatenate(values),
        np.concatenate(labels),
        np.array(wearers),
        UCI_HAR.labels,
        UCI_HAR.channels,
        UCI_HAR.units,
        UCI_HAR.rate_hz,
    )


UCI_HAR = Dataset(
    name=NAME,
    title=(
        "Human Activity Recognition Using Smartphones; Anguita et al., A Public Domain Dataset "
        "for Human Activity Recognition Using Smartphones, ESANN 2013"
    ),
    licence="CC BY 4.0 (UCI's page; the set's own README asks to cite and excludes commercial use)",
    source="UCI Machine Learning Repository, data set 240",
    layout="train/ and test/, each with subject_*.txt, y_*.txt and 'Inertial Signals'/*.txt",
    rate_hz=50.0,
    channels=tuple(f"{signal}_{axis}" for signal in ("body_acc", "gyro", "acc") for axis in "xyz"),
    units=(ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3 + (ACCELERATION,) * 3,
    si_scale=(STANDARD_GRAVITY,) * 3 + (1.0,) * 3 + (STANDARD_GRAVITY,) * 3,
    conversion="g to m/s2",
    labels=("walk", "walk up stairs", "walk down stairs", "sit", "stand", "lie"),
    wearers=tuple(f"user{person:02d}" for person in range(1, 31)),
    recordings=7352 + 2947,
    window=WINDOW,
    test=tuple(f"user{person:02d}" for person in (2, 4, 9, 10, 12, 13, 18, 20, 24)),
    read=read,
)
