"""From a trained network to the bundle: one ONNX graph with its manifest.

What is constant is folded: the input's normalisation and every batch normalisation into the
convolutions, word vectors and input weights of the LSTM into one table a word. The encoder keeps,
stage by stage, the samples that its next outputs will see (as streaming speech models do), and
pools into partial results that can be merged, so that the same graph runs a hop of a stream or a
whole window. The decoder steps through the labels' prefix tree level by level, so that a word
shared by labels is written once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from streamer.share.bundle import (
    FORMAT_VERSION,
    MANIFEST_KEY,
    UNSEALED,
    Calibration,
    Manifest,
    MeasuredAccuracy,
    Streaming,
    TrainingData,
    describe_tree,
    digest,
)
from streamer.share.labels import END, LabelSet
from streamer.share.runtime import (
    BEFORE,
    COUNTS,
    NEXT_STATE,
    PARTIALS,
    POOLED,
    PREFIXES,
    PROBABILITIES,
    SAMPLES,
    SCORES,
    STARTS,
    STATE,
)
from streamer.training.config import TrainingConfig
from streamer.training.network import (
    DEVIATION_EPSILON,
    LARGEST_LOGIT,
    Decoder,
    Encoder,
    Pooling,
    ShareNetwork,
    Stage,
)
from streamer.training.trainer import TrainingResult, load_run

OPSET = 18
"""Runs on onnxruntime since 1.14; the graph needs nothing newer."""

IR_VERSION = 8
NO_END = int(np.iinfo(np.int64).max)
"""A slice's end that is beyond any length."""


def compile_run(run: Path, bundle: Path, name: str) -> Manifest:
    """Compile a finished training run into a bundle for a model of this name.

    Raises:
        TrainingError: the folder is not a finished run.
    """
    config, network, result = load_run(run)
    return write_bundle(network, describe(name, config, result, streaming_layout(network)), bundle)


def describe(
    name: str, config: TrainingConfig, result: TrainingResult, streaming: Streaming
) -> Manifest:
    """Return the manifest of a run."""
    data = config.data
    label_set = LabelSet.from_names(data.labels)
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        labels=label_set.labels,
        display_names=tuple(label.capitalize() for label in label_set.names),
        vocabulary=label_set.vocabulary,
        tree=describe_tree(label_set),
        channels=data.channels,
        units=data.units,
        gravity=True,
        rate_hz=data.rate_hz,
        window=data.window,
        hop=data.hop,
        streaming=streaming,
        calibration=Calibration(temperature=round(result.temperature, 4)),
        transitions=tuple(tuple(round(p, 6) for p in row) for row in result.transitions),
        training=TrainingData(
            name=data.name,
            licence=data.licence,
            held_out=data.validation,
            seed=config.optimisation.seed,
        ),
        measured=MeasuredAccuracy(
            accuracy=round(result.accuracy["accuracy"], 4),
            macro_f1=round(result.accuracy["macro_f1"], 4),
            people=data.test,
        )
        if result.accuracy
        else None,
    )


def write_bundle(network: ShareNetwork, manifest: Manifest, path: Path) -> Manifest:
    """Write the bundle and return its manifest with the hash."""
    model = build_graph(network.eval(), manifest.calibration.temperature)
    helper.set_model_props(model, {MANIFEST_KEY: manifest.model_dump_json()})
    data = model.SerializeToString(deterministic=True)
    seal = digest(data, UNSEALED)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.replace(UNSEALED.encode(), seal.encode()))
    return manifest.model_copy(update={"sha256": seal})


