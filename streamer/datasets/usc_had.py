"""USC-HAD: twelve activities, an IMU at the front right hip, 14 people, 100 Hz."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from device_adapters.samples import ACCELERATION, ANGULAR_VELOCITY, STANDARD_GRAVITY
from device_adapters.units import DEGREE
from streamer.datasets.array_file import UNREADABLE
from streamer.datasets.dataset import Dataset, Recording, build_recording, hour_start
from streamer.errors import DatasetError

NAME = "usc-had"
_TRIAL = re.compile(r"Subject(\d+)/a(\d+)t(\d+)\.mat")


def read(folder: Path) -> Iterator[Recording]:
    """Read the official layout, a recording for each trial.

    Raises:
        DatasetError: files are missing or malformed; the message names them.
    """
    trials: list[tuple[int, int, int, Path]] = []
    for path in folder.glob("Subject*/a*t*.mat"):
        match = _TRIAL.fullmatch(path.relative_to(folder).as_posix())
        if match is None or not 1 <= int(match[2]) <= len(USC_HAD.labels):
            raise DatasetError(NAME, path, "is not SubjectN/aMtK.mat with M from 1 to 12")
        trials.append((int(match[1]), int(match[2]), int(match[3]), path))
    if not trials:
        raise DatasetError(NAME, folder, "holds no SubjectN/aMtK.mat")
    for number, (person, activity, trial, path) in enumerate(sorted(trials)):
        readings = _readings(path)
        yield build_recording(
            f"usc-had_subject{person:02d}_a{activity:02d}_t{trial}",
            USC_HAD.stream(f"subject{person:02d}"),
            hour_start(number + 1) + np.arange(len(readings)) / USC_HAD.rate_hz,
            USC_HAD.to_si(readings),
            np.full(len(readings), activity - 1, dtype=np.int64),
            USC_HAD.labels,
        )


def _readings(path: Path) -> NDArray[np.float64]:
    try:
        readings = np.asarray(loadmat(path)["sensor_readings"], dtype=np.float64)
    except KeyError as error:
        raise DatasetError(NAME, path, "has no field sensor_readings") from error
    except (OSError, MatReadError, LookupError, *UNREADABLE) as error:
        raise DatasetError(NAME, path, f"can't be read as MATLAB's: {error}") from error
    if readings.ndim != 2 or readings.shape[1] != len(USC_HAD.channels):
        raise DatasetError(
            NAME, path, f"has readings of the shape {readings.shape}; expected [n, 6]"
        )
    return readings


USC_HAD = Dataset(
    name=NAME,
    title=(
        "USC Human Activity Dataset; Zhang and Sawchuk, USC-HAD: A Daily Activity Dataset for "
        "Ubiquitous Activity Recognition Using Wearable Sensors, SAGAware 2012"
    ),
    licence="research (cite the paper)",
    source="the authors' page at the University of Southern California",
    layout="SubjectN/aMtK.mat (activity M, trial K); acceleration in g, rotation in deg/s",
    rate_hz=100.0,
    channels=("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"),
    units=(ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3,
    si_scale=(STANDARD_GRAVITY,) * 3 + (DEGREE,) * 3,
    conversion="g to m/s2, deg/s to rad/s",
    labels=(
        "walking forward",
        "walking left",
        "walking right",
        "walking upstairs",
        "walking downstairs",
        "running forward",
        "jumping up",
        "sitting",
        "standing",
        "sleeping",
        "elevator up",
        "elevator down",
    ),
    wearers=tuple(f"subject{person:02d}" for person in range(1, 15)),
    recordings=840,
    window=100,
    test=("subject11", "subject12", "subject13", "subject14"),
    read=read,
)
