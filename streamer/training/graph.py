"""From a trained network to the bundle's ONNX graph.

What is constant is folded: the input's normalisation and every batch normalisation into the
convolutions, word vectors and input weights of the LSTM into one table a word. The encoder pools
into partial results that can be merged, so that the same graph runs a hop of a stream or a whole
window. The decoder steps through the labels' prefix tree level by level, so that a word shared by
labels is written once.

A stream's hop is encoded after the samples that its first outputs still see. They are kept at the
input; before a deeper stage they are either kept as well (as streaming speech models do) or encoded
once more, whichever is less work: see `kept_stages`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from streamer.share.bundle import Streaming
from streamer.share.labels import LabelSet
from streamer.share.runtime import (
    BEFORE,
    PARTIALS,
    POOLED,
    PROBABILITIES,
    SAMPLES,
    SCORES,
    kept,
    next_kept,
)
from streamer.training.network import (
    DEVIATION_EPSILON,
    LARGEST_LOGIT,
    Encoder,
    Pooling,
    Positives,
    ShareNetwork,
    Stage,
    StageShape,
)

OPSET = 18
"""Runs on onnxruntime since 1.14; the graph needs nothing newer."""

IR_VERSION = 8
NO_END = int(np.iinfo(np.int64).max)
"""A slice's end that is beyond any length."""

MULTIPLY_ADDS_PER_COPY = 16
"""What it costs to keep a number and set it before the new ones, in a convolution's work."""

LARGEST_SQUARED = 1e18
"""What is companded is clipped to it, since its square must fit float32."""

GATES = ("Sigmoid", "Sigmoid", "Tanh", "Sigmoid")
"""Activations of an LSTM's gates in torch's order: input, forget, candidate, output."""

CHANNELS, TIME = 1, 3
"""Axes of what is inside the encoder, [batch, channels, 1, time]."""


def streaming_layout(network: ShareNetwork, hop: int) -> Streaming:
    """Return the sizes of what a stream keeps between hops of so many samples."""
    encoder = network.encoder
    stages, pooling = encoder.shape.stages, encoder.pooling
    channels = len(encoder.mean)
    reaches = kept_stages(channels, stages, hop)
    return Streaming(
        receptive_field=encoder.shape.receptive_field,
        context=reaches[0],
        kept=tuple(
            (1, reach, stages[number - 1].width) for number, reach in reaches.items() if number
        ),
        sums=sum(size for _, size in _sums(encoder)),
        maxima=pooling.width * ("maximum" in pooling.names),
    )


def kept_stages(channels: int, stages: Sequence[StageShape], hop: int) -> dict[int, int]:
    """Return the stages before which inputs are kept from hop to hop, and how many.

    The first is one of them. Before another they are kept where it is more work to encode them once
    more, from what is kept before, than to copy them and the hop's own into one array.
    """
    reaches, newest, work, inputs = {0: 0}, 0, 0, channels
    for number, stage in enumerate(stages):
        copying = (stage.reach + hop) * inputs * MULTIPLY_ADDS_PER_COPY
        if stage.reach * work > copying:
            newest, work = number, 0
        reaches[newest] = reaches.get(newest, 0) + stage.reach
        work += multiply_adds(stage, inputs)
        inputs = stage.width
    return reaches


def multiply_adds(stage: StageShape, inputs: int) -> int:
    """Return what one output of a stage takes."""
    if stage.kind == "separable":
        return inputs * (stage.kernel + stage.width)
    return inputs * stage.kernel * stage.width


