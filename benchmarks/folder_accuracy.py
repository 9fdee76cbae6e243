"""`streamer train FOLDER` beside MiniRocket and ridge, on the same test people of any folder.

SHARE learns by the configuration that a folder gets that has none: in the end from the people too
who chose the epoch, as the peer does from the first. The peer learns from windows that overlap by
half, or less where there would be more than it can solve in a minute.

    pip install -e '.[bench]'    (an environment of its own: aeon's numba holds numpy back)
    python benchmarks/folder_accuracy.py FOLDER --out runs/folder --json FILE
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from streamer.errors import StreamerError, TrainingError
from streamer.evaluation.windows import measure_windows
from streamer.share.labels import LabelSet
from streamer.training.config import DataConfig
from streamer.training.data import cut_windows, read_stretches
from streamer.training.defaults import configure
from streamer.training.trainer import train
from window_models import minirocket
from window_sets import WindowTask

MOST_WINDOWS = 12_000
"""That MiniRocket's ridge is fitted to."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What a model knows of the test people's windows."""

    model: str
    accuracy: float
    macro_f1: float


def main() -> None:
    """Train both, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="recordings, with a dataset.toml")
    parser.add_argument("--out", type=Path, default=Path("runs/folder"), help="SHARE's run folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    try:
        figures = measure(arguments.folder, arguments.out)
    except StreamerError as error:
        raise SystemExit(str(error)) from error
    table = Table("model", "accuracy", "macro-F1")
    for figure in figures:
        table.add_row(figure.model, f"{figure.accuracy:.3f}", f"{figure.macro_f1:.3f}")
    Console().print(table)
    if arguments.json is not None:
        rows = [asdict(figure) for figure in figures]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(folder: Path, run: Path) -> list[Figure]:
    """Return the figures of SHARE and of its peer.

    Raises:
        StreamerError: the folder can't be learnt from, or has too few people to test on.
    """
    config = configure(folder)
    if not config.data.test:
        raise TrainingError(f"{folder} has nobody to test on")
    task = window_task(config.data)
    result = train(config, run)
    peer = measure_windows(minirocket(task, config.optimisation.seed).scores, task.test.labels)
    return [
        Figure("SHARE", result.accuracy["accuracy"], result.accuracy["macro_f1"]),
        Figure("MiniRocket and ridge", peer.accuracy, peer.macro_f1),
    ]


def window_task(data: DataConfig) -> WindowTask:
    """Return the test people's windows as `train` cuts them, and everybody else's."""
    names = LabelSet.from_names(data.labels).names
    stretches = [s for s in read_stretches(data, names) if len(s.values) >= data.window]
    others = tuple(s for s in stretches if s.wearer not in data.test)
    tested = [s for s in stretches if s.wearer in data.test]
    stride = data.window // 2
    training = cut_windows(others, data.window, stride, 0)
    longest = max(len(stretch.values) for stretch in others)
    while len(training) > MOST_WINDOWS and stride < longest:
        stride *= 2
        training = cut_windows(others, data.window, stride, 0)
    if len(training) > MOST_WINDOWS:
        rows = np.sort(np.random.default_rng(0).permutation(len(training))[:MOST_WINDOWS])
        training = replace(training, starts=training.starts[rows], labels=training.labels[rows])
    test = cut_windows(tested, data.window, data.hop, 0)
    return WindowTask(data.name, names, data.window, others, training, test, stride)


if __name__ == "__main__":
    main()
