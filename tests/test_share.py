"""The bundle: its file, its fidelity to the torch model, and how it refuses what it can't run."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from device_adapters.samples import SampleBatch
from device_adapters.session_file import SessionReader
from exhaustive import exhaustive_scores
from streamer.errors import BundleError
from streamer.share.bundle import MANIFEST_KEY, UNSEALED, Manifest, digest
from streamer.share.labels import LabelSet
from streamer.share.packaged import find_bundle, packaged_bundles
from streamer.share.runtime import ShareModel
from streamer.training.compiler import describe, write_bundle
from streamer.training.config import DataConfig, TrainingConfig
from streamer.training.graph import build_graph, streaming_layout
from streamer.training.network import EncoderShape, ShareNetwork
from streamer.training.trainer import TrainingResult

WINDOW = 128
LABELS = ("walk", "walk up stairs", "walk down stairs", "sit", "stand", "sit to stand")


@pytest.fixture(scope="module")
def real_windows(real_session: Path) -> np.ndarray:
    batches = [event for event in SessionReader(real_session) if isinstance(event, SampleBatch)]
    values = np.concatenate([batch.values for batch in batches])
    starts = np.arange(0, len(values) - WINDOW, 151)
    windows: np.ndarray = values[starts[:, None] + np.arange(WINDOW)]
    return windows


SMALL = EncoderShape.dilated("separable", 24, 5, (1, 2, 4), ("mean", "maximum", "deviation"))


def random_network(labels: tuple[str, ...] = LABELS, shape: EncoderShape = SMALL) -> ShareNetwork:
    torch.manual_seed(3)
    network = ShareNetwork(LabelSet.from_names(labels), 6, shape, hidden=20, embedding=8)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    network.encoder.mean.copy_(torch.tensor([9.0, 0.0, 0.0, 0.1, 0.0, 0.0]))
    network.encoder.deviation.copy_(torch.tensor([3.0, 3.0, 3.0, 0.5, 0.5, 0.5]))
    return network.eval()


def manifest_of(network: ShareNetwork) -> Manifest:
    labels = network.label_set.names
    data = DataConfig(
        name="test",
        licence="none",
        sessions=Path(),
        validation=("a",),
        channels=("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"),
        units=("m/s2",) * 3 + ("rad/s",) * 3,
        rate_hz=50.0,
        window=WINDOW,
        hop=25,
        labels=labels,
    )
    transitions = np.full((len(labels), len(labels)), 1 / len(labels)).tolist()
    result = TrainingResult(transitions=transitions, temperature=1.25)
    return describe("test", TrainingConfig(data=data), result, streaming_layout(network, data.hop))


def compiled(network: ShareNetwork, folder: Path) -> ShareModel:
    write_bundle(network, manifest_of(network), folder / "test.onnx")
    return ShareModel.load(folder / "test.onnx")


@pytest.mark.parametrize(
    "labels", [LABELS, ("walk",), ("a", "a b", "a b c", "a b c d"), ("x y", "z y", "y")]
)
def test_the_compiled_graph_equals_exhaustive_scoring(
    tmp_path: Path, real_windows: np.ndarray, labels: tuple[str, ...]
) -> None:
    network = random_network(labels)
    with torch.no_grad():
        windows = torch.from_numpy(real_windows)
        expected = exhaustive_scores(network, windows).numpy()
        torch.testing.assert_close(network.scores(windows).numpy(), expected, rtol=0, atol=1e-5)
    scores = compiled(network, tmp_path).score_windows(real_windows).labels
    assert np.abs(scores - expected).max() < 1e-4
    assert (scores.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_scores_are_the_probabilities_of_whole_sequences(real_windows: np.ndarray) -> None:
    """All sequences of a one-word vocabulary up to a length sum to what they leave out."""
    network = random_network(("a", "a a", "a a a"))
    with torch.no_grad():
        total = network.scores(torch.from_numpy(real_windows)).exp().sum(dim=1)
    assert ((total > 0) & (total < 1)).all()


def test_constants_are_folded() -> None:
    operators = {node.op_type for node in build_graph(random_network(), WINDOW, 25, 1.0).graph.node}
    assert "BatchNormalization" not in operators
    assert "LSTM" not in operators


def test_probabilities_are_calibrated_shares(bundle: Path, real_windows: np.ndarray) -> None:
    model = ShareModel.load(bundle)
    scores = model.score_windows(real_windows)
    shares = np.exp(scores.labels.astype(np.float64) / model.manifest.calibration.temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    assert scores.probabilities == pytest.approx(shares, abs=1e-6)


def test_a_prefix_is_as_likely_as_all_labels_that_begin_with_it(
    bundle: Path, real_windows: np.ndarray
) -> None:
    model = ShareModel.load(bundle)
    scores, label_set = model.score_windows(real_windows), model.manifest.label_set
    assert model.manifest.tree[1].word == "walk"
    walks = [name.startswith("walk") for name in label_set.names]
    assert scores.prefixes[:, 0] == pytest.approx(1.0)
    assert scores.prefixes[:, 1] == pytest.approx(scores.probabilities[:, walks].sum(axis=1))


@pytest.mark.parametrize("name", ["waist", "waist-acc", "wrist", "wrist-acc"])
def test_a_packaged_bundle_says_what_it_is(name: str) -> None:
    path = find_bundle(name)
    manifest = ShareModel.load(name).manifest
    worn, _, alone = name.partition("-")
    assert (manifest.name, manifest.worn, manifest.gravity) == (name, worn, True)
    assert (manifest.rate_hz, len(manifest.labels)) == {"waist": (50, 12), "wrist": (20, 18)}[worn]
    assert manifest.units == ("m/s2",) * 3 + ("rad/s",) * (0 if alone else 3)
    assert manifest.measured is not None
    assert not {*manifest.measured.people} & {*manifest.training.held_out}
    assert manifest.measured.accuracy > 0.7
    assert manifest.measured.calibration_error < 0.1
    assert np.allclose(np.array(manifest.transitions).sum(axis=1), 1, atol=1e-4)
    onnx.checker.check_model(onnx.load(path))


def test_the_packaged_bundles_are_small() -> None:
    assert sum(path.stat().st_size for path in packaged_bundles().values()) < 4_000_000


@pytest.mark.parametrize("worn", ["waist", "wrist"])
def test_an_accelerometer_alone_can_stand_in(worn: str) -> None:
    full, less = (ShareModel.load(name).manifest for name in (worn, f"{worn}-acc"))
    assert less.channels == full.channels[:3]
    for shared in ("labels", "rate_hz", "window", "hop"):
        assert getattr(less, shared) == getattr(full, shared)


def test_the_same_network_compiles_to_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.onnx", "two.onnx"):
        write_bundle(random_network(), manifest_of(random_network()), tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def altered(bundle: Path, target: Path, **changes: object) -> Path:
    """Write the bundle with another manifest, sealed again as the compiler would."""
    model = onnx.load(bundle)
    manifest = json.loads(model.metadata_props[0].value) | changes | {"sha256": UNSEALED}
    model.metadata_props[0].value = json.dumps(manifest)
    data = model.SerializeToString(deterministic=True)
    target.write_bytes(data.replace(UNSEALED.encode(), digest(data, UNSEALED).encode()))
    return target


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format_version": 1}, "format version 1"),
        ({"format_version": 1, "streaming": {"state": 300}}, "format version 1"),
        ({"labels": [["walk"]]}, "vocabulary"),
        ({"labels": [[""]] * 12}, "lower-case"),
        ({"window": 35}, "receptive field"),
        ({"channels": ["x"], "units": ["m/s2"]}, "manifest says"),
        ({"rate_hz": 0}, "rate_hz"),
        ({"surprise": 1}, "surprise"),
        ({"transitions": [[1.0]]}, "transitions"),
        ({"units": ["m/s2"]}, "units"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    bundle: Path, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    path = altered(bundle, tmp_path / "altered.onnx", **changes)
    with pytest.raises(BundleError, match=told) as caught:
        ShareModel.load(path)
    assert caught.value.path == path


def test_a_sound_change_of_the_manifest_is_accepted(bundle: Path, tmp_path: Path) -> None:
    path = altered(bundle, tmp_path / "altered.onnx", hop=50)
    assert ShareModel.load(path).manifest.hop == 50


def test_files_that_are_no_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(BundleError, match="No such file"):
        ShareModel.load(path)
    path.write_bytes(b"not a model")
    with pytest.raises(BundleError, match="no ONNX model"):
        ShareModel.load(path)
    path.write_bytes(bundle.read_bytes()[:-1000])
    with pytest.raises(BundleError):
        ShareModel.load(path)
    bare = onnx.load(bundle)
    del bare.metadata_props[:]
    onnx.save(bare, path)
    with pytest.raises(BundleError, match="without a manifest"):
        ShareModel.load(path)
    path.write_bytes(bundle.read_bytes().replace(b'"labels"', b'"label\xff"'))
    with pytest.raises(BundleError, match="no UTF-8 text"):
        ShareModel.load(path)


def test_a_single_changed_weight_is_noticed(bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(bundle)
    weights = max(model.graph.initializer, key=lambda constant: len(constant.raw_data))
    raw = bytearray(weights.raw_data)
    raw[5] ^= 1
    weights.raw_data = bytes(raw)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(BundleError, match="changed after it was compiled"):
        ShareModel.load(path)


def test_the_manifest_is_where_it_is_said_to_be(bundle: Path) -> None:
    (prop,) = onnx.load(bundle).metadata_props
    assert prop.key == MANIFEST_KEY
    assert "vocabulary" in json.loads(prop.value)
