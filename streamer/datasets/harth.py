"""HARTH: twelve activities of free living, accelerometers at back and thigh, 22 people, 50 Hz."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from device_adapters.samples import ACCELERATION, STANDARD_GRAVITY
from device_adapters.session_file import Annotation
from streamer.datasets.csv_files import ChannelColumn, CsvFiles, CsvLayout
from streamer.datasets.dataset import Dataset, Recording
from streamer.datasets.tables import find_folder
from streamer.errors import DatasetError

NAME = "harth"
RATE_HZ = 50.0
ACTIVITIES = {
    "1": "walking",
    "2": "running",
    "3": "shuffling",
    "4": "stairs ascending",
    "5": "stairs descending",
    "6": "standing",
    "7": "sitting",
    "8": "lying",
    "13": "cycling sit",
    "14": "cycling stand",
    "130": "cycling sit inactive",
    "140": "cycling stand inactive",
}
CHANNELS = tuple(f"{place}_acc_{axis}" for place in ("back", "thigh") for axis in "xyz")
LAYOUT = CsvLayout(
    files="S*.csv",
    time="timestamp",
    time_unit="iso",
    label="label",
    channels={name: ChannelColumn(column=name.replace("_acc", ""), unit="g") for name in CHANNELS},
)


def read(folder: Path) -> Iterator[Recording]:
    """Read a recording for each person.

    Raises:
        DatasetError: files are missing or malformed; the message names them.
    """
    raw = find_folder(NAME, folder, ["harth"], "S*.csv")
    for recording in CsvFiles(NAME, raw, LAYOUT, RATE_HZ).recordings():
        path = raw / f"{recording.name}.csv"
        annotations = tuple(_named(path, annotation) for annotation in recording.annotations)
        yield replace(
            recording,
            name=f"harth_{recording.name}",
            stream=HARTH.stream(recording.stream.device),
            annotations=annotations,
        )


def _named(path: Path, annotation: Annotation) -> Annotation:
    if annotation.label not in ACTIVITIES:
        raise DatasetError(
            NAME, path, f"has the label {annotation.label}; expected {', '.join(ACTIVITIES)}"
        )
    return replace(annotation, label=ACTIVITIES[annotation.label])


HARTH = Dataset(
    name=NAME,
    title=(
        "HARTH; Logacjov et al., HARTH: A Human Activity Recognition Dataset for Machine Learning, "
        "Sensors 21 (2021) 7853"
    ),
    licence="CC BY 4.0",
    source="UCI Machine Learning Repository, data set 779",
    layout="S006.csv to S029.csv: timestamp, back_x to thigh_z (g), label",
    rate_hz=RATE_HZ,
    channels=CHANNELS,
    units=(ACCELERATION,) * 6,
    si_scale=(STANDARD_GRAVITY,) * 6,
    conversion="g to m/s2",
    labels=tuple(ACTIVITIES.values()),
    wearers=tuple(f"S{person:03d}" for person in (6, 8, 9, 10, *range(12, 30))),
    recordings=22,
    window=300,
    test=("S026", "S027", "S028", "S029"),
    read=read,
)
