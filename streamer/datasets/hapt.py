"""HAPT: six activities and six postural transitions, a waist-worn phone, 30 people, 50 Hz.

Source: Reyes-Ortiz et al., "Transition-Aware Human Activity Recognition Using Smartphones",
Neurocomputing 171 (2016); UCI Machine Learning Repository, data set 341, CC BY 4.0.
Layout: `RawData/acc_expNN_userMM.txt` (g), `RawData/gyro_expNN_userMM.txt` (rad/s) and
`RawData/labels.txt` (experiment, person, activity, first and last sample, counted from 1).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import (
    ACCELERATION,
    ANGULAR_VELOCITY,
    STANDARD_GRAVITY,
    SampleBatch,
    StreamInfo,
)
from device_adapters.session_file import Annotation, SessionWriter
from streamer.errors import DatasetError

NAME = "HAPT"
LICENCE = "CC BY 4.0"
RATE_HZ = 50.0
CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS = (ACCELERATION,) * 3 + (ANGULAR_VELOCITY,) * 3
SI_SCALE = np.array([STANDARD_GRAVITY] * 3 + [1.0] * 3)

ACTIVITIES = (
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
)
"""The data set's activities 1 to 12 as word sequences that share their words."""

FIRST_SESSION_START = 946_684_800.0
"""2000-01-01T00:00:00Z: recordings bear no date, so experiment n is set n hours later."""

BATCH_SAMPLES = 10
"""What a wearable of this rate would send five times a second."""

_ACCELERATION_FILE = re.compile(r"acc_exp(\d+)_user(\d+)\.txt")


@dataclass(frozen=True, slots=True, eq=False)
class HaptRecording:
    """One experiment.

    Attributes:
        experiment: its number.
        person: who wore the phone.
        values: acceleration (g) and angular velocity (rad/s), float64 [n, 6].
        spans: (activity 1 to 12, first sample, sample after the last), counted from 0.
    """

    experiment: int
    person: int
    values: NDArray[np.float64]
    spans: tuple[tuple[int, int, int], ...]

    @property
    def wearer(self) -> str:
        """The name that the person has in sessions and topics."""
        return f"user{self.person:02d}"

    @property
    def session_name(self) -> str:
        """The file name of its session, without suffix."""
        return f"hapt_exp{self.experiment:02d}_user{self.person:02d}"


def read_recordings(folder: Path) -> Iterator[HaptRecording]:
    """Read the official layout; `folder` is the data set's, or its `RawData`.

    Raises:
        DatasetError: files are missing or malformed; the message names them.
    """
    raw = folder / "RawData" if (folder / "RawData").is_dir() else folder
    acceleration_files = sorted(raw.glob("acc_exp*_user*.txt"))
    if not acceleration_files:
        raise DatasetError(NAME, raw, "holds no acc_expNN_userMM.txt; expected HAPT's RawData")
    spans = _read_spans(raw / "labels.txt")
    for path in acceleration_files:
        match = _ACCELERATION_FILE.fullmatch(path.name)
        if match is None:
            raise DatasetError(NAME, path, "is not named acc_expNN_userMM.txt")
        experiment, person = int(match[1]), int(match[2])
        acceleration = _read_numbers(path, 3)
        rotation = _read_numbers(path.with_name(path.name.replace("acc_", "gyro_", 1)), 3)
        if len(acceleration) != len(rotation):
            raise DatasetError(
                NAME, path, f"has {len(acceleration)} samples but its gyro file {len(rotation)}"
            )
        yield HaptRecording(
            experiment,
            person,
            np.hstack([acceleration, rotation]),
            tuple(span for of, span in spans if of == (experiment, person)),
        )


def write_session(recording: HaptRecording, path: Path) -> None:
    """Write a recording as a session with its true labels.

    Raises:
        SessionError: the file can't be written.
    """
    start = FIRST_SESSION_START + 3600.0 * recording.experiment
    values = (recording.values * SI_SCALE).astype(np.float32)
    times = start + np.arange(len(values)) / RATE_HZ
    info = StreamInfo(recording.wearer, CHANNELS, UNITS, RATE_HZ, "hapt", "recording", "g to m/s2")
    pending = sorted(recording.spans, key=lambda span: span[1])
    with SessionWriter(path) as writer:
        writer.add_stream(info)
        for first in range(0, len(values), BATCH_SAMPLES):
            batch = slice(first, first + BATCH_SAMPLES)
            while pending and pending[0][1] < first + BATCH_SAMPLES:
                activity, begin, end = pending.pop(0)
                writer.add_annotation(
                    Annotation(
                        recording.wearer,
                        ACTIVITIES[activity - 1],
                        start + begin / RATE_HZ,
                        start + end / RATE_HZ,
                    )
                )
            writer.add_batch(SampleBatch(info.device, times[batch], values[batch]))


def _read_spans(path: Path) -> list[tuple[tuple[int, int], tuple[int, int, int]]]:
    rows = _read_numbers(path, 5).astype(int)
    for experiment, person, activity, first, last in rows:
        if not 1 <= activity <= len(ACTIVITIES) or not 1 <= first <= last:
            raise DatasetError(
                NAME,
                path,
                f"has the row {experiment} {person} {activity} {first} {last}; "
                "expected experiment, person, activity 1 to 12, first and last sample",
            )
    return [((e, p), (a, first - 1, last)) for e, p, a, first, last in rows.tolist()]


def _read_numbers(path: Path, columns: int) -> NDArray[np.float64]:
    try:
        numbers = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except FileNotFoundError as error:
        raise DatasetError(NAME, path, "is missing") from error
    except (OSError, ValueError) as error:
        raise DatasetError(NAME, path, f"can't be read as numbers: {error}") from error
    if numbers.shape[1] != columns:
        raise DatasetError(NAME, path, f"has {numbers.shape[1]} columns; expected {columns}")
    return numbers