def build_graph(network: ShareNetwork, temperature: float) -> onnx.ModelProto:
    """Return the streaming graph; `streamer.share.runtime` tells its inputs and outputs."""
    graph = _Graph()
    hidden = _encode(graph, network.encoder)
    features = _pool(graph, network.encoder.pooling, hidden)
    words = _decode(graph, network.decoder, network.label_set, features)
    _score(graph, network.label_set, words, temperature)
    layout, channels = streaming_layout(network), len(network.encoder.mean)
    nodes, labels = len(network.label_set.nodes), len(network.label_set.labels)
    real, double, integer = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
    proto = helper.make_graph(
        graph.nodes,
        "share",
        [
            helper.make_tensor_value_info(SAMPLES, real, ["batch", "time", channels]),
            helper.make_tensor_value_info(STATE, real, ["batch", layout.state]),
            helper.make_tensor_value_info(BEFORE, double, ["batch", layout.partial]),
            helper.make_tensor_value_info(STARTS, integer, [2]),
            helper.make_tensor_value_info(POOLED, real, [2, "time"]),
            helper.make_tensor_value_info(COUNTS, double, [3]),
        ],
        [
            helper.make_tensor_value_info(SCORES, real, ["batch", labels]),
            helper.make_tensor_value_info(PROBABILITIES, real, ["batch", labels]),
            helper.make_tensor_value_info(PREFIXES, real, ["batch", nodes]),
            helper.make_tensor_value_info(NEXT_STATE, real, ["batch", layout.state]),
            helper.make_tensor_value_info(PARTIALS, double, ["batch", 2, layout.partial]),
        ],
        graph.constants,
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="share-streamer",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def streaming_layout(network: ShareNetwork) -> Streaming:
    """Return the sizes of what a stream keeps between hops."""
    encoder = network.encoder
    inputs = [len(encoder.mean), *(stage.width for stage in encoder.shape.stages)]
    kept = zip(encoder.shape.stages, inputs, strict=False)
    return Streaming(
        receptive_field=encoder.shape.receptive_field,
        state=sum(stage.reach * channels for stage, channels in kept),
        sums=sum(size for _, size in _sums(encoder.pooling)),
        maxima=encoder.pooling.width * ("maximum" in encoder.pooling.names),
    )


class _Graph:
    """Collects nodes and constants; every name is made here."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def floats(self, array: NDArray[Any] | float) -> str:
        return self.constant(np.asarray(array, dtype=np.float32))

    def doubles(self, array: NDArray[Any] | float) -> str:
        return self.constant(np.asarray(array, dtype=np.float64))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:  # noqa: ANN401
        output = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def split(self, inputs: str, sizes: Sequence[int], axis: int) -> list[str]:
        if len(sizes) == 1:
            return [inputs]
        outputs = [f"n{len(self.nodes)}_{part}" for part in range(len(sizes))]
        sources = [inputs, self.integers(*sizes)]
        self.nodes.append(helper.make_node("Split", sources, outputs, axis=axis))
        return outputs

    def times(self, inputs: str, start: int, before_end: int = 0) -> str:
        """Return [:, start : length - before_end] of [batch, time, channels]."""
        if (start, before_end) == (0, 0):
            return inputs
        ends = (self.integers(start), self.integers(-before_end or NO_END), self.integers(1))
        return self.node("Slice", inputs, *ends)

    def rows(self, inputs: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
        """Return (inputs as rows) @ weight + bias, [rows, channels]."""
        flat = self.node("Reshape", inputs, self.integers(-1, len(weight)))
        return self.node("Gemm", flat, self.floats(weight), self.floats(bias))

    def double(self, inputs: str) -> str:
        return self.node("Cast", inputs, to=TensorProto.DOUBLE)


def _encode(graph: _Graph, encoder: Encoder) -> str:
    """Return the new outputs [batch, time, width]."""
    deviation, mean = _array(encoder.deviation), _array(encoder.mean)
    inputs = [len(mean), *(shape.width for shape in encoder.shape.stages)]
    reaches = [shape.reach for shape in encoder.shape.stages]
    sizes = [reach * width for reach, width in zip(reaches, inputs, strict=False)]
    caches = graph.split(STATE, sizes, axis=1)
    batch_and_time = graph.split(graph.node("Shape", SAMPLES), [2, 1], axis=0)[0]
    hidden, kept = SAMPLES, []
    for number, stage in enumerate(encoder.stages):
        assert isinstance(stage, Stage)  # noqa: S101 - tells the type checker
        reach, width = reaches[number], inputs[number]
        if reach:
            cache = graph.node("Reshape", caches[number], graph.integers(0, reach, width))
            hidden = graph.node("Concat", cache, hidden, axis=1)
            newest = graph.times(hidden, -reach)
            kept.append(graph.node("Reshape", newest, graph.integers(0, reach * width)))
        normalise = (mean, deviation) if number == 0 else None
        output = graph.node("Concat", batch_and_time, graph.integers(stage.shape.width), axis=0)
        hidden = _encode_stage(graph, stage, hidden, output, normalise)
    graph.node("Concat", *kept, axis=1, name=NEXT_STATE)
    return hidden


def _encode_stage(
    graph: _Graph,
    stage: Stage,
    inputs: str,
    output_shape: str,
    normalise: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> str:
    shape = stage.shape
    taps = [
        graph.times(inputs, tap * shape.dilation, (shape.kernel - 1 - tap) * shape.dilation)
        for tap in range(shape.kernel)
    ]
    factor, bias = _batch_norm(stage.norm)
    if shape.kind == "separable":
        mixed = _weighted_sum(graph, taps, _array(stage.depthwise.weight)[:, 0])
        weight = _array(stage.pointwise.weight)[:, :, 0].T * factor
    else:
        mixed = graph.node("Concat", *taps, axis=2) if len(taps) > 1 else taps[0]
        dense = _array(stage.dense.weight) * factor[:, None, None]
        if normalise is not None:
            # (x - mean) / deviation before an unpadded convolution is another such convolution.
            mean, deviation = normalise
            dense = dense / deviation[:, None]
            bias = bias - (dense * mean[:, None]).sum(axis=(1, 2))
        weight = dense.transpose(2, 1, 0).reshape(-1, shape.width)
    product = graph.rows(mixed, weight, bias)
    if not shape.residual:
        return graph.node("Reshape", graph.node("Relu", product), output_shape)
    before = shape.reach // 2
    kept = graph.times(inputs, before, shape.reach - before)
    change = graph.node("Reshape", product, output_shape)
    return graph.node("Relu", graph.node("Add", kept, change))


def _weighted_sum(graph: _Graph, taps: list[str], weights: NDArray[np.float64]) -> str:
    """Return the sum of the taps, each times its weight for every channel, [channels, taps]."""
    products = [
        graph.node("Mul", tap, graph.floats(weights[:, number])) for number, tap in enumerate(taps)
    ]
    total = products[0]
    for product in products[1:]:
        total = graph.node("Add", total, product)
    return total


def _batch_norm(norm: nn.BatchNorm1d) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factor and the bias that a batch normalisation comes to once it is trained."""
    assert norm.running_mean is not None  # noqa: S101 - tells the type checker
    assert norm.running_var is not None  # noqa: S101
    factor = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return factor, _array(norm.bias) - factor * _array(norm.running_mean)


def _pool(graph: _Graph, pooling: Pooling, hidden: str) -> str:
    """Write the new outputs' partial results and return the window's features."""
    sizes = [size for _, size in _sums(pooling)]
    parts = [_partial_sums(graph, pooling, hidden)] if sizes else []
    widths = [sum(sizes)] if sizes else []
    if "maximum" in pooling.names:
        parts.append(graph.double(_partial_maxima(graph, hidden)))
        widths.append(pooling.width)
    graph.node("Concat", *parts, axis=2, name=PARTIALS)
    block = graph.node("Reshape", graph.times(PARTIALS, 0, 1), graph.integers(0, sum(widths)))
    merge = ["Add"] * bool(sizes) + ["Max"] * ("maximum" in pooling.names)
    halves = (graph.split(partial, widths, axis=1) for partial in (BEFORE, block))
    merged = [graph.node(operator, *pair) for operator, *pair in zip(merge, *halves, strict=True)]
    return _features(graph, pooling, merged)


def _sums(pooling: Pooling) -> list[tuple[str, int]]:
    """Return the names and sizes of the sums that the statistics are made of, in their order."""
    sums = []
    if {"mean", "deviation"} & {*pooling.names}:
        sums.append(("values", pooling.width))
    if "deviation" in pooling.names:
        sums.append(("squares", pooling.width))
    if "attention" in pooling.names:
        sums += [("attended", pooling.width), ("weights", 1)]
    if "positives" in pooling.names:
        sums.append(("positives", pooling.width))
    return sums


def _partial_sums(graph: _Graph, pooling: Pooling, hidden: str) -> str:
    """Return the sums over all pooled outputs and over their tail, float64 [batch, 2, sums].

    They are merged in float64, where a variance may be made of sums of squares; within a hop the
    squares are taken about the hop's own mean, for which float32 is enough.
    """

    def total(values: str) -> str:
        return graph.double(graph.node("MatMul", POOLED, values))

    found: dict[str, str] = {}
    if {"mean", "deviation"} & {*pooling.names}:
        found["values"] = total(hidden)
    if "deviation" in pooling.names:
        found["squares"] = _sum_of_squares(graph, hidden, found["values"], total)
    if "attention" in pooling.names:
        assert pooling.attention.bias is not None  # noqa: S101 - tells the type checker
        weight = graph.floats(_array(pooling.attention.weight)[:, :, 0].T)
        bias = graph.floats(_array(pooling.attention.bias))
        logits = graph.node("Add", graph.node("MatMul", hidden, weight), bias)
        bounds = graph.floats(-LARGEST_LOGIT), graph.floats(LARGEST_LOGIT)
        weights = graph.node("Exp", graph.node("Clip", logits, *bounds))
        found["attended"] = total(graph.node("Mul", hidden, weights))
        found["weights"] = total(weights)
    if "positives" in pooling.names:
        slope, threshold = _array(pooling.slope), _array(pooling.threshold)
        scaled = graph.node("Mul", hidden, graph.floats(slope))
        above = graph.node("Sub", scaled, graph.floats(slope * threshold))
        found["positives"] = total(graph.node("Sigmoid", above))
    return graph.node("Concat", *(found[name] for name, _ in _sums(pooling)), axis=2)


def _sum_of_squares(graph: _Graph, hidden: str, values: str, total: Callable[[str], str]) -> str:
    counts = graph.node("Reshape", graph.split(COUNTS, [2, 1], axis=0)[0], graph.integers(2, 1))
    mean = graph.times(graph.node("Div", values, counts), 0, 1)
    centre = graph.node("Cast", mean, to=TensorProto.FLOAT)
    spread = graph.node("Sub", hidden, centre)
    about_centre = total(graph.node("Mul", spread, spread))
    # sum x^2 = sum (x - c)^2 + c (2 sum x - n c), for the very c that was taken off.
    exact = graph.double(centre)
    twice = graph.node("Add", values, values)
    shift = graph.node("Sub", twice, graph.node("Mul", counts, exact))
    return graph.node("Add", about_centre, graph.node("Mul", exact, shift))


def _partial_maxima(graph: _Graph, hidden: str) -> str:
    """Return the maxima of all pooled outputs and of their tail, [batch, 2, width]."""
    time, end = graph.integers(1), graph.integers(NO_END)
    maxima = []
    for start in graph.split(STARTS, [1, 1], axis=0):
        part = graph.node("Slice", hidden, start, end, time)
        maxima.append(graph.node("ReduceMax", part, time, keepdims=1))
    return graph.node("Concat", *maxima, axis=1)


def _features(graph: _Graph, pooling: Pooling, merged: list[str]) -> str:
    """Return a window's statistics from its sums and maxima, float32 [batch, features]."""
    count = graph.split(COUNTS, [2, 1], axis=0)[1]
    features: dict[str, str] = {}
    if "maximum" in pooling.names:
        features["maximum"] = merged[-1]
    names = [name for name, _ in _sums(pooling)]
    if names:
        split = graph.split(merged[0], [size for _, size in _sums(pooling)], axis=1)
        sums = dict(zip(names, split, strict=True))
        if "values" in sums:
            features["mean"] = graph.node("Div", sums["values"], count)
        if "squares" in sums:
            square = graph.node("Mul", features["mean"], features["mean"])
            variance = graph.node("Sub", graph.node("Div", sums["squares"], count), square)
            above_zero = graph.node("Max", variance, graph.doubles(0.0))
            stable = graph.node("Add", above_zero, graph.doubles(DEVIATION_EPSILON))
            features["deviation"] = graph.node("Sqrt", stable)
        if "weights" in sums:
            features["attention"] = graph.node("Div", sums["attended"], sums["weights"])
        if "positives" in sums:
            features["positives"] = graph.node("Div", sums["positives"], count)
    joined = graph.node("Concat", *(features[name] for name in pooling.names), axis=1)
    return graph.node("Cast", joined, to=TensorProto.FLOAT)


def _decode(graph: _Graph, decoder: Decoder, label_set: LabelSet, features: str) -> str:
    """Return the next word's log-probabilities at every node, [batch, nodes, words]."""
    cell, size = decoder.cell, decoder.cell.hidden_size
    order = _gate_order(size)
    table = _array(decoder.embedding.weight) @ _array(cell.weight_ih).T
    table = (table + _array(cell.bias_ih) + _array(cell.bias_hh))[:, order]
    recurrent = graph.floats(_array(cell.weight_hh).T[:, order])
    initial = (decoder.initial_hidden, decoder.initial_cell)
    start = graph.rows(
        features,
        np.hstack([_array(layer.weight).T for layer in initial]),
        np.hstack([_array(layer.bias) for layer in initial]),
    )
    start = graph.node("Reshape", start, graph.integers(-1, 1, 2 * size))
    hidden, memory = graph.split(start, [size, size], axis=2)
    levels, before = [], [-1]
    for depth in range(label_set.nodes[-1].depth + 1):
        level = [i for i, node in enumerate(label_set.nodes) if node.depth == depth]
        origins = [before.index(label_set.nodes[i].parent) for i in level]
        # Children differ in their word alone, so the product is taken once for each parent.
        parents = sorted(set(origins))
        product = graph.node("MatMul", _chosen(graph, hidden, parents, len(before)), recurrent)
        families = [parents.index(origin) for origin in origins]
        product = _chosen(graph, product, families, len(parents))
        memory = _chosen(graph, memory, origins, len(before))
        words = graph.floats(table[[label_set.nodes[i].token for i in level]])
        hidden, memory = _lstm_step(graph, graph.node("Add", product, words), memory, size)
        levels.append(hidden)
        before = level
    nodes = graph.node("Concat", *levels, axis=1)
    weight, bias = _array(decoder.output.weight).T, _array(decoder.output.bias)
    output = graph.node("LogSoftmax", graph.rows(nodes, weight, bias), axis=1)
    return graph.node("Reshape", output, graph.integers(-1, len(label_set.nodes) * len(bias)))


def _chosen(graph: _Graph, nodes: str, which: list[int], count: int) -> str:
    """Return some of `count` nodes of a level, [batch, nodes, channels], repeated as asked."""
    if which == list(range(count)):
        return nodes
    return graph.node("Gather", nodes, graph.integers(*which), axis=1)


def _gate_order(hidden: int) -> NDArray[np.int64]:
    """Return torch's gates (input, forget, cell, output) with the one that takes tanh last."""
    gates = np.arange(4 * hidden).reshape(4, hidden)
    return gates[[0, 1, 3, 2]].ravel()


def _lstm_step(graph: _Graph, gates: str, memory: str, size: int) -> tuple[str, str]:
    sigmoids, candidate = graph.split(gates, [3 * size, size], axis=2)
    admit, forget, emit = graph.split(graph.node("Sigmoid", sigmoids), [size] * 3, axis=2)
    kept = graph.node("Mul", forget, memory)
    memory = graph.node("Add", kept, graph.node("Mul", admit, graph.node("Tanh", candidate)))
    return graph.node("Mul", emit, graph.node("Tanh", memory)), memory


def _score(graph: _Graph, label_set: LabelSet, words: str, temperature: float) -> None:
    """Sum the log-probabilities of each label's words and `end`; share them among the labels."""
    vocabulary = len(label_set.vocabulary)
    (end,) = label_set.tokens([END])
    steps = []
    for path in label_set.paths:
        following = [*(label_set.nodes[node].token for node in path[1:]), end]
        steps.append([n * vocabulary + t for n, t in zip(path, following, strict=True)])
    used = sorted({step for path in steps for step in path})
    membership = np.array([[step in path for path in steps] for step in used])
    chosen = graph.node("Gather", words, graph.integers(*used), axis=1)
    scores = graph.node("MatMul", chosen, graph.floats(membership), name=SCORES)
    cooled = graph.node("Mul", scores, graph.floats(1 / temperature))
    shares = graph.node("Softmax", cooled, axis=1, name=PROBABILITIES)
    beneath = [[node in path for node in range(len(label_set.nodes))] for path in label_set.paths]
    graph.node("MatMul", shares, graph.floats(np.array(beneath)), name=PREFIXES)


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().numpy().astype(np.float64)
