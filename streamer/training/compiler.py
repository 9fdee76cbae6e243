"""From a trained network to the bundle: one ONNX graph with its manifest.

What is constant is folded: the input's normalisation and every batch normalisation into the
convolutions, word vectors and input weights of the LSTM into one table a word. The decoder steps
through the labels' prefix tree level by level, so that a word shared by labels is written once.
"""

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
    TrainingData,
    describe_tree,
    digest,
)
from streamer.share.labels import END, LabelSet
from streamer.share.runtime import INPUT, OUTPUT
from streamer.training.config import TrainingConfig
from streamer.training.network import DEVIATION_EPSILON, Decoder, Encoder, Residual, ShareNetwork
from streamer.training.trainer import TrainingResult, load_run

OPSET = 18
"""Runs on onnxruntime since 1.14; the graph needs nothing newer."""

IR_VERSION = 8
Floats = NDArray[np.float32]


def compile_run(run: Path, bundle: Path, name: str) -> Manifest:
    """Compile a finished training run into a bundle for a model of this name.

    Raises:
        TrainingError: the folder is not a finished run.
    """
    config, network, result = load_run(run)
    return write_bundle(network, describe(name, config, result), bundle)


def describe(name: str, config: TrainingConfig, result: TrainingResult) -> Manifest:
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
    model = build_graph(network.eval(), manifest.window)
    helper.set_model_props(model, {MANIFEST_KEY: manifest.model_dump_json()})
    data = model.SerializeToString(deterministic=True)
    seal = digest(data, UNSEALED)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.replace(UNSEALED.encode(), seal.encode()))
    return manifest.model_copy(update={"sha256": seal})


