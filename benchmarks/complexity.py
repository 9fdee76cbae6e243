"""What each model costs on UCI-HAR: numbers that were learnt, size, time for a label, training.

One process, one thread; times are of the processor, of the quickest of many short turns. SHARE runs
compiled and hop by hop (16 samples), as the gateway runs it; the peers answer whole windows by
their own libraries. Training times are those that `accuracy.py` has measured, where it has.

    pip install -e '.[bench]'
    python benchmarks/complexity.py --data FOLDER --json FILE
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from accuracy import RECIPES, Row
from inference import (
    SHAPES,
    WORD_VECTOR,
    best_times,
    compiled,
    count_parameters,
    incremental,
)
from streamer.share.labels import LabelSet
from streamer.training.config import NetworkConfig
from streamer.training.fitting import Learner
from window_models import DeepConvLstm, IntegerLearner, boosted_trees, simple_features
from window_sets import WindowTask, load_task

SHAPE = SHAPES[0]
DATASET = "uci-har"
TOGETHER = 64
Windows = NDArray[np.float32]
Answer = Callable[[Windows], object]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs.

    Attributes:
        model: its name.
        runs: how it is run.
        parameters: learnt numbers at run time; of trees their nodes.
        bytes: of its file; of the networks without one, and of MiniRocket, of these numbers.
        us_one: microseconds for one label.
        us_together: microseconds a label for 64 together.
        training_seconds: of the processor; None if not measured.
    """

    model: str
    runs: str
    parameters: int
    bytes: int
    us_one: float
    us_together: float
    training_seconds: float | None


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    task = load_task(DATASET, arguments.data)
    costs = list(measure(task))
    Console(width=120).print(table(costs))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n")


def measure(task: WindowTask) -> Iterator[Cost]:
    """Return what each model costs, one after the other."""
    windows = task.test.gather(slice(0, TOGETHER))
    ours, channels = RECIPES[DATASET].network, SHAPE.channels
    yield share("SHARE", "share", ours, ours.embedding, windows)
    yield share(
        "SHARE, the paper's", "share-paper", NetworkConfig(encoder="paper"), WORD_VECTOR, windows
    )
    yield torch_network(
        "the same encoder, label numbers",
        "integer-ids",
        IntegerLearner(channels, len(task.labels), ours),
        windows,
    )
    yield torch_network(
        "DeepConvLSTM",
        "deep-conv-lstm",
        DeepConvLstm(channels, len(task.labels), task.training.values),
        windows,
    )
    yield minirocket(task, windows)
    yield xgboost(task, windows)


def share(model: str, row: str, config: NetworkConfig, embedding: int, windows: Windows) -> Cost:
    """Return the cost of a compiled network, with random weights."""
    config = config.model_copy(update={"embedding": embedding})
    network = config.build(LabelSet.from_names(SHAPE.labels), SHAPE.channels).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.onnx"
        bundle = compiled(network, SHAPE, path)
        numbers, size = count_parameters(path), path.stat().st_size
    times = best_times(
        {
            ("one", 1): incremental(bundle, windows[:1]),
            ("many", TOGETHER): incremental(bundle, windows),
        }
    )
    return Cost(
        model, "compiled, hop by hop", numbers, size, *a_label(times), training_seconds(row)
    )


def torch_network(model: str, row: str, learner: Learner, windows: Windows) -> Cost:
    """Return the cost of a network that torch runs, with random weights."""
    learner.eval()
    parameters = sum(weight.numel() for weight in learner.parameters())

    @torch.no_grad()
    def answer(some: Windows) -> object:
        return learner.scores(torch.from_numpy(some))

    return Cost(
        model, "torch", parameters, 4 * parameters, *timed(answer, windows), training_seconds(row)
    )


def minirocket(task: WindowTask, windows: Windows) -> Cost:
    """Return the cost of MiniRocket, and of a ridge with random weights."""
    from aeon.transformations.collection.convolution_based import MiniRocket  # noqa: PLC0415

    def series(some: Windows) -> Windows:
        return np.ascontiguousarray(some.transpose(0, 2, 1))

    transform = MiniRocket(n_kernels=10_000, random_state=0, n_jobs=1).fit(series(windows))
    features = transform.transform(series(windows[:1])).shape[1]
    weights = np.ones((features + 1, len(task.labels)), dtype=np.float32)
    kernels = sum(np.asarray(array).nbytes for array in transform.parameters)

    def answer(some: Windows) -> object:
        found = np.asarray(transform.transform(series(some)))
        return found @ weights[:-1] + weights[-1]

    return Cost(
        "MiniRocket and ridge",
        "aeon",
        weights.size,
        weights.nbytes + kernels,
        *timed(answer, windows),
        training_seconds("minirocket"),
    )


def xgboost(task: WindowTask, windows: Windows) -> Cost:
    """Return the cost of boosted trees, fitted on the training windows."""
    model, _ = boosted_trees(task, seed=1)
    booster: Any = model.get_booster()
    nodes = sum(tree.count("\n") for tree in booster.get_dump())
    return Cost(
        "XGBoost on features",
        "xgboost",
        nodes,
        len(booster.save_raw("ubj")),
        *timed(lambda some: model.predict(simple_features(some)), windows),
        training_seconds("xgboost"),
    )


def timed(answer: Answer, windows: Windows) -> tuple[float, float]:
    """Return microseconds for one window, and a window for all of them together."""
    runs = {("one", 1): lambda: answer(windows[:1]), ("many", TOGETHER): lambda: answer(windows)}
    return a_label(best_times(runs))


def a_label(times: dict[tuple[str, int], float]) -> tuple[float, float]:
    """Return the times of one call and of a call of many, for a label."""
    return round(times["one", 1], 1), round(times["many", TOGETHER] / TOGETHER, 1)


def training_seconds(model: str) -> float | None:
    """Return the mean of what `accuracy.py` has measured."""
    seconds = Row(DATASET, model, 1.0).read().get("cpu_seconds")
    return round(float(np.mean(seconds))) if seconds else None


def table(costs: list[Cost]) -> Table:
    """Return a row for each model."""
    result = Table(title=f"{SHAPE.name}: {SHAPE.channels} channels, {SHAPE.window} samples")
    headings = ("model", "run by", "parameters", "MB", "us, one", "us, 64 together", "training s")
    for heading in headings:
        result.add_column(heading, justify="left" if heading in headings[:2] else "right")
    for cost in costs:
        result.add_row(
            cost.model,
            cost.runs,
            f"{cost.parameters:,}",
            f"{cost.bytes / 1e6:.2f}",
            f"{cost.us_one:.0f}",
            f"{cost.us_together:.0f}",
            "" if cost.training_seconds is None else f"{cost.training_seconds:.0f}",
        )
    return result


if __name__ == "__main__":
    main()
