"""What the model cards of the packaged bundles say: their figures on people never seen.

Every bundle runs on the windows of its configuration's test people, as the gateway runs it: by
person, by activity, with the sensors turned about random axes, with its temperature and without.

    python benchmarks/bundle_cards.py --data FOLDER --json FILE --figures docs/images
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from streamer.config_file import read_config
from streamer.evaluation.figures import draw_calibration, draw_confusion
from streamer.evaluation.windows import measure_windows
from streamer.share.packaged import packaged_bundles
from streamer.share.runtime import ShareModel
from streamer.training.config import TrainingConfig
from streamer.training.data import Stretch, WindowSet, cut_windows, read_stretches
from streamer.training.defaults import move_data

CONFIGURATIONS = Path(__file__).parent.parent / "configs" / "train"
COMPACT_FILES = {"hapt": "hapt.npz", "wisdm-watch": "wisdm2019_watch.npz"}
ANGLES = (15, 30, 45, 90, 180)
"""Degrees by which the sensors are turned, each window about an axis of its own."""

BATCH = 256


@dataclass(frozen=True, slots=True)
class Card:
    """A bundle, and what is measured of it.

    Attributes:
        model: the bundle.
        people: windows of each test person.
        scores: of all people's windows, in the order of `people`, [windows, labels].
        truth: their labels, [windows].
    """

    model: ShareModel
    people: dict[str, WindowSet]
    scores: NDArray[np.float32]
    truth: NDArray[np.int64]

    @classmethod
    def of(cls, name: str, bundle: Path, data: Path) -> "Card":
        """Read the test people's windows and score them."""
        model = ShareModel.load(bundle)
        people = read_people(name, data)
        scores = np.concatenate([scored(model, windows) for windows in people.values()])
        truth = np.concatenate([windows.labels for windows in people.values()])
        return cls(model, people, scores, truth)

    def figures(self) -> dict[str, Any]:
        """Return everything that the card tells."""
        names = self.model.manifest.label_set.names
        metrics = measure_windows(self.scores, self.truth, self.temperature)
        return {
            "model": self.model.manifest.model_id,
            "windows": len(self.truth),
            "accuracy": round(metrics.accuracy, 4),
            "macro_f1": round(metrics.macro_f1, 4),
            "temperature": self.temperature,
            "calibration_error": round(metrics.calibration_error, 4),
            "uncalibrated_error": round(
                measure_windows(self.scores, self.truth).calibration_error, 4
            ),
            "by_person": self.by_person(),
            "by_activity": {
                name: share(row[label], row.sum())
                for label, (name, row) in enumerate(zip(names, metrics.confusion, strict=True))
            },
            "by_angle": {"0": round(metrics.accuracy, 4), **self.by_angle()},
            "confusion": metrics.confusion.tolist(),
        }

    @property
    def temperature(self) -> float:
        """The bundle's."""
        return self.model.manifest.calibration.temperature

    def by_person(self) -> dict[str, float]:
        """Return each person's share of windows that are right."""
        right = self.scores.argmax(axis=1) == self.truth
        ends = np.cumsum([len(windows) for windows in self.people.values()])[:-1]
        parts = zip(self.people, np.split(right, ends), strict=True)
        return {person: share(part.sum(), len(part)) for person, part in parts}

    def by_angle(self) -> dict[str, float]:
        """Return the share of windows that are right with the sensors turned by each angle."""
        random = np.random.default_rng(0)
        result = {}
        for angle in ANGLES:
            scores = [
                scored(self.model, windows, turns(len(windows), angle, random))
                for windows in self.people.values()
            ]
            right = np.concatenate(scores).argmax(axis=1) == self.truth
            result[str(angle)] = share(right.sum(), len(right))
        return result

    def draw(self, name: str, folder: Path) -> None:
        """Draw the confusion matrix and how honest the probabilities are."""
        metrics = measure_windows(self.scores, self.truth)
        names = self.model.manifest.label_set.names
        draw_confusion(metrics.confusion, names, folder / f"{name}-confusion.png")
        draw_calibration(
            self.scores, self.truth, self.temperature, folder / f"{name}-calibration.png"
        )


def main() -> None:
    """Measure, print, draw, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--bundles", nargs="+", default=list(packaged_bundles()))
    parser.add_argument("--json", type=Path, help="write the figures to this file, or renew them")
    parser.add_argument("--figures", type=Path, help="draw into this folder")
    arguments = parser.parse_args()
    figures = {}
    for name in arguments.bundles:
        card = Card.of(name, packaged_bundles()[name], arguments.data)
        figures[name] = card.figures()
        if arguments.figures is not None:
            card.draw(name, arguments.figures)
    console = Console(width=110)
    console.print(summary(figures))
    for what in ("by_person", "by_activity", "by_angle"):
        for table in tables(what, figures):
            console.print(table)
    if arguments.json is not None:
        known = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        arguments.json.write_text(json.dumps(known | figures, indent=1) + "\n")


def read_people(name: str, data: Path) -> dict[str, WindowSet]:
    """Return the windows of each test person of a bundle's configuration."""
    config = read_config(CONFIGURATIONS / f"{name}.toml", TrainingConfig)
    assert config.data.dataset is not None  # noqa: S101 - the shipped ones have it
    config = move_data(config, data / COMPACT_FILES[config.data.dataset])
    own: dict[str, list[Stretch]] = {person: [] for person in config.data.test}
    for stretch in read_stretches(config.data, config.data.labels):
        if stretch.wearer in own and len(stretch.values) >= config.data.window:
            own[stretch.wearer].append(stretch)
    window, hop = config.data.window, config.data.hop
    return {person: cut_windows(parts, window, hop, 0) for person, parts in own.items()}


def scored(
    model: ShareModel, windows: WindowSet, turned: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the scores of windows, with the sensors turned by rotations [windows, 3, 3]."""
    parts = []
    for first in range(0, len(windows), BATCH):
        part = slice(first, first + BATCH)
        values = windows.gather(part)
        if turned is not None:
            axes = values.reshape(*values.shape[:2], -1, 3)
            values = np.einsum("ntsa,nba->ntsb", axes, turned[part]).reshape(values.shape)
        parts.append(model.score_windows(values).labels)
    return np.concatenate(parts)


def turns(count: int, degrees: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Return rotations by this angle about random axes, [count, 3, 3]."""
    axes = random.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    matrices: NDArray[np.float32] = (
        Rotation.from_rotvec(np.deg2rad(degrees) * axes).as_matrix().astype(np.float32)
    )
    return matrices


def share(part: float, whole: float) -> float:
    """Return a share for people."""
    return round(float(part / max(whole, 1)), 4)


def summary(figures: dict[str, dict[str, Any]]) -> Table:
    """Return a row for each bundle."""
    table = Table("bundle", "windows", "accuracy", "macro-F1", "temperature", "ECE", "ECE at 1")
    keys = ("windows", "accuracy", "macro_f1", "temperature")
    for name, of in figures.items():
        errors = (of["calibration_error"], of["uncalibrated_error"])
        table.add_row(name, *(str(of[key]) for key in keys), *map(str, errors))
    return table


def tables(what: str, figures: dict[str, dict[str, Any]]) -> list[Table]:
    """Return a table for bundles that tell of the same people, activities or angles."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, of in figures.items():
        groups.setdefault(tuple(of[what]), []).append(name)
    result = []
    for rows, names in groups.items():
        table = Table(what.replace("_", " "), *names)
        for row in rows:
            table.add_row(row, *(f"{figures[name][what][row]:.3f}" for name in names))
        result.append(table)
    return result


if __name__ == "__main__":
    main()