def build_graph(network: ShareNetwork, window: int) -> onnx.ModelProto:
    """Return the graph: windows [batch, window, channels] to scores [batch, labels]."""
    graph = _Graph()
    channels = len(network.encoder.mean)
    hidden = _encode(graph, network.encoder, graph.node("Transpose", [INPUT], perm=[0, 2, 1]))
    features = _pool(graph, hidden)
    _decode(graph, network.decoder, network.label_set, features)
    proto = helper.make_graph(
        graph.nodes,
        "share",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", window, channels])],
        [
            helper.make_tensor_value_info(
                OUTPUT, TensorProto.FLOAT, ["batch", len(network.label_set.labels)]
            )
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

    def floats(self, array: NDArray[Any]) -> str:
        return self.constant(array.astype(np.float32))

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:  # noqa: ANN401
        return self.split(operator, inputs, [output or f"n{len(self.nodes)}"], **attributes)[0]

    def split(
        self,
        operator: str,
        inputs: list[str],
        outputs: list[str],
        **attributes: Any,  # noqa: ANN401
    ) -> list[str]:
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs


def _encode(graph: _Graph, encoder: Encoder, inputs: str) -> str:
    weight, bias = _folded(_array(encoder.stem.weight), encoder.norm)
    # (x - mean) / deviation before an unpadded convolution is another such convolution.
    weight = weight / _array(encoder.deviation)[:, None]
    bias = bias - (weight * _array(encoder.mean)[:, None]).sum(axis=(1, 2))
    hidden = graph.node("Conv", [inputs, graph.floats(weight), graph.floats(bias)])
    hidden = graph.node("Relu", [hidden])
    for block in encoder.blocks:
        assert isinstance(block, Residual)  # noqa: S101 - tells the type checker
        hidden = _encode_residual(graph, block, hidden)
    return hidden


def _encode_residual(graph: _Graph, block: Residual, inputs: str) -> str:
    depthwise = _array(block.depthwise.weight)
    change = graph.node(
        "Conv",
        [inputs, graph.floats(depthwise)],
        group=len(depthwise),
        dilations=[block.dilation],
    )
    weight, bias = _folded(_array(block.pointwise.weight), block.norm)
    change = graph.node("Conv", [change, graph.floats(weight), graph.floats(bias)])
    ends = (np.array([block.dilation]), np.array([-block.dilation]), np.array([2]))
    kept = graph.node("Slice", [inputs, *(graph.constant(end) for end in ends)])
    return graph.node("Relu", [graph.node("Add", [kept, change])])


def _folded(weight: NDArray[np.float64], norm: nn.BatchNorm1d) -> tuple[Any, Any]:
    """Return the weight and bias of the convolution that includes its batch normalisation."""
    assert norm.running_mean is not None  # noqa: S101 - tells the type checker
    assert norm.running_var is not None  # noqa: S101
    factor = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    bias = _array(norm.bias) - factor * _array(norm.running_mean)
    return weight * factor[:, None, None], bias


def _pool(graph: _Graph, hidden: str) -> str:
    time = graph.constant(np.array([2]))
    mean = graph.node("ReduceMean", [hidden, time], keepdims=1)
    largest = graph.node("ReduceMax", [hidden, time], keepdims=0)
    spread = graph.node("Sub", [hidden, mean])
    variance = graph.node("ReduceMean", [graph.node("Mul", [spread, spread]), time], keepdims=0)
    epsilon = graph.floats(np.array(DEVIATION_EPSILON))
    deviation = graph.node("Sqrt", [graph.node("Add", [variance, epsilon])])
    flat_mean = graph.node("Squeeze", [mean, time])
    return graph.node("Concat", [flat_mean, largest, deviation], axis=1)


def _decode(graph: _Graph, decoder: Decoder, label_set: LabelSet, features: str) -> None:
    cell = decoder.cell
    table = _array(decoder.embedding.weight) @ _array(cell.weight_ih).T
    table = table + _array(cell.bias_ih) + _array(cell.bias_hh)
    recurrent = graph.floats(_array(cell.weight_hh).T)
    states = [
        graph.node("Unsqueeze", [_linear(graph, layer, features), graph.constant(np.array([1]))])
        for layer in (decoder.initial_hidden, decoder.initial_cell)
    ]
    levels, before = [], [-1]
    for depth in range(label_set.nodes[-1].depth + 1):
        level = [i for i, node in enumerate(label_set.nodes) if node.depth == depth]
        parents = np.array([before.index(label_set.nodes[i].parent) for i in level])
        tokens = [label_set.nodes[i].token for i in level]
        origin = [graph.node("Gather", [s, graph.constant(parents)], axis=1) for s in states]
        states = _lstm_step(graph, origin, graph.floats(table[tokens]), recurrent)
        levels.append(states[0])
        before = level
    hidden = graph.node("Concat", levels, axis=1)
    words = graph.node("LogSoftmax", [_linear_last(graph, decoder.output, hidden)], axis=2)
    _sum_paths(graph, label_set, words)


def _lstm_step(graph: _Graph, state: list[str], words: str, recurrent: str) -> list[str]:
    """One step of all nodes of a level; gates in torch's order: input, forget, cell, output."""
    hidden, cell = state
    gates = graph.node("Add", [graph.node("MatMul", [hidden, recurrent]), words])
    names = [f"g{len(graph.nodes)}_{gate}" for gate in range(4)]
    admit, forget, candidate, emit = graph.split("Split", [gates], names, axis=2, num_outputs=4)
    kept = graph.node("Mul", [graph.node("Sigmoid", [forget]), cell])
    new = graph.node("Mul", [graph.node("Sigmoid", [admit]), graph.node("Tanh", [candidate])])
    cell = graph.node("Add", [kept, new])
    hidden = graph.node("Mul", [graph.node("Sigmoid", [emit]), graph.node("Tanh", [cell])])
    return [hidden, cell]


def _sum_paths(graph: _Graph, label_set: LabelSet, words: str) -> None:
    """Sum the log-probabilities of each label's words and `end`."""
    vocabulary = len(label_set.vocabulary)
    (end,) = label_set.tokens([END])
    steps = []
    for path in label_set.paths:
        following = [*(label_set.nodes[node].token for node in path[1:]), end]
        steps.append([n * vocabulary + t for n, t in zip(path, following, strict=True)])
    used = sorted({step for path in steps for step in path})
    membership = np.array([[step in path for path in steps] for step in used])
    flat = graph.node("Flatten", [words], axis=1)
    chosen = graph.node("Gather", [flat, graph.constant(np.array(used))], axis=1)
    graph.node("MatMul", [chosen, graph.floats(membership)], OUTPUT)


def _linear(graph: _Graph, layer: nn.Linear, inputs: str) -> str:
    weight, bias = graph.floats(_array(layer.weight)), graph.floats(_array(layer.bias))
    return graph.node("Gemm", [inputs, weight, bias], transB=1)


def _linear_last(graph: _Graph, layer: nn.Linear, inputs: str) -> str:
    product = graph.node("MatMul", [inputs, graph.floats(_array(layer.weight).T)])
    return graph.node("Add", [product, graph.floats(_array(layer.bias))])


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().numpy().astype(np.float64)
