"""Time for a label: SHARE as it was released, as exported, compiled, hop by hop; and its peers.

One process, one thread, the same network with the same (random) weights in every variant. Every
variant is run in short turns, one after the other, again and again. A turn's time is what the
processor spent on this process, whatever else the machine did; a variant's figure is that of its
quickest turn.

    released      every output of the encoder repeated for every label before the mean is taken,
                  word by word, the words' scores summed in loops in Python (torch); all of it
                  recorded for gradients, as the released evaluation does
    unrecorded    that without recording
    onnx          plain export of the exhaustive scoring (onnxruntime)
    compiled      the bundle's graph on whole windows
    incremental   the bundle's graph on hops of 16 samples, as the gateway runs it
    minirocket    MiniRocket and ridge of aeon, fitted on random windows
    floor         the incremental variant's multiply-adds as one sgemm of numpy

    pip install -e '.[bench]'    (an environment of its own: aeon's numba holds numpy back)
    python benchmarks/inference.py --json FILE --figure docs/images/inference.png
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from exhaustive import exhaustive_scores
from streamer.share.bundle import (
    FORMAT_VERSION,
    Calibration,
    Manifest,
    TrainingData,
    describe_tree,
)
from streamer.share.labels import END, START, LabelSet
from streamer.share.packaged import DEFAULT_BUNDLE, find_bundle
from streamer.share.runtime import ShareModel
from streamer.share.streaming import StreamStates
from streamer.training.compiler import write_bundle
from streamer.training.config import NetworkConfig
from streamer.training.graph import multiply_adds, streaming_layout
from streamer.training.network import Encoder, EncoderShape, ShareNetwork, Stage

HOP = 16
ROUNDS = 40
TURN_SECONDS = 0.02
WORD_VECTOR = 1024
"""The length of the paper's word vectors."""

PADDING = -1
"""What follows a label that is shorter than the longest."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a data set's windows and labels are like."""

    name: str
    channels: int
    window: int
    labels: tuple[str, ...]


