"""Accuracy on the windows of people never seen: SHARE, its ablations, and its peers.

    share               the configuration of configs/train, on all training people, last epoch
    share-paper         the paper's encoder (unpadded), its augmentation alone, trained as it says;
                        with MiniLM's word vectors for ImageBind's (extra `words`)
    share-paper-long    that for the 200 epochs of the released code
    share-paper-random  `share-paper` with random word vectors
    share-paper-fitted  `share-paper` with the optimisation of `share`
    share-paper-recipe  that with the augmentation of `share` as well
    share-taught        `share` with the loss of a folder without a configuration: over the labels,
                        half of it towards what a teacher of random kernels and ridge says
    share-pretrained    `share` that begins with what the other sets' training people teach
    share-minilm        `share` whose words begin with MiniLM's vectors (extra `words`)
    share-renamed       `share` with the names of configs/labels, which share more words
    share-single-words  `share` with a word of its own for each label, so that none is shared
    share-multi-scale   `share` whose stem has filters of 3, 7 and 15 samples instead of 7
    integer-ids         the encoder of `share` with a layer over label numbers
    share-no-companding, -no-token, -no-rotation, -no-symmetries, -no-scale, -no-jitter
                        one thing switched off
    deep-conv-lstm, minirocket, xgboost                                     peers

A row (set, model, share of the training windows) is one file of the results folder; seeds that it
has are not run again, and a run that was interrupted goes on from its last epoch. Nothing here
looks at test people to choose anything: `--folds` scores training people held out, every third.

    pip install -e '.[bench]'    (an environment of its own: aeon's numba holds numpy back)
    python benchmarks/accuracy.py --data FOLDER --sets uci-har --models share minirocket --seeds 5
"""

import argparse
import json
import multiprocessing
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from streamer.datasets.names import read_names, renamed
from streamer.evaluation.windows import measure_windows
from streamer.training.config import AugmentationConfig, NetworkConfig, OptimisationConfig
from streamer.training.defaults import SMOOTHING, TEACHING
from streamer.training.word_vectors import WordsConfig
from window_models import (
    Recipe,
    Trained,
    deep_conv_lstm,
    integer_ids,
    minirocket,
    pretrained,
    share,
    xgboost,
)
from window_sets import FOLDS, LOADERS, LONG_TAIL, held_out, load_task, subset

RESULTS = Path(__file__).parent / "results"
LABELS = Path(__file__).parent.parent / "configs" / "labels"
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)

Symmetries = tuple[tuple[Literal[-1, 1], ...], ...]
WATCH_WORN_OTHERWISE: Symmetries = ((-1, 1, 1, 1, -1, -1), (-1, -1, 1, -1, -1, 1))
"""A watch (acceleration, then rotation) on the other wrist, and the other way up."""

RECIPES = {
    "uci-har": Recipe(),
    "usc-had": Recipe(
        augmentation=AugmentationConfig(token=0.0, turned_freely=("sleep",)),
        optimisation=OptimisationConfig(epochs=8, loss="labels"),
    ),
    "wisdm-watch": Recipe(
        augmentation=AugmentationConfig(
            token=0.0, rotation_degrees=15.0, symmetries=WATCH_WORN_OTHERWISE
        ),
        optimisation=OptimisationConfig(epochs=24, loss="labels", smoothing=0.1),
    ),
}
"""All were chosen on people held out of the training people."""

PAPER = Recipe(
    NetworkConfig(encoder="paper", embedding=384, encoder_dropout=0.0, feature_dropout=0.0),
    AugmentationConfig(token=0.2, rotation_degrees=0.0, scale=0.0, jitter=0.0),
    OptimisationConfig(
        schedule="constant", learning_rate=1e-4, batch=16, epochs=100, weight_decay=0, averaging=0
    ),
    WordsConfig(source="minilm"),
)
"""As the paper trains: 100 to 200 epochs, the last weights kept."""

LIKE_PAPER = {
    "share-paper": PAPER,
    "share-paper-long": replace(
        PAPER, optimisation=PAPER.optimisation.model_copy(update={"epochs": 200})
    ),
    "share-paper-random": replace(PAPER, words=WordsConfig()),
    "share-paper-fitted": replace(PAPER, optimisation=OptimisationConfig()),
    "share-paper-recipe": replace(
        PAPER, optimisation=OptimisationConfig(), augmentation=AugmentationConfig()
    ),
}
"""What makes the difference between the paper's configuration and `share`, beside the encoder."""

