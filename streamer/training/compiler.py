"""From a finished training run to the bundle: the graph with its manifest, sealed."""

from pathlib import Path

from onnx import helper

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
from streamer.share.labels import LabelSet
from streamer.training.config import TrainingConfig
from streamer.training.graph import build_graph, streaming_layout
from streamer.training.network import ShareNetwork
from streamer.training.trainer import TrainingResult, load_run


def compile_run(run: Path, bundle: Path, name: str) -> Manifest:
    """Compile a finished training run into a bundle for a model of this name.

    Raises:
        TrainingError: the folder is not a finished run.
    """
    config, network, result = load_run(run)
    layout = streaming_layout(network, config.data.hop)
    return write_bundle(network, describe(name, config, result, layout), bundle)


def describe(
    name: str, config: TrainingConfig, result: TrainingResult, streaming: Streaming
) -> Manifest:
    """Return the manifest of a run."""
    data = config.data
    label_set = LabelSet.from_names(data.labels)
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        worn=data.worn,
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
            calibration_error=round(result.accuracy["calibration_error"], 4),
            uncalibrated_error=round(result.accuracy["uncalibrated_error"], 4),
            people=data.test,
        )
        if result.accuracy
        else None,
    )


def write_bundle(network: ShareNetwork, manifest: Manifest, path: Path) -> Manifest:
    """Write the bundle and return its manifest with the hash."""
    temperature = manifest.calibration.temperature
    model = build_graph(network.eval(), manifest.window, manifest.hop, temperature)
    helper.set_model_props(model, {MANIFEST_KEY: manifest.model_dump_json()})
    data = model.SerializeToString(deterministic=True)
    seal = digest(data, UNSEALED)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.replace(UNSEALED.encode(), seal.encode()))
    return manifest.model_copy(update={"sha256": seal})