SHAPES = (
    Shape(
        "UCI-HAR",
        9,
        128,
        ("walk", "walk up stairs", "walk down stairs", "sit", "stand", "lie"),
    ),
    Shape(
        "PAMAP2",
        27,
        512,
        (
            *("lying", "sitting", "standing", "walking", "running", "cycling", "nordic walking"),
            *("ascending stairs", "descending stairs", "vacuum cleaning", "ironing"),
            "rope jumping",
        ),
    ),
    Shape(
        "Opportunity",
        45,
        150,
        (
            *(f"{verb} door {number}" for verb in ("open", "close") for number in (1, 2)),
            *("open fridge", "close fridge", "open dishwasher", "close dishwasher"),
            *(f"{verb} drawer {number}" for number in (1, 2, 3) for verb in ("open", "close")),
            *("clean table", "drink from cup", "toggle switch"),
        ),
    ),
)
ENCODERS = {
    "paper": NetworkConfig(encoder="paper", embedding=WORD_VECTOR),
    "default": NetworkConfig(embedding=WORD_VECTOR),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement."""

    encoder: str
    shape: str
    variant: str
    batch: int
    window: int
    labels: int
    us_per_label: float


def main() -> None:
    """Measure, print, draw, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--figure", type=Path, help="draw time against window and labels here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    console = Console(width=110)
    figures = []
    for encoder in ENCODERS:
        for shape in SHAPES:
            figures += measure(encoder, shape)
        console.print(table(encoder, [f for f in figures if f.encoder == encoder]))
    console.print(size_table())
    scaling = list(measure_scaling())
    console.print(scaling_table(scaling))
    if arguments.json is not None:
        rows = [asdict(figure) for figure in figures + scaling]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.figure is not None:
        draw(scaling, arguments.figure)


def measure(
    encoder: str, shape: Shape, variants: frozenset[tuple[str, int]] | None = None
) -> list[Figure]:
    """Time every variant on one shape."""
    network = random_network(encoder, shape)
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(64, shape.window, shape.channels)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        model = compiled(network, shape, Path(folder) / "bundle.onnx")
        runs: dict[tuple[str, int], Callable[[], object]] = {
            ("released", 1): lambda: released(network, torch.from_numpy(windows[:1])),
            ("released", 16): lambda: released(network, torch.from_numpy(windows[:16])),
            ("unrecorded", 1): lambda: released(
                network, torch.from_numpy(windows[:1]), recording=False
            ),
            ("compiled", 1): whole(model, windows[:1]),
            ("compiled", 16): whole(model, windows[:16]),
            ("incremental", 1): incremental(model, windows[:1]),
            ("incremental", 64): incremental(model, windows),
            ("floor", 64): floor(network, shape),
        }
        if variants is None:
            for batch in (1, 16):
                path = Path(folder) / f"plain{batch}.onnx"
                runs[("onnx", batch)] = plain_export(network, windows[:batch], path)
            if encoder == "paper":
                runs[("minirocket", 1)] = minirocket(windows, len(shape.labels))
        chosen = {key: run for key, run in runs.items() if variants is None or key in variants}
        times = best_times(chosen)
    return [
        Figure(encoder, shape.name, variant, batch, shape.window, len(shape.labels), us / batch)
        for (variant, batch), us in times.items()
    ]


def size_table() -> Table:
    """Return how many numbers the compiled graphs are made of, and the packaged bundle's size."""
    result = Table(title="size at run time")
    for heading in ("", "parameters", "MB"):
        result.add_column(heading, justify="right" if heading else "left")
    with tempfile.TemporaryDirectory() as folder:
        paths = {"packaged bundle": find_bundle(DEFAULT_BUNDLE)}
        for shape in SHAPES:
            name = f"paper encoder, {shape.name}"
            paths[name] = Path(folder) / f"{shape.name}.onnx"
            compiled(random_network("paper", shape), shape, paths[name])
        for name, path in paths.items():
            result.add_row(name, str(count_parameters(path)), f"{path.stat().st_size / 1e6:.2f}")
    return result


def count_parameters(bundle: Path) -> int:
    """Return how many numbers a compiled graph is made of."""
    constants = onnx.load(bundle).graph.initializer
    weights = [constant for constant in constants if constant.data_type == onnx.TensorProto.FLOAT]
    return sum(int(np.prod(weight.dims)) for weight in weights)


def measure_scaling() -> Iterator[Figure]:
    """Time the compiled variants of the paper's encoder over windows and numbers of labels."""
    variants = frozenset(
        {("released", 1), ("compiled", 1), ("incremental", 1), ("incremental", 64)}
    )
    names = [f"move part {number % 5} {number // 5}" for number in range(64)]
    for window in (128, 256, 512, 1024):
        shape = Shape("windows", 9, window, SHAPES[0].labels)
        yield from measure("paper", shape, variants)
    for count in (4, 8, 16, 32, 64):
        yield from measure("paper", Shape("labels", 9, 128, tuple(names[:count])), variants)


def best_times(runs: dict[tuple[str, int], Callable[[], object]]) -> dict[tuple[str, int], float]:
    """Return microseconds for each run, of its quickest turn; see the module's text."""
    repeats = {}
    for key, run in runs.items():
        run()
        began = time.process_time()
        run()
        repeats[key] = max(1, int(TURN_SECONDS / (time.process_time() - began)))
    turns: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            if repeats[key] > 1:
                run()  # what is in the caches is another variant's
            began = time.process_time()
            for _ in range(repeats[key]):
                run()
            turns[key].append((time.process_time() - began) / repeats[key] * 1e6)
    return {key: min(times) for key, times in turns.items()}


def released(network: ShareNetwork, windows: Tensor, *, recording: bool = True) -> list[int]:
    """Find the windows' labels as the released code does, after its description.

    All outputs of the encoder, time before channels, are repeated once for every label; every copy
    is pooled, and decoded word by word up to the longest label; the words' log-probabilities are
    summed in loops over windows and labels, which pass over what shorter labels were filled up
    with. The released evaluation does not switch gradients off, so all of it is recorded for them.
    """
    label_set, encoder, decoder = network.label_set, network.encoder, network.decoder
    sequences = [label_set.tokens([START, *words, END]) for words in label_set.labels]
    longest, count = max(map(len, sequences)), len(sequences)
    filled = torch.tensor([[*s, *[PADDING] * (longest - len(s))] for s in sequences])
    words = filled.expand(len(windows), -1, -1)
    with torch.set_grad_enabled(recording):
        features = encoder.pooled(
            [
                outputs[:, None].expand(-1, count, -1, -1).flatten(0, 1)
                for outputs in encoded_as_released(encoder, windows)
            ]
        )
        state = decoder.initial_hidden(features), decoder.initial_cell(features)
        scores = torch.zeros(len(windows), count)
        for step in range(1, longest):
            before, now = words[:, :, step - 1].reshape(-1), words[:, :, step]
            state = decoder.cell(decoder.embedding(before.clamp(min=0)), state)
            steps = decoder.output(state[0].unflatten(0, (-1, count))).log_softmax(dim=2)
            for window in range(len(windows)):
                for label in range(count):
                    if now[window, label] != PADDING:
                        scores[window, label] += steps[window, label, now[window, label]]
    best: list[int] = scores.argmax(dim=1).tolist()
    return best


def encoded_as_released(encoder: Encoder, windows: Tensor) -> list[Tensor]:
    """Return what is pooled: by the released layers of the paper's encoder, or by the network's."""
    if encoder.shape != EncoderShape.paper():
        return encoder.encoded(windows)
    hidden = ((windows - encoder.mean) / encoder.deviation).transpose(1, 2)
    for stage in encoder.stages:
        assert isinstance(stage, Stage)  # noqa: S101 - tells the type checker
        hidden = stage.norm(stage.dense(hidden)).relu()
    return [hidden.transpose(1, 2)]


def plain_export(network: ShareNetwork, windows: np.ndarray, path: Path) -> Callable[[], object]:
    """Export the exhaustive scoring of a batch of this size and return how to run it."""

    class Exhaustive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, samples: Tensor) -> Tensor:
            return exhaustive_scores(self.network, samples)

    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # of the exporter's own making
        torch.onnx.export(Exhaustive().eval(), (torch.from_numpy(windows),), path, verbose=False)
    session = onnxruntime.InferenceSession(path, options(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: windows})


