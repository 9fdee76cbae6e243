"""`streamer train FOLDER` beside MiniRocket and ridge where few people have recorded little.

Folders of CSV files are made of the public sets: so many people are drawn who learn, of each label
the first seconds that each of them recorded, and eight others to test on, with all of theirs. Each
draw is another seed. A folder that the results have is not measured again.

    pip install -e '.[bench]'    (an environment of its own: aeon's numba holds numpy back)
    python benchmarks/few_people.py --data FOLDER --draws 2
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from accuracy import commit
from device_adapters.frames import ACCELEROMETER, IMU, Sensor
from folder_accuracy import measure
from streamer.datasets import find_dataset
from streamer.datasets.dataset import UNLABELLED
from streamer.share.labels import LabelSet
from streamer.training.config import DataConfig
from streamer.training.data import Stretch, read_stretches
from streamer.training.defaults import WINDOW_SECONDS

RESULTS = Path(__file__).parent / "results" / "few_people.json"
TESTED = 8
BASIC = ("walk", "walk up stairs", "walk down stairs", "sit", "stand", "lie")


@dataclass(frozen=True, slots=True)
class Task:
    """A folder to be made.

    Attributes:
        dataset: the set that it is made of.
        file: the set's compressed NumPy file.
        people: who learn.
        seconds: of each label and each of them.
        sensor: what is recorded.
        rate_hz: at which.
        labels: of the set, those that are told; none for all of them.
        numbered: whether numbers stand for the labels' names.
    """

    dataset: str
    file: str
    people: int
    seconds: float
    sensor: Sensor
    rate_hz: float
    labels: tuple[str, ...] = ()
    numbered: bool = False

    @property
    def data(self) -> DataConfig:
        """How the set is read."""
        labels = self.labels or find_dataset(self.dataset).labels
        return DataConfig(
            name=self.dataset,
            licence="see the set",
            sessions=Path(self.file),
            dataset=self.dataset,
            validation=("nobody",),
            channels=self.sensor.channels,
            units=self.sensor.units,
            rate_hz=self.rate_hz,
            window=round(WINDOW_SECONDS * self.rate_hz),
            hop=1,
            labels=LabelSet.from_names(labels).names,
        )


TASKS = {
    "hapt-8s": Task("hapt", "hapt.npz", 6, 8, IMU, 50.0, BASIC),
    "hapt-acc-20hz": Task("hapt", "hapt.npz", 8, 20, ACCELEROMETER, 20.0, BASIC),
    "hapt-acc-numbers": Task("hapt", "hapt.npz", 8, 40, ACCELEROMETER, 50.0, BASIC, numbered=True),
    "hapt-transitions": Task("hapt", "hapt.npz", 8, 3600, IMU, 50.0),
    "usc": Task("usc-had", "usc_had.npz", 6, 10, IMU, 50.0),
    "usc-acc-25hz": Task("usc-had", "usc_had.npz", 6, 60, ACCELEROMETER, 25.0),
    "watch": Task("wisdm-watch", "wisdm2019_watch.npz", 10, 20, IMU, 20.0),
    "watch-acc": Task(
        "wisdm-watch",
        "wisdm2019_watch.npz",
        10,
        60,
        ACCELEROMETER,
        20.0,
        ("walking", "jogging", "stairs", "sitting", "standing", "typing"),
    ),
}


def main() -> None:
    """Measure what is missing, write it, print all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--draws", type=int, default=1, help="of people: 1 to this")
    arguments = parser.parse_args()
    threadpool_limits(1)
    for draw in range(1, arguments.draws + 1):
        for name in arguments.tasks:
            if not any((row["task"], row["draw"]) == (name, draw) for row in read_results()):
                add(name, draw, arguments.data)
    Console().print(table())


def add(name: str, draw: int, data: Path) -> None:
    """Make a folder, measure both models on it and write their figures."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "folder"
        write_folder(folder, TASKS[name], draw, data)
        figures = measure(folder, Path(work) / "run")
    measured = {"task": name, "draw": draw, "commit": commit()}
    own = [
        {
            **measured,
            "model": figure.model,
            "accuracy": round(figure.accuracy, 4),
            "macro_f1": round(figure.macro_f1, 4),
        }
        for figure in figures
    ]
    rows = [*read_results(), *own]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def read_results() -> list[dict[str, Any]]:
    """Return what was measured so far."""
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return rows


def write_folder(folder: Path, task: Task, draw: int, data: Path) -> None:
    """Write a task's recordings and their description."""
    config = task.data.model_copy(update={"sessions": data / task.file})
    stretches = read_stretches(config, config.labels)
    people = np.random.default_rng(draw).permutation(sorted({s.wearer for s in stretches}))
    learn, test = people[: task.people].tolist(), people[task.people :][:TESTED].tolist()
    names = [str(n) if task.numbered else name for n, name in enumerate(config.labels, start=1)]
    kept = enumerate(first_seconds(stretches, learn, task))
    files = [(str(n), s, s.labels) for n, s in enumerate(stretches) if s.wearer in test]
    files += [(f"first_{n}", stretch, labels) for n, (stretch, labels) in kept]
    for name, stretch, labels in files:
        told = [names[label] if label != UNLABELLED else "" for label in labels.tolist()]
        path = folder / stretch.wearer / f"{name}.csv"
        write_csv(path, config.channels, stretch.values, told)
    units = dict(zip(config.channels, config.units, strict=True))
    channels = "".join(
        f'{name} = {{ column = "{name}", unit = "{unit}" }}\n' for name, unit in units.items()
    )
    (folder / "dataset.toml").write_text(
        f'name = "few people"\nrate_hz = {task.rate_hz}\ntest = {json.dumps(test)}\n'
        f'[csv]\nlabel = "label"\npath = "(?P<subject>[^/]+)/.*"\n[csv.channels]\n{channels}'
    )


def first_seconds(
    stretches: list[Stretch], people: list[str], task: Task
) -> Iterator[tuple[Stretch, np.ndarray]]:
    """Return these people's stretches, labelled until they have so much of each label."""
    room = round(task.seconds * task.rate_hz)
    taken: dict[tuple[str, int], int] = {}
    for stretch in stretches:
        if stretch.wearer not in people:
            continue
        labels = np.full_like(stretch.labels, UNLABELLED)
        for label in np.unique(stretch.labels[stretch.labels != UNLABELLED]).tolist():
            before = taken.get((stretch.wearer, label), 0)
            chosen = np.flatnonzero(stretch.labels == label)[: room - before]
            labels[chosen] = label
            taken[stretch.wearer, label] = before + len(chosen)
        if (labels != UNLABELLED).any():
            yield stretch, labels


def write_csv(path: Path, channels: tuple[str, ...], values: np.ndarray, labels: list[str]) -> None:
    """Write samples with their labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(",".join(channels) + ",label\n")
        for row, label in zip(values.tolist(), labels, strict=True):
            file.write(",".join(f"{value:.5g}" for value in row) + f",{label}\n")


def table() -> Table:
    """Return the means over the draws."""
    result = Table("folder", "draws", "model", "accuracy", "macro-F1")
    rows = read_results()
    for task, model in dict.fromkeys((row["task"], row["model"]) for row in rows):
        own = [row for row in rows if (row["task"], row["model"]) == (task, model)]
        means = [np.mean([row[name] for row in own]) for name in ("accuracy", "macro_f1")]
        result.add_row(task, str(len(own)), model, *(f"{mean:.3f}" for mean in means))
    return result


if __name__ == "__main__":
    main()