def build_graph(
    network: ShareNetwork, window: int, hop: int, temperature: float
) -> onnx.ModelProto:
    """Return the streaming graph; `streamer.share.runtime` tells its inputs and outputs."""
    graph, layout = _Graph(), streaming_layout(network, hop)
    stem, hidden = _encode(graph, network.encoder, hop)
    outputs = window - layout.receptive_field + 1
    features = _pool(graph, network.encoder, stem, hidden, outputs)
    words = _decode(graph, network, features, _scales(network.encoder, outputs))
    _score(graph, network.label_set, words, temperature)
    real, double = TensorProto.FLOAT, TensorProto.DOUBLE
    channels, labels = len(network.encoder.mean), len(network.label_set.labels)
    numbered = list(enumerate(layout.kept))
    proto = helper.make_graph(
        graph.nodes,
        "share",
        [
            helper.make_tensor_value_info(SAMPLES, real, ["batch", 1, channels, "span"]),
            *(helper.make_tensor_value_info(kept(n), real, ["batch", *s]) for n, s in numbered),
            helper.make_tensor_value_info(BEFORE, double, ["batch", layout.partial]),
            helper.make_tensor_value_info(POOLED, real, ["time", 2]),
        ],
        [
            helper.make_tensor_value_info(SCORES, real, ["batch", labels]),
            helper.make_tensor_value_info(PROBABILITIES, real, ["batch", labels]),
            helper.make_tensor_value_info(PARTIALS, double, ["batch", 2, layout.partial]),
            *(
                helper.make_tensor_value_info(next_kept(n), real, ["batch", *s])
                for n, s in numbered
            ),
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

    def join(self, parts: Sequence[str], axis: int) -> str:
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=axis)

    def slice(self, inputs: str, start: int, end: int, axis: int, name: str = "") -> str:
        bounds = (self.integers(start), self.integers(end), self.integers(axis))
        return self.node("Slice", inputs, *bounds, name=name)

    def reshape(self, inputs: str, *shape: int) -> str:
        return self.node("Reshape", inputs, self.integers(*shape))

    def double(self, inputs: str) -> str:
        return self.node("Cast", inputs, to=TensorProto.DOUBLE)

    def single(self, inputs: str) -> str:
        return self.node("Cast", inputs, to=TensorProto.FLOAT)


def _encode(graph: _Graph, encoder: Encoder, hop: int) -> tuple[str, str]:
    """Return the new outputs of the first and of the last stage, each [batch, width, 1, time]."""
    reaches = kept_stages(len(encoder.mean), encoder.shape.stages, hop)
    caches = {number: cache for cache, number in enumerate(list(reaches)[1:])}
    stem = hidden = _first(graph, encoder, SAMPLES)
    for number, stage in enumerate(encoder.stages[1:], start=1):
        assert isinstance(stage, Stage)  # noqa: S101 - tells the type checker
        if number in caches:
            hidden = _after_kept(graph, caches[number], reaches[number], hidden)
        hidden = _later_stage(graph, stage, hidden)
    if encoder.shape.stem_thresholds:
        # What is encoded once more for later stages was pooled with the hop before.
        stem = _cropped(graph, stem, reaches[0] - encoder.shape.stages[0].reach, 0)
    return stem, hidden


def _after_kept(graph: _Graph, cache: int, reach: int, hidden: str) -> str:
    """Put what was kept before the new ones, and keep the newest."""
    # Channels last, so that what is copied lies together.
    by_time = graph.node("Transpose", hidden, perm=[0, 2, 3, 1])
    joined = graph.node("Concat", kept(cache), by_time, axis=2)
    graph.slice(joined, -reach, NO_END, 2, name=next_kept(cache))
    return graph.node("Transpose", joined, perm=[0, 3, 1, 2])


def _first(graph: _Graph, encoder: Encoder, samples: str) -> str:
    """Convolve a picture, [batch, 1, channels, time]: one column a sample."""
    stage = encoder.stages[0]
    assert isinstance(stage, Stage)  # noqa: S101 - tells the type checker
    factor, bias = _folded(stage)
    # (x - mean) / deviation before an unpadded convolution is another such convolution, and of so
    # few channels one convolution is less work than one of each and a mixture of them.
    kernel = _dense_kernel(stage, factor) / _array(encoder.deviation)[:, None]
    bias = bias - (kernel * _array(encoder.mean)[:, None]).sum(axis=(1, 2))
    return _activated(graph, stage, samples, kernel[:, None], bias)


def _dense_kernel(stage: Stage, factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a stage as one convolution of all its inputs, [width, inputs, kernel].

    Its outputs are multiplied by a factor; residuals are one more weight of the middle tap.
    """
    if stage.shape.kind == "dense":
        kernel = _array(stage.dense_weight)
    else:
        kernel = _array(stage.pointwise.weight) * _array(stage.depthwise.weight)[:, 0]
    kernel = kernel * factor[:, None, None]
    if stage.shape.residual:
        kernel[:, :, stage.shape.kernel // 2] += np.eye(stage.shape.width)
    return kernel


def _later_stage(graph: _Graph, stage: Stage, inputs: str) -> str:
    shape = stage.shape
    factor, bias = _folded(stage)
    if shape.kind == "dense":
        return _activated(graph, stage, inputs, _dense_kernel(stage, factor)[:, :, None], bias)
    filters = _array(stage.depthwise.weight)[:, :, None]
    mixed = _convolve(graph, shape, inputs, filters, group=len(filters))
    weights = _array(stage.pointwise.weight)[..., None] * factor[:, None, None, None]
    change = graph.node("Conv", mixed, graph.floats(weights), graph.floats(bias))
    if shape.residual:
        before = shape.reach // 2
        change = graph.node("Add", change, _cropped(graph, inputs, before, shape.reach - before))
    return graph.node("Relu", change)


def _activated(
    graph: _Graph,
    stage: Stage,
    inputs: str,
    weights: NDArray[np.float64],
    bias: NDArray[np.float64],
) -> str:
    """Convolve; compand the first outputs and normalise them; let nothing be negative."""
    count, width = stage.shape.companded, stage.shape.width
    parts = []
    if count:
        changes = _convolve(graph, stage.shape, inputs, weights[:count], bias[:count])
        factor, own_bias = (array[:count, None, None] for array in _batch_norm(stage.norm))
        scaled = graph.node("Mul", _asinh(graph, changes), graph.floats(factor))
        parts.append(graph.node("Relu", graph.node("Add", scaled, graph.floats(own_bias))))
    if count < width:
        plain = _convolve(graph, stage.shape, inputs, weights[count:], bias[count:])
        parts.append(graph.node("Relu", plain))
    return graph.join(parts, axis=CHANNELS)


def _asinh(graph: _Graph, inputs: str) -> str:
    """Return the inverse hyperbolic sine by operators that onnxruntime vectorises.

    That of |x| is log(|x| + sqrt(x x + 1)), which is never above |x|.
    """
    limit = graph.floats(LARGEST_SQUARED)
    bounded = graph.node("Clip", inputs, graph.floats(-LARGEST_SQUARED), limit)
    square = graph.node("Mul", bounded, bounded)
    root = graph.node("Sqrt", graph.node("Add", square, graph.floats(1.0)))
    size = graph.node("Log", graph.node("Add", graph.node("Abs", bounded), root))
    return graph.node("Max", graph.node("Min", bounded, size), graph.node("Neg", size))


def _convolve(
    graph: _Graph,
    shape: StageShape,
    inputs: str,
    weights: NDArray[np.float64],
    bias: NDArray[np.float64] | None = None,
    group: int = 1,
) -> str:
    constants = [graph.floats(array) for array in (weights, bias) if array is not None]
    return graph.node("Conv", inputs, *constants, dilations=[1, shape.dilation], group=group)


def _cropped(graph: _Graph, inputs: str, start: int, before_end: int) -> str:
    if (start, before_end) == (0, 0):
        return inputs
    return graph.slice(inputs, start, -before_end or NO_END, TIME)


def _folded(stage: Stage) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return factor and bias of a stage's outputs; of companded ones those before the asinh."""
    factor, bias = _batch_norm(stage.norm)
    count = stage.shape.companded
    if not count:
        return factor, bias
    gain = np.exp(_array(stage.log_gain))
    own_factor, own_bias = _batch_norm(stage.whitening)
    return (
        np.concatenate([gain * own_factor, factor[count:]]),
        np.concatenate([gain * own_bias, bias[count:]]),
    )


def _batch_norm(norm: nn.BatchNorm1d) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factor and the bias that a batch normalisation comes to once it is trained."""
    assert norm.running_mean is not None  # noqa: S101 - tells the type checker
    assert norm.running_var is not None  # noqa: S101
    factor = 1 / np.sqrt(_array(norm.running_var) + norm.eps)
    if norm.affine:
        factor = factor * _array(norm.weight)
    bias = -factor * _array(norm.running_mean)
    return factor, bias + _array(norm.bias) if norm.affine else bias


def _pool(graph: _Graph, encoder: Encoder, stem: str, hidden: str, outputs: int) -> str:
    """Write the new outputs' partial results; return the features of a window of `outputs`."""
    pooling = encoder.pooling
    parts, sizes, merges = [], [], []
    if sums := _sums(encoder):
        found = _partial_sums(graph, pooling, _rows(graph, hidden))
        if encoder.shape.stem_thresholds:
            found["stem"] = _positives(graph, encoder.stem_positives, _rows(graph, stem))
        parts.append(graph.join([found[name] for name, _ in sums], axis=CHANNELS))
        sizes.append(sum(size for _, size in sums))
        merges.append(("ReduceSum", "Add"))
    if "maximum" in pooling.names:
        parts.append(_partial_maxima(graph, hidden))
        sizes.append(pooling.width)
        merges.append(("ReduceMax", "Max"))
    graph.node("Transpose", graph.join(parts, axis=CHANNELS), perm=[0, 2, 1], name=PARTIALS)
    before = graph.split(BEFORE, sizes, axis=CHANNELS)
    merged = [
        graph.node(merge, graph.node(reduce, part, graph.integers(2), keepdims=0), earlier)
        for (reduce, merge), part, earlier in zip(merges, parts, before, strict=True)
    ]
    return _features(graph, encoder, merged, outputs)


def _rows(graph: _Graph, hidden: str) -> str:
    """Return outputs as [batch, width, time]."""
    return graph.node("Squeeze", hidden, graph.integers(2))


def _sums(encoder: Encoder) -> list[tuple[str, int]]:
    """Return the names and sizes of the sums that the statistics are made of, in their order."""
    pooling = encoder.pooling
    sums = []
    if {"mean", "deviation"} & {*pooling.names}:
        sums.append(("values", pooling.width))
    if "deviation" in pooling.names:
        sums.append(("squares", pooling.width))
    if "attention" in pooling.names:
        sums += [("attended", pooling.width), ("weights", 1)]
    if "positives" in pooling.names:
        sums.append(("positives", pooling.width))
    if encoder.shape.stem_thresholds:
        sums.append(("stem", encoder.stem_positives.features))
    return sums


def _partial_sums(graph: _Graph, pooling: Pooling, rows: str) -> dict[str, str]:
    """Return the sums over the new outputs' two parts, each float64 [batch, its size, 2]."""
    found: dict[str, str] = {}
    if "deviation" in pooling.names:
        # A variance from sums of squares loses digits; float64 has them to lose.
        exact, pooled = graph.double(rows), graph.double(POOLED)
        found["values"] = graph.node("MatMul", exact, pooled)
        found["squares"] = graph.node("MatMul", graph.node("Mul", exact, exact), pooled)
    elif "mean" in pooling.names:
        found["values"] = _total(graph, rows)
    if "attention" in pooling.names:
        assert pooling.attention.bias is not None  # noqa: S101 - tells the type checker
        weight = graph.floats(_array(pooling.attention.weight)[:, :, 0])
        bias = graph.floats(_array(pooling.attention.bias))
        logits = graph.node("Add", graph.node("MatMul", weight, rows), bias)
        bounds = graph.floats(-LARGEST_LOGIT), graph.floats(LARGEST_LOGIT)
        weights = graph.node("Exp", graph.node("Clip", logits, *bounds))
        found["attended"] = _total(graph, graph.node("Mul", rows, weights))
        found["weights"] = _total(graph, weights)
    if "positives" in pooling.names:
        found["positives"] = _positives(graph, pooling.positives, rows)
    return found


def _positives(graph: _Graph, positives: Positives, rows: str) -> str:
    slope, threshold = _array(positives.slope), _array(positives.threshold)
    repeated = graph.join([rows] * len(slope), axis=CHANNELS)
    scaled = graph.node("Mul", repeated, graph.floats(slope.reshape(-1, 1)))
    above = graph.node("Sub", scaled, graph.floats((slope * threshold).reshape(-1, 1)))
    return _total(graph, graph.node("Sigmoid", above))


def _total(graph: _Graph, rows: str) -> str:
    return graph.double(graph.node("MatMul", rows, POOLED))


def _partial_maxima(graph: _Graph, hidden: str) -> str:
    """Return the maxima over the new outputs' two parts, float64 [batch, width, 2].

    Outputs are not negative, so that those of the other part may count as zeros.
    """
    masked = graph.node("Mul", hidden, graph.node("Transpose", POOLED, perm=[1, 0]))
    return graph.double(graph.node("ReduceMax", masked, graph.integers(TIME), keepdims=0))


def _features(graph: _Graph, encoder: Encoder, merged: list[str], outputs: int) -> str:
    """Return a window's statistics from its sums and maxima, float32 [batch, features].

    They are still to be multiplied by their scales.
    """
    pooling = encoder.pooling
    features: dict[str, str] = {}
    if "maximum" in pooling.names:
        features["maximum"] = merged[-1]
    if names := [name for name, _ in _sums(encoder)]:
        split = graph.split(merged[0], [size for _, size in _sums(encoder)], axis=1)
        sums = dict(zip(names, split, strict=True))
        if "values" in sums:
            features["mean"] = sums["values"]
        if "squares" in sums:
            square = graph.node("Mul", sums["values"], sums["values"])
            squares = graph.node("Mul", sums["squares"], graph.doubles(outputs))
            above_zero = graph.node("Max", graph.node("Sub", squares, square), graph.doubles(0.0))
            least = graph.doubles(DEVIATION_EPSILON * outputs**2)
            features["deviation"] = graph.node("Sqrt", graph.node("Add", above_zero, least))
        if "weights" in sums:
            features["attention"] = graph.node("Div", sums["attended"], sums["weights"])
        features |= {name: sums[name] for name in ("positives", "stem") if name in sums}
    ordered = [*pooling.names, *(["stem"] if "stem" in features else [])]
    return graph.single(graph.join([features[name] for name in ordered], axis=1))


def _scales(encoder: Encoder, outputs: int) -> NDArray[np.float64]:
    """Return what each of a window's statistics is to be multiplied by; most are sums so far."""
    scales = np.full(encoder.features, 1 / outputs)
    for number, name in enumerate(encoder.pooling.names):
        if name in {"maximum", "attention"}:
            scales[number * encoder.pooling.width :][: encoder.pooling.width] = 1
    return scales


def _decode(
    graph: _Graph, network: ShareNetwork, features: str, scales: NDArray[np.float64]
) -> str:
    """Return the next word's log-probabilities at every node, [batch, nodes * words]."""
    decoder, label_set = network.decoder, network.label_set
    cell, size = decoder.cell, decoder.cell.hidden_size
    table = _array(decoder.embedding.weight) @ _array(cell.weight_ih).T
    table = table + _array(cell.bias_ih) + _array(cell.bias_hh)
    recurrent = graph.floats(_array(cell.weight_hh).T)
    hidden, memory = _initial_state(graph, network, features, scales)
    levels, before = [], [-1]
    for depth in range(label_set.nodes[-1].depth + 1):
        level = [i for i, node in enumerate(label_set.nodes) if node.depth == depth]
        origins = [before.index(label_set.nodes[i].parent) for i in level]
        # Children differ in their word alone, so the product is taken once for each parent.
        parents = sorted(set(origins))
        product = graph.node("MatMul", _chosen(graph, hidden, parents, len(before)), recurrent)
        families = [parents.index(origin) for origin in origins]
        repeated = _chosen(graph, product, families, len(parents))
        words = graph.floats(table[[label_set.nodes[i].token for i in level]])
        gates = graph.split(graph.node("Add", repeated, words), [size] * len(GATES), axis=2)
        hidden, memory = _lstm_step(graph, gates, _chosen(graph, memory, origins, len(before)))
        levels.append(hidden)
        before = level
    weight, bias = _array(decoder.output.weight).T, _array(decoder.output.bias)
    nodes = graph.reshape(graph.join(levels, axis=1), -1, size)
    logits = graph.node("Gemm", nodes, graph.floats(weight), graph.floats(bias))
    output = graph.node("LogSoftmax", logits, axis=1)
    return graph.reshape(output, -1, len(label_set.nodes) * len(bias))


def _initial_state(
    graph: _Graph, network: ShareNetwork, features: str, scales: NDArray[np.float64]
) -> list[str]:
    """Return hidden state and memory before the first word, each [batch, 1, size].

    The features' scales and normalisation are folded into the layer that reads them.
    """
    encoder, decoder = network.encoder, network.decoder
    layers = decoder.initial_hidden, decoder.initial_cell
    weight = np.concatenate([_array(layer.weight).T for layer in layers], axis=1)
    bias = np.concatenate([_array(layer.bias) for layer in layers])
    if encoder.shape.normalised:
        factor, offset = _batch_norm(encoder.norm)
        bias = bias + offset @ weight
        weight = factor[:, None] * weight
    weight = scales[:, None] * weight
    states = graph.node("Gemm", features, graph.floats(weight), graph.floats(bias))
    sizes = [decoder.cell.hidden_size] * len(layers)
    return graph.split(graph.node("Unsqueeze", states, graph.integers(1)), sizes, axis=2)


def _chosen(graph: _Graph, nodes: str, which: list[int], count: int) -> str:
    """Return these of `count` nodes, [batch, nodes, channels]; one for all is left to broadcast."""
    if which == list(range(count)) or count == 1:
        return nodes
    return graph.node("Gather", nodes, graph.integers(*which), axis=1)


def _lstm_step(graph: _Graph, gates: list[str], memory: str) -> tuple[str, str]:
    admit, forget, candidate, emit = (
        graph.node(activation, gate) for activation, gate in zip(GATES, gates, strict=True)
    )
    remembered = graph.node("Mul", forget, memory)
    memory = graph.node("Add", remembered, graph.node("Mul", admit, candidate))
    return graph.node("Mul", emit, graph.node("Tanh", memory)), memory


def _score(graph: _Graph, label_set: LabelSet, words: str, temperature: float) -> None:
    """Sum the log-probabilities of each label's words and `end`; share them among the labels."""
    vocabulary = len(label_set.vocabulary)
    steps = [[node * vocabulary + token for node, token in path] for path in label_set.steps]
    used = sorted({step for path in steps for step in path})
    membership = np.array([[step in path for path in steps] for step in used])
    chosen = graph.node("Gather", words, graph.integers(*used), axis=1)
    scores = graph.node("MatMul", chosen, graph.floats(membership), name=SCORES)
    cooled = graph.node("Mul", scores, graph.floats(1 / temperature))
    graph.node("Softmax", cooled, axis=1, name=PROBABILITIES)


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().numpy().astype(np.float64)