PLAIN = AugmentationConfig(token=0.0, rotation_degrees=0.0, scale=0.0, jitter=0.0)
SWITCHED_OFF: dict[str, dict[str, object]] = {
    "share-no-token": {"token": 0.0},
    "share-no-rotation": {"rotation_degrees": 0.0},
    "share-no-symmetries": {"symmetries": ()},
    "share-no-scale": {"scale": 0.0},
    "share-no-jitter": {"jitter": 0.0},
}
TAUGHT = "share-taught"
PRETRAINED = "share-pretrained"
"""Begins with what the training people of the other sets teach."""

MINILM = "share-minilm"
RENAMED = "share-renamed"
SINGLE_WORDS = "share-single-words"
MULTI_SCALE = "share-multi-scale"
NAMES = {"usc-had": "usc-had.toml", "wisdm-watch": "wisdm.toml"}
"""Of `configs/labels`, each in the set's own order."""

NETWORKS: dict[str, Callable[..., Trained]] = {
    "share": share,
    MINILM: share,
    RENAMED: share,
    SINGLE_WORDS: share,
    MULTI_SCALE: share,
    TAUGHT: share,
    PRETRAINED: share,
    **dict.fromkeys(LIKE_PAPER, share),
    "share-no-companding": share,
    **dict.fromkeys(SWITCHED_OFF, share),
    "integer-ids": integer_ids,
    "deep-conv-lstm": deep_conv_lstm,
}
PEERS = {"minirocket": minirocket, "xgboost": xgboost}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables."""

    dataset: str
    model: str
    fraction: float | str
    fold: int | None = None

    @property
    def name(self) -> str:
        """What its files are called."""
        parts = [self.dataset, self.model]
        if self.fraction != 1.0:
            parts.append(str(self.fraction))
        if self.fold is not None:
            parts.append(f"fold-{self.fold}")
        return "_".join(parts)

    @property
    def path(self) -> Path:
        """Its file of results."""
        return RESULTS / f"{self.name}.json"

    def read(self) -> dict[str, Any]:
        """Return what was measured so far."""
        if self.path.exists():
            figures: dict[str, Any] = json.loads(self.path.read_text())
            return figures
        known = {"dataset": self.dataset, "model": self.model, "fraction": self.fraction}
        return known if self.fold is None else known | {"fold": self.fold}


def main() -> None:
    """Run what is missing, write it, print all rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--sets", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--models", nargs="+", choices=[*NETWORKS, *PEERS], default=["share"])
    parser.add_argument("--fractions", nargs="+", default=["1.0"], help=f"or all, {LONG_TAIL}")
    folds = range(1, FOLDS + 1)
    parser.add_argument("--folds", nargs="+", type=int, choices=folds, default=[None])
    parser.add_argument("--seeds", type=int, default=1, help="run seeds 1 to this")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--work", type=Path, default=Path("runs/accuracy"), help="checkpoints")
    arguments = parser.parse_args()
    if RENAMED in arguments.models and (nameless := {*arguments.sets} - {*NAMES}):
        parser.error(f"configs/labels has no names for {', '.join(sorted(nameless))}")
    rows = [
        Row(dataset, model, fraction, fold)
        for dataset in arguments.sets
        for model in arguments.models
        for fraction in chosen_fractions(arguments.fractions)
        for fold in arguments.folds
    ]
    missing = [
        (row, seed)
        for seed in range(1, arguments.seeds + 1)
        for row in rows
        if seed not in row.read().get("seeds", [])
    ]
    RESULTS.mkdir(exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, mp_context=context) as pool:
        runs: dict[Future[dict[str, Any]], tuple[Row, int]] = {
            pool.submit(measure, row, seed, arguments.data, arguments.work): (row, seed)
            for row, seed in missing
        }
        for run in as_completed(runs):
            row, seed = runs[run]
            add(row, seed, run.result())
            print(f"{row.name} seed {seed}: {run.result()}")
    Console(width=110).print(table(rows))


def chosen_fractions(given: list[str]) -> list[float | str]:
    """Return the fractions that the command line names."""
    if given == ["all"]:
        return [*FRACTIONS, 1.0, LONG_TAIL]
    return [text if text == LONG_TAIL else float(text) for text in given]