def options() -> onnxruntime.SessionOptions:
    """Return the options of a session of one thread."""
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = 1
    chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 3
    return chosen


def random_network(encoder: str, shape: Shape) -> ShareNetwork:
    """Return a network with the same random weights every time."""
    torch.manual_seed(0)
    label_set = LabelSet.from_names(shape.labels)
    return ENCODERS[encoder].build(label_set, shape.channels).eval()


def compiled(network: ShareNetwork, shape: Shape, path: Path) -> ShareModel:
    """Compile the network and load it."""
    label_set, count = network.label_set, len(shape.labels)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name="benchmark",
        worn="",
        labels=label_set.labels,
        display_names=label_set.names,
        vocabulary=label_set.vocabulary,
        tree=describe_tree(label_set),
        channels=tuple(f"channel_{number}" for number in range(shape.channels)),
        units=("m/s2",) * shape.channels,
        gravity=True,
        rate_hz=50.0,
        window=shape.window,
        hop=HOP,
        streaming=streaming_layout(network, HOP),
        calibration=Calibration(temperature=1.0),
        transitions=((1 / count,) * count,) * count,
        training=TrainingData(name="none", licence="none", held_out=(), seed=0),
        measured=None,
    )
    write_bundle(network, manifest, path)
    return ShareModel.load(path)


def whole(model: ShareModel, windows: np.ndarray) -> Callable[[], object]:
    """Return how to score so many whole windows by the graph, bound to its arrays once."""
    graph = model.bind_windows(len(windows))

    def run() -> object:
        graph.samples[:] = windows
        return graph.run()

    return run


def incremental(model: ShareModel, windows: np.ndarray) -> Callable[[], object]:
    """Return a step of so many streams, all of them past their first window."""
    states, slots = StreamStates(model, HOP, len(windows)), np.arange(len(windows))
    states.reset(slots)
    for start in range(0, windows.shape[1] - HOP + 1, HOP):
        states.step(slots, windows[:, start : start + HOP])
    hop = np.ascontiguousarray(windows[:, :HOP])
    return lambda: states.step(slots, hop)