def recipe_of(row: Row) -> Recipe:
    """Return how a row's network is made and trained."""
    if row.model in LIKE_PAPER:
        return LIKE_PAPER[row.model]
    recipe = RECIPES[row.dataset]
    network, augmentation, optimisation = recipe.network, recipe.augmentation, recipe.optimisation
    if row.model in SWITCHED_OFF:
        augmentation = augmentation.model_copy(update=SWITCHED_OFF[row.model])
    elif row.model == "share-no-companding":
        network = network.model_copy(update={"companded": 0})
    elif row.model == MULTI_SCALE:
        network = network.model_copy(update={"stem_kernel": 15, "stem_scales": (3, 7, 15)})
    elif row.model == TAUGHT:
        augmentation = augmentation.model_copy(update={"token": 0.0})
        folders = {"loss": "labels", "smoothing": SMOOTHING, "teaching": TEACHING}
        optimisation = optimisation.model_copy(update=folders)
    elif row.model == "deep-conv-lstm":
        augmentation = PLAIN
    if row.fraction == LONG_TAIL:
        optimisation = optimisation.model_copy(update={"balance": 1.0})
    words = WordsConfig(source="minilm") if row.model == MINILM else recipe.words
    return Recipe(network, augmentation, optimisation, words)


def names_of(row: Row, labels: tuple[str, ...]) -> dict[str, str]:
    """Return what a row's network calls a set's labels otherwise than the others do."""
    if row.model == RENAMED:
        return dict(zip(labels, read_names(LABELS / NAMES[row.dataset]).values(), strict=True))
    if row.model == SINGLE_WORDS:
        return {label: label.replace(" ", "") for label in labels}
    return {}


def measure(row: Row, seed: int, data: Path, work: Path) -> dict[str, Any]:
    """Train one model with one seed and score the test people's windows."""
    threadpool_limits(1)
    whole = load_task(row.dataset, data)
    task = subset(whole if row.fold is None else held_out(whole, row.fold), row.fraction, seed)
    recipe, start = recipe_of(row), {}
    names = names_of(row, task.labels)
    task = replace(task, labels=renamed(task.labels, names))
    freely = renamed(recipe.augmentation.turned_freely, names)
    augmentation = recipe.augmentation.model_copy(update={"turned_freely": freely})
    recipe = replace(recipe, augmentation=augmentation)
    if row.model == PRETRAINED:
        start["start"] = pretrained(recipe, task, data, work)
    began = time.process_time()
    if row.model in PEERS:
        trained = PEERS[row.model](task, seed)
    else:
        checkpoint = work / f"{row.name}_{seed}.npz"
        trained = NETWORKS[row.model](recipe, task, seed, checkpoint, **start)
    metrics = measure_windows(trained.scores, task.test.labels)
    figures: dict[str, Any] = {
        "accuracy": round(metrics.accuracy, 4),
        "macro_f1": round(metrics.macro_f1, 4),
    }
    if row.model != "minirocket":  # a ridge's answers are no probabilities
        figures["calibration_error"] = round(metrics.calibration_error, 4)
    return figures | {
        "parameters": trained.parameters,
        "training_windows": len(task.training),
        "cpu_seconds": round(time.process_time() - began),
        "confusion": metrics.confusion.tolist(),
    }


def add(row: Row, seed: int, figures: dict[str, Any]) -> None:
    """Add a seed's figures to the row's file."""
    known = row.read()
    if seed in known.get("seeds", []):
        return  # another run has measured it meanwhile
    known.setdefault("seeds", []).append(seed)
    for name, value in figures.items():
        known.setdefault(name, []).append(value)
    known.setdefault("commits", []).append(commit())
    known["command"] = (
        f"python benchmarks/accuracy.py --data FOLDER --sets {row.dataset} --models {row.model} "
        f"--fractions {row.fraction} --seeds {max(known['seeds'])}"
        + ("" if row.fold is None else f" --folds {row.fold}")
    )
    text = json.dumps(known, indent=1)
    row.path.write_text(text + "\n")


def commit() -> str:
    """Return the commit that is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(  # noqa: S603 - our own arguments
        command, cwd=RESULTS, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def table(rows: list[Row]) -> Table:
    """Return mean and standard deviation of all rows that were measured."""
    result = Table("row", "seeds", "accuracy", "macro-F1", "CPU s")
    for row in rows:
        figures = row.read()
        if "seeds" in figures:
            result.add_row(
                row.name,
                str(len(figures["seeds"])),
                *(mean_and_deviation(figures[name]) for name in ("accuracy", "macro_f1")),
                f"{np.mean(figures['cpu_seconds']):.0f}",
            )
    return result


def mean_and_deviation(values: list[float]) -> str:
    """Return both as text; of one value there is no deviation."""
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


if __name__ == "__main__":
    main()