def work(network: ShareNetwork, shape: Shape) -> int:
    """Return the multiply-adds of one hop and one label."""
    inputs, total = shape.channels, 0
    for stage in network.encoder.shape.stages:
        total += HOP * multiply_adds(stage, inputs)
        inputs = stage.width
    decoder, nodes = network.decoder, len(network.label_set.nodes)
    size = decoder.cell.hidden_size
    parents = len({node.parent for node in network.label_set.nodes})
    total += network.encoder.features * 2 * size
    return total + parents * 4 * size * size + nodes * size * decoder.output.out_features


def floor(network: ShareNetwork, shape: Shape) -> Callable[[], object]:
    """Return 64 streams' multiply-adds as one product of numpy."""
    inner, columns = 384, 128
    rows = round(64 * work(network, shape) / (inner * columns))
    left = np.ones((rows, inner), dtype=np.float32)
    right = np.ones((inner, columns), dtype=np.float32)
    result = np.empty((rows, columns), dtype=np.float32)
    return lambda: np.matmul(left, right, out=result)


def minirocket(windows: np.ndarray, classes: int) -> Callable[[], object]:
    """Return MiniRocket and ridge on one window, fitted on random ones."""
    from aeon.transformations.collection.convolution_based import MiniRocket  # noqa: PLC0415
    from sklearn.linear_model import RidgeClassifier  # noqa: PLC0415

    series = np.ascontiguousarray(windows.transpose(0, 2, 1))
    transform = MiniRocket(random_state=0, n_jobs=1)
    features = transform.fit_transform(series)
    ridge = RidgeClassifier().fit(features, np.arange(len(series)) % classes)
    one = series[:1]
    return lambda: ridge.predict(transform.transform(one))


def table(encoder: str, figures: list[Figure]) -> Table:
    """Return microseconds per label, and how many times faster than released at batch 1."""
    result = Table(title=f"{encoder} encoder: us per label (times faster than released, batch 1)")
    result.add_column("variant")
    for shape in SHAPES:
        result.add_column(f"{shape.name} {shape.channels}x{shape.window}", justify="right")
    rows = sorted({(f.variant, f.batch) for f in figures}, key=lambda row: _order(*row))
    for variant, batch in rows:
        cells = []
        for shape in SHAPES:
            at = {(f.variant, f.batch): f.us_per_label for f in figures if f.shape == shape.name}
            value = at.get((variant, batch))
            base = at["released", 1]
            cells.append("" if value is None else f"{value:9.1f} ({base / value:6.1f}x)")
        result.add_row(f"{variant}, batch {batch}", *cells)
    return result


def _order(variant: str, batch: int) -> tuple[int, int]:
    names = ("released", "unrecorded", "onnx", "compiled", "incremental", "minirocket", "floor")
    return names.index(variant), batch


def scaling_table(figures: list[Figure]) -> Table:
    """Return microseconds per label over windows and numbers of labels."""
    result = Table(title="paper's encoder: us per label over window and number of labels")
    for heading in ("window", "labels", "released", "compiled", "incremental 1", "incremental 64"):
        result.add_column(heading, justify="right")
    for window, labels in dict.fromkeys((f.window, f.labels) for f in figures):
        at = {(f.variant, f.batch): f for f in figures if (f.window, f.labels) == (window, labels)}
        keys = (("released", 1), ("compiled", 1), ("incremental", 1), ("incremental", 64))
        cells = (f"{at[key].us_per_label:.1f}" for key in keys)
        result.add_row(str(window), str(labels), *cells)
    return result


def draw(figures: list[Figure], path: Path) -> None:
    """Draw time per label against window length and against number of labels."""
    plots, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), dpi=130, layout="constrained")
    for axes, shape, key in ((left, "windows", "window"), (right, "labels", "labels")):
        for variant, batch, name in (
            ("released", 1, "as released"),
            ("compiled", 1, "compiled, whole window"),
            ("incremental", 1, "hop by hop, one stream"),
            ("incremental", 64, "hop by hop, 64 streams"),
        ):
            own = [f for f in figures if (f.shape, f.variant, f.batch) == (shape, variant, batch)]
            x, y = [getattr(f, key) for f in own], [f.us_per_label for f in own]
            axes.loglog(x, y, marker="o", label=name)
        axes.set_xticks(x, map(str, x))
        axes.minorticks_off()
        axes.set_xlabel("samples in the window" if key == "window" else "labels")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("microseconds per label")
    plots.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.savefig(path)


if __name__ == "__main__":
    main()
