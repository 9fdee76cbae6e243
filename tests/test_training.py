"""Training on sessions: augmentation by its properties, and the whole way from data to bundle."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conftest import CHANNELS, EPOCH, UNITS, stream_info
from device_adapters.samples import SampleBatch
from device_adapters.session_file import Annotation, SessionWriter
from streamer.config_file import read_config
from streamer.datasets import find_dataset
from streamer.datasets.dataset import UNLABELLED, Survey
from streamer.datasets.importing import import_data
from streamer.datasets.names import renamed
from streamer.errors import DatasetError, TrainingError
from streamer.recognizer import Recognizer
from streamer.share.labels import END, START, LabelSet
from streamer.training import trainer
from streamer.training.arrays import load_arrays
from streamer.training.augmentation import (
    IGNORED,
    draw_own_words,
    jitter,
    mix,
    scale,
    teacher_forcing,
    turn_devices,
    warp_time,
    wear_otherwise,
)
from streamer.training.config import (
    AugmentationConfig,
    DataConfig,
    NetworkConfig,
    OptimisationConfig,
    TrainingConfig,
)
from streamer.training.data import (
    Stretch,
    cut_windows,
    read_content,
    read_stretches,
    rejoin,
    transition_matrix,
)
from streamer.training.defaults import configure, rename_labels
from streamer.training.examination import examine
from streamer.training.fitting import _Fitting, one_cycle
from streamer.training.moments import moments
from streamer.training.network import ShareNetwork, Stage, StageShape
from streamer.training.sampling import WindowSampler
from streamer.training.trainer import build_network, load_run, train
from streamer.training.transfer import check_start, take_over
from streamer.training.word_sequences import LabelLearner, WordLearner
from streamer.training.word_vectors import WordsConfig, initial_vectors
from test_datasets import write_wisdm

ROOT = Path(__file__).parent.parent
SHIPPED = sorted((ROOT / "configs" / "train").glob("*.toml"))
ONE_DEVICE = [((0, 1, 2),)]
SMALL = NetworkConfig(width=16, companded=8, dilations=(1, 2), hidden=32)
SEQUENCES = st.lists(st.lists(st.integers(2, 30), min_size=1, max_size=5), min_size=1, max_size=30)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(SEQUENCES, st.integers(0, 2**31))
def test_a_replaced_label_is_one_of_its_own_words(labels: list[list[int]], seed: int) -> None:
    for label, drawn in zip(labels, draw_own_words(labels, 0.5, generator(seed)), strict=True):
        assert drawn == label or (len(drawn) == 1 and drawn[0] in label)
    assert draw_own_words(labels, 0.0, generator(seed)) == labels
    assert all(len(drawn) == 1 for drawn in draw_own_words(labels, 1.0, generator(seed)))


def test_labels_are_replaced_as_often_as_asked_and_each_word_alike() -> None:
    drawn = draw_own_words([[5, 6, 7]] * 30_000, 0.2, generator())
    replaced = [label[0] for label in drawn if len(label) == 1]
    assert len(replaced) / 30_000 == pytest.approx(0.2, abs=0.01)
    for word in (5, 6, 7):
        assert replaced.count(word) / len(replaced) == pytest.approx(1 / 3, abs=0.03)


@given(SEQUENCES)
def test_the_decoder_is_taught_every_word_and_the_end(labels: list[list[int]]) -> None:
    inputs, targets = teacher_forcing(labels, start=0, end=1)
    for label, given_words, wanted in zip(labels, inputs.tolist(), targets.tolist(), strict=True):
        assert given_words[: len(label) + 1] == [0, *label]
        assert wanted == [*label, 1, *[IGNORED] * (len(wanted) - len(label) - 1)]


def test_a_multi_scale_stage_has_short_filters_beside_long_ones() -> None:
    shape = StageShape("dense", 6, 7, dilation=2, companded=4, scales=(7, 2, 3))
    stage = Stage(3, shape, 0.0)
    seen = (stage.dense_weight != 0).any(dim=1)
    assert seen.int().tolist() == 2 * [[1] * 7, [0, 0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0]]
    torch.testing.assert_close(stage.dense_weight[:4].sum(dim=2), torch.zeros(4, 3))


def test_scales_that_no_stage_can_have_are_told() -> None:
    with pytest.raises(ValidationError, match="stem_scales has 9; stem_kernel has 7 only"):
        NetworkConfig(stem_scales=(3, 9))
    with pytest.raises(ValidationError, match="need a stem_kernel and stem_scales of 2 or more"):
        NetworkConfig(stem_scales=(1, 7))
    with pytest.raises(ValueError, match="scales must be 1 to 7"):
        StageShape("dense", 6, 7, scales=(0, 7))
    with pytest.raises(ValueError, match="it has no scales"):
        StageShape("separable", 6, 7, scales=(3, 7))
    assert NetworkConfig(stem_scales=(1, 7), companded=0).shape.stages[0].scales == (1, 7)


def test_turning_keeps_lengths_and_turns_a_devices_sensors_alike() -> None:
    windows = torch.randn(8, 20, 6, generator=generator())
    windows[:, :, 3:] = windows[:, :, :3]
    one = [torch.arange(6).view(2, 3)]
    turned = turn_devices(windows, one, torch.full((8,), 30.0), generator(1))
    lengths = windows.view(8, 20, 2, 3).norm(dim=3)
    assert torch.allclose(turned.view(8, 20, 2, 3).norm(dim=3), lengths, atol=1e-4)
    assert torch.allclose(turned[:, :, :3], turned[:, :, 3:], atol=1e-5)
    cosines = torch.nn.functional.cosine_similarity(turned[:, :, :3], windows[:, :, :3], dim=2)
    assert cosines.min() >= np.cos(np.deg2rad(30)) - 1e-4
    assert not torch.allclose(turned, windows)
    degrees = torch.tensor([0.0] * 4 + [180.0] * 4)
    turned = turn_devices(windows, one, degrees, generator(1))
    assert torch.allclose(turned[:4], windows[:4], atol=1e-6)
    cosines = torch.nn.functional.cosine_similarity(turned[4:], windows[4:], dim=2)
    assert cosines.min() < 0


def test_devices_are_turned_apart_and_what_is_no_sensor_is_not() -> None:
    windows = torch.randn(8, 20, 1, generator=generator()).expand(8, 20, 7).contiguous()
    axes = [torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 6]])]
    turned = turn_devices(windows, axes, torch.full((8,), 90.0), generator(1))
    assert torch.equal(turned[:, :, 0], windows[:, :, 0])
    one, other = turned[:, :, 1:4], turned[:, :, 4:]
    assert torch.allclose(one.norm(dim=2), other.norm(dim=2), atol=1e-4)
    cosines = torch.nn.functional.cosine_similarity(one, other, dim=2)
    assert cosines.min() < 0.9
    assert torch.allclose(cosines, cosines[:, :1].expand(8, 20), atol=1e-4)


def test_symmetries_turn_signs_of_the_share_asked_for_each_on_its_own() -> None:
    windows = torch.randn(4000, 3, 6, generator=generator(0))
    mirror, half_turn = (-1, 1, 1, 1, -1, -1), (-1, -1, 1, -1, -1, 1)
    worn = wear_otherwise(windows, (mirror, half_turn), 0.25, generator(1))
    signs = (worn / windows).round()
    assert (signs == signs[:, :1]).all()
    both = tuple(a * b for a, b in zip(mirror, half_turn, strict=True))
    for expected, share in (((1,) * 6, 9), (mirror, 3), (half_turn, 3), (both, 1)):
        found = (signs[:, 0] == torch.tensor(expected)).all(dim=1).float().mean()
        assert found == pytest.approx(share / 16, abs=0.03)


def test_the_watchs_symmetries_are_those_of_a_body() -> None:
    """What moves with v = rate x position still does, mirrored: its rotation is axial."""
    config = read_config(ROOT / "configs" / "train" / "wrist.toml", TrainingConfig)
    position, rate = np.array([0.3, -0.2, 0.5]), np.array([1.0, -2.0, 0.4])
    assert config.augmentation.symmetries
    for signs in config.augmentation.symmetries:
        worn, turned = np.array(signs[:3]), np.array(signs[3:])
        velocity = np.cross(turned * rate, worn * position)
        assert np.allclose(velocity, worn * np.cross(rate, position))


def test_scaling_and_jitter_have_the_size_asked_for() -> None:
    windows = torch.ones(4000, 2, 3)
    factors = scale(windows, 0.1, generator())
    assert torch.equal(factors[:, 0], factors[:, 1])
    assert factors.std().item() == pytest.approx(0.1, abs=0.01)
    noise = jitter(windows, torch.tensor([0.0, 0.5, 1.0]), generator()) - 1
    assert noise.std(dim=(0, 1)).tolist() == pytest.approx([0.0, 0.5, 1.0], abs=0.02)


def test_warped_time_runs_forward_inside_the_window() -> None:
    ramps = torch.arange(64.0).expand(200, 64)[:, :, None]
    warped = warp_time(ramps, 0.2, generator())[:, :, 0]
    assert (warped.diff(dim=1) > 0).all()
    assert warped.min() >= 0
    assert warped.max() <= 63
    played = (warped[:, -1] - warped[:, 0]) / 63
    assert played.min() >= 0.8 - 1e-4
    assert played.std() > 0.03
    assert torch.allclose(warp_time(ramps, 0.0, generator()), ramps, atol=1e-4)


def test_a_blend_is_mostly_the_window_and_else_its_partner() -> None:
    windows = torch.arange(500.0)[:, None, None].expand(500, 4, 3)
    blended, partners, own = mix(windows, 0.2, generator())
    assert sorted(partners.tolist()) == list(range(500))
    assert ((own >= 0.5) & (own <= 1)).all()
    assert (own > 0.95).float().mean() > 0.4
    expected = own * torch.arange(500.0) + (1 - own) * partners
    assert torch.allclose(blended[:, 0, 0], expected, atol=1e-3)


def stretches_of(*lengths: int) -> list[Stretch]:
    return [
        Stretch("anna", np.full((length, 3), number, np.float32), np.full(length, number))
        for number, length in enumerate(lengths)
    ]


def test_windows_that_overlap_by_half_are_laid_end_to_end_again() -> None:
    walk = np.arange(80, dtype=np.float32)[:, None]
    ramp = Stretch("anna", walk, np.zeros(80, dtype=np.int64))
    other = Stretch("anna", walk + 1000, np.ones(80, dtype=np.int64))
    windows = [
        Stretch(of.wearer, of.values[first : first + 32], of.labels[first : first + 32])
        for of in (ramp, other)
        for first in (0, 16, 32, 48)
    ]
    stranger = Stretch("ben", windows[-1].values, windows[-1].labels)
    found = rejoin([*windows, stranger])
    assert [stretch.wearer for stretch in found] == ["anna", "anna", "ben"]
    for stretch, whole in zip(found[:2], (ramp, other), strict=True):
        assert np.array_equal(stretch.values, whole.values)
        assert np.array_equal(stretch.labels, whole.labels)
    lone = stretches_of(100, 100)
    assert rejoin(lone) == lone


def test_training_windows_move_within_their_stretch() -> None:
    sampler = WindowSampler(stretches_of(32, 100, 40), window=32, stride=16)
    random = generator()
    seen = set()
    for _ in range(300):
        windows = sampler.epoch(random)
        assert (windows.gather(slice(None)) == windows.labels[:, None, None]).all()
        assert windows.starts[0] == 0
        seen |= {*windows.starts[windows.labels == 1].tolist()}
    assert seen == set(range(32, 32 + 100 - 32 + 1))
    assert sampler.label_counts(4).tolist() == [1, 5, 1, 0]


def test_unlabelled_windows_are_not_learnt_from() -> None:
    labels = np.repeat([0, UNLABELLED], 100)
    sampler = WindowSampler([Stretch("anna", np.zeros((200, 3), np.float32), labels)], 20, 10)
    assert set(sampler.epoch(generator()).labels.tolist()) == {0}


def test_the_learning_rate_rises_once_and_falls_to_nothing() -> None:
    rates = [one_cycle(step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.index(max(rates)) == 30
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0)


def write_session(folder: Path, wearer: str, seed: int) -> None:
    """Write a minute in which the wearer rests and shakes the sensor in turn."""
    rng = np.random.default_rng(seed)
    times = EPOCH + np.arange(3000) / 50
    shakes = (np.arange(3000) // 500) % 2 == 1
    values = rng.normal(0, 0.1, (3000, 6)) + shakes[:, None] * 5 * np.sin(times * 12)[:, None]
    with SessionWriter(folder / f"{wearer}.mcap") as writer:
        writer.add_stream(stream_info(wearer))
        for part in range(6):
            label = "shake it" if part % 2 else "rest"
            writer.add_annotation(
                Annotation(wearer, label, EPOCH + 10 * part, EPOCH + 10 * part + 9)
            )
        writer.add_batch(SampleBatch(wearer, times, values.astype(np.float32)))


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sessions")
    for seed, wearer in enumerate(("anna", "ben", "cleo", "dora")):
        write_session(folder, wearer, seed)
    return folder


def configuration(folder: Path, **data: object) -> TrainingConfig:
    settings = {
        "name": "shaking",
        "licence": "none",
        "sessions": folder,
        "validation": ("cleo",),
        "test": ("dora",),
        "channels": CHANNELS,
        "units": UNITS,
        "rate_hz": 50.0,
        "window": 64,
        "hop": 16,
        "labels": ("rest", "shake it"),
    }
    return TrainingConfig(
        data=DataConfig.model_validate(settings | data),
        network=SMALL,
        optimisation=OptimisationConfig(epochs=3, batch=16, stride=32),
    )


def test_sessions_become_stretches_with_a_label_for_each_sample(sessions: Path) -> None:
    config = configuration(sessions)
    stretches = read_stretches(config.data, ("rest", "shake it"))
    assert [stretch.wearer for stretch in stretches] == ["anna", "ben", "cleo", "dora"]
    labels = stretches[0].labels
    assert labels[:450].tolist() == [0] * 450
    assert labels[450:500].tolist() == [UNLABELLED] * 50
    assert labels[500:950].tolist() == [1] * 450
    windows = cut_windows(stretches[:1], 64, 16, 0)
    assert (windows.labels == labels[windows.starts + 32]).all()
    assert windows.gather(slice(0, 2)).shape == (2, 64, 6)


def test_a_session_that_is_cut_off_is_warned_of(tmp_path: Path) -> None:
    for seed, wearer in enumerate(("anna", "cleo", "dora")):
        write_session(tmp_path, wearer, seed)
    config = configuration(tmp_path).data
    assert not [text for text in examine(config).warnings if "session" in text]
    path = tmp_path / "anna.mcap"
    path.write_bytes(path.read_bytes()[:-200])
    (warning,) = [text for text in examine(config).warnings if "session" in text]
    assert warning.startswith(f"session {path} is whole up to byte")
    assert warning.endswith("learnt from until there")


def test_transitions_are_probabilities_and_none_is_impossible(sessions: Path) -> None:
    stretches = read_stretches(configuration(sessions).data, ("rest", "shake it"))
    matrix = transition_matrix(stretches, 2, hop=16)
    assert np.allclose(matrix.sum(axis=1), 1)
    assert (matrix > 0).all()
    assert matrix[0, 0] > 0.9


def test_the_whole_way_from_sessions_to_labels(sessions: Path, tmp_path: Path) -> None:
    config_file = tmp_path / "train.toml"
    config_file.write_text(
        f"""
        [data]
        name = "shaking"
        licence = "none"
        sessions = "{sessions}"
        validation = ["cleo"]
        test = ["dora"]
        channels = {list(CHANNELS)}
        units = {list(UNITS)}
        rate_hz = 50.0
        window = 64
        hop = 16
        labels = ["rest", "shake it"]

        [network]
        width = 16
        companded = 8
        dilations = [1, 2]

        [optimisation]
        epochs = 3
        batch = 16
        stride = 16
        """
    )
    run, bundle = tmp_path / "run", tmp_path / "shaking.onnx"
    for arguments in (
        ["train", config_file, "--out", run],
        ["compile", run, "--out", bundle, "--name", "shaking"],
    ):
        subprocess.run([sys.executable, "-m", "streamer", *map(str, arguments)], check=True)
    recognizer = Recognizer.load(bundle)
    assert recognizer.manifest.measured is not None
    assert recognizer.manifest.measured.accuracy > 0.95
    write_session(tmp_path, "eve", seed=9)
    rng = np.random.default_rng(1)
    still = rng.normal(0, 0.1, (300, 6)).astype(np.float32)
    labels = recognizer.push(SampleBatch("eve", EPOCH + np.arange(300) / 50, still))
    assert {label.label for label in labels} == {"rest"}


def test_a_stretch_without_room_for_the_offset_still_gives_a_window() -> None:
    def stretch(length: int) -> Stretch:
        return Stretch("a", np.zeros((length, 3), np.float32), np.zeros(length, np.int64))

    stretches = [stretch(length) for length in (63, 64, 70, 0)]
    windows = cut_windows(stretches, 64, 32, offset=17)
    assert windows.starts.tolist() == [63, 127 + 6]


def test_words_begin_as_the_configuration_says(sessions: Path, tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("shake 1 2 3\nit 0 5 0\nrest -1 0 0\n")
    words = WordsConfig(source="file", path=tmp_path / "vectors.txt")
    still = OptimisationConfig(epochs=1, batch=16, stride=16, learning_rate=1e-9)
    config = configuration(sessions).model_copy(update={"words": words, "optimisation": still})
    train(config, tmp_path / "run")
    _, network, _ = load_run(tmp_path / "run")
    table = network.decoder.embedding.weight.detach().numpy()
    vectors = initial_vectors(words, network.label_set.vocabulary, table.shape[1], still.seed)
    assert sorted(vectors) == [2, 3, 4]
    for token, vector in vectors.items():
        assert table[token] == pytest.approx(vector, abs=1e-5)


def started(config: TrainingConfig, other: TrainingConfig) -> tuple[ShareNetwork, ShareNetwork]:
    """Return a network that began with the weights of another, and that other."""
    torch.manual_seed(1)
    network, source = build_network(config).eval(), build_network(other)
    source.encoder.standardise(np.random.default_rng(0).normal(2, 3, (99, 6)).astype(np.float32))
    with torch.no_grad():
        source(torch.randn(32, 64, 6, generator=generator()), torch.zeros(32, 1, dtype=torch.int64))
    check_start(config, other)
    take_over(network, config.data.quantities, source, other.data.quantities)
    return network, source.eval()


def test_a_start_is_found_again_under_other_orders_of_channels_and_labels(sessions: Path) -> None:
    other = configuration(sessions)
    order = [3, 4, 5, 0, 1, 2]
    turned = configuration(
        sessions,
        channels=[CHANNELS[place] for place in order],
        units=[UNITS[place] for place in order],
        labels=("shake it", "rest"),
    )
    network, source = started(turned, other)
    windows = torch.randn(5, 64, 6, generator=generator(1))
    scores = source.scores(windows)
    assert torch.allclose(network.scores(windows[:, :, order]), scores.flip(1), atol=1e-5)


def test_what_a_start_did_not_know_changes_nothing_at_first(sessions: Path) -> None:
    other = configuration(sessions)
    wider = configuration(
        sessions,
        channels=("mag_x", "mag_y", "mag_z", *CHANNELS),
        units=("uT", "uT", "uT", *UNITS),
        labels=("rest", "shake it", "wave"),
    )
    network, source = started(wider, other)
    windows = torch.randn(5, 64, 9, generator=generator(1))
    features = source.encoder(windows[:, :, 3:])
    assert torch.allclose(network.encoder(windows), features, atol=1e-5)
    known, now = (n.label_set.vocabulary.index("shake") for n in (source, network))
    words = [n.decoder.output(features.new_ones(1, SMALL.hidden)) for n in (source, network)]
    assert torch.equal(words[0][:, known], words[1][:, now])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data": {"rate_hz": 25.0}}, "trained at 50 Hz, and data.rate_hz is 25"),
        ({"network": {"hidden": 64}}, "its network.hidden is 32, and here it is 64"),
        ({"data": {"units": ("g",) * 6}}, r"it knows acc_x \[m/s2\].*none of acc_x \[g\]"),
    ],
)
def test_a_start_that_does_not_fit_is_told(
    sessions: Path, change: dict[str, dict[str, object]], told: str
) -> None:
    config = configuration(sessions, **change.get("data", {}))
    network = SMALL.model_copy(update=change.get("network", {}))
    config = config.model_copy(update={"network": network, "start": Path("runs/other")})
    with pytest.raises(TrainingError, match=f"runs/other can't be started from: .*{told}"):
        started(config, configuration(sessions))


def test_training_begins_with_a_finished_run(sessions: Path, tmp_path: Path) -> None:
    train(configuration(sessions), tmp_path / "other")
    still = OptimisationConfig(epochs=1, batch=16, stride=16, learning_rate=1e-9)
    update = {"optimisation": still, "start": tmp_path / "other"}
    train(configuration(sessions).model_copy(update=update), tmp_path / "run")
    before, after = (
        dict(load_run(tmp_path / name)[1].named_parameters()) for name in ("other", "run")
    )
    assert all(torch.allclose(weight, before[name], atol=1e-5) for name, weight in after.items())
    folder = configure(sessions, tmp_path / "other")
    assert (folder.start, folder.data.window) == (tmp_path / "other", 64)
    with pytest.raises(TrainingError, match="nowhere is not a finished run"):
        configure(sessions, tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="other is what training starts from"):
        train(configuration(sessions).model_copy(update=update), tmp_path / "other")
    load_run(tmp_path / "other")  # it is still there
    train(configuration(sessions, rate_hz=60.0), tmp_path / "faster")
    with pytest.raises(TrainingError, match=r"trained at 60 Hz, but has recordings at 50;"):
        configure(sessions, tmp_path / "faster")


def test_the_same_seed_gives_the_same_weights(sessions: Path, tmp_path: Path) -> None:
    config = configuration(sessions)
    for name in ("one", "two"):
        train(config, tmp_path / name)
    networks = [load_run(tmp_path / name)[1] for name in ("one", "two")]
    for one, two in zip(*(network.state_dict().values() for network in networks), strict=True):
        assert torch.equal(one, two)


def test_moments_are_exact_however_many_samples_there_are() -> None:
    samples = np.full((3_000_000, 3), 9.81, dtype=np.float32)
    samples[::2, 1] += np.float32(1.0)
    samples[:, 2] = 0.0
    mean, deviation = moments(samples)
    assert np.allclose(mean, [9.81, 10.31, 0.0], rtol=1e-6)
    assert np.allclose(deviation, [0.0, 0.5, 0.0], rtol=1e-4)
    assert (deviation[[0, 2]] == 0).all()


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_rare_labels_weigh_as_much_more_as_asked(balance: float) -> None:
    sampler = WindowSampler(stretches_of(32, 32 * 9), window=32, stride=32)
    learner = WordLearner(build_network(configuration(Path())), token=0.0)
    options = OptimisationConfig(balance=balance)
    weights = _Fitting(
        learner, sampler, None, AugmentationConfig(), options, ("a", "b"), ONE_DEVICE
    )._label_weights
    assert weights[0] / weights[1] == pytest.approx(9**balance, rel=1e-5)


def test_the_loss_over_labels_is_that_of_the_choice_between_them() -> None:
    network = build_network(configuration(Path())).eval()
    learner = LabelLearner(network, smoothing=0.0)
    windows = torch.randn(8, 64, 6, generator=generator())
    losses = torch.stack(
        [learner.losses(windows, torch.full((8,), label), generator()) for label in (0, 1)]
    )
    torch.testing.assert_close((-losses).exp().sum(dim=0), torch.ones(8))
    first, second = network.scores(windows).T
    torch.testing.assert_close(losses[0] - losses[1], second - first, rtol=0, atol=1e-4)


def test_smoothing_spreads_the_truth_over_the_labels() -> None:
    network = build_network(configuration(Path())).eval()
    windows = torch.randn(8, 64, 6, generator=generator())

    def losses(smoothing: float, label: int) -> torch.Tensor:
        labels = torch.full((8,), label)
        return LabelLearner(network, smoothing).losses(windows, labels, generator())

    spread = 0.9 * losses(0.0, 0) + 0.1 * (losses(0.0, 0) + losses(0.0, 1)) / 2
    torch.testing.assert_close(losses(0.1, 0), spread)


@pytest.mark.parametrize("name", ["smoothing", "teaching"])
def test_probabilities_are_told_of_labels_alone(sessions: Path, name: str) -> None:
    config = configuration(sessions).model_dump()
    config["optimisation"][name] = 0.1
    with pytest.raises(ValueError, match=rf"{name} is 0.1; it must be 0"):
        TrainingConfig.model_validate(config)


@pytest.mark.parametrize("teaching", [0.0, 0.5])
def test_labels_can_be_learnt_without_their_own_words_alone(
    sessions: Path, tmp_path: Path, teaching: float
) -> None:
    config = configuration(sessions).model_dump()
    config["optimisation"] |= {"loss": "labels", "smoothing": 0.1, "teaching": teaching}
    with pytest.raises(ValueError, match=r"token is 0.2; it must be 0"):
        TrainingConfig.model_validate(config)
    config["augmentation"]["token"] = 0
    result = train(TrainingConfig.model_validate(config), tmp_path)
    assert result.accuracy["accuracy"] > 0.95


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(
    ("token", "options"),
    [(0.2, {}), (0.2, {"refit": True}), (0.0, {"loss": "labels", "teaching": 0.5})],
)
def test_an_interrupted_run_comes_to_the_same_weights(
    sessions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: float,
    options: dict[str, object],
) -> None:
    refit = "refit" in options
    config = optimised(configuration(sessions), **options)
    config = config.model_copy(update={"augmentation": AugmentationConfig(token=token)})
    whole = train(config, tmp_path / "whole")

    def stop(watch: trainer._Watch, _: object) -> None:
        if watch._what == ("once more" if refit else "training"):
            raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Watch, "__call__", stop)
        with pytest.raises(StoppedError):
            train(config, tmp_path / "stopped")
    changed = config.model_copy(update={"network": NetworkConfig(width=48)})
    with pytest.raises(TrainingError, match="unfinished run of another configuration"):
        train(changed, tmp_path / "stopped")
    assert train(config, tmp_path / "stopped").history == whole.history
    networks = [load_run(tmp_path / name)[1] for name in ("whole", "stopped")]
    for one, two in zip(*(network.state_dict().values() for network in networks), strict=True):
        assert torch.equal(one, two)


def interrupted(config: TrainingConfig, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a run after its first epoch."""

    def stop(*_: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Watch, "__call__", stop)
        with pytest.raises(StoppedError):
            train(config, run)


def test_a_run_that_others_left_off_is_nobodys(
    sessions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train(configuration(sessions), run)
    interrupted(configuration(sessions, labels=("shake it", "rest")), run, monkeypatch)
    with pytest.raises(TrainingError, match=r"run is not a finished run: no .*result\.json"):
        load_run(run)


def test_an_interrupted_run_does_not_go_on_with_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, wearer in enumerate(("anna", "ben", "cleo", "dora")):
        write_session(tmp_path, wearer, seed)
    config = configuration(tmp_path)
    interrupted(config, tmp_path / "run", monkeypatch)
    (tmp_path / "anna.mcap").unlink()
    write_session(tmp_path, "anna", seed=9)
    with pytest.raises(TrainingError, match=r"checkpoint\.npz has learnt from other data"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("weights.npz", "is damaged"),
        ("result.json", "is damaged"),
        ("config.json", "is damaged"),
        ("checkpoint.npz", "is damaged.*remove it to train afresh"),
    ],
)
@pytest.mark.parametrize("kept", [0, 60])
def test_a_damaged_file_of_a_run_is_told(
    sessions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    told: str,
    kept: int,
) -> None:
    config, run = configuration(sessions), tmp_path / "run"
    if name == "checkpoint.npz":
        interrupted(config, run, monkeypatch)
    else:
        train(config, run)
    (run / name).write_bytes((run / name).read_bytes()[:kept])
    with pytest.raises(TrainingError, match=f"{name} {told}"):
        load_run(run) if name != "checkpoint.npz" else train(config, run)


@pytest.mark.parametrize("lacking", ["random", "history", "optimiser.0.exp_avg"])
def test_a_checkpoint_of_another_version_is_told(
    sessions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    config = configuration(sessions)
    with monkeypatch.context() as patch:
        patch.setattr(trainer._Watch, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path)
    path = tmp_path / "checkpoint.npz"
    arrays = load_arrays(path)
    del arrays[lacking]
    np.savez(path, allow_pickle=False, **arrays)
    with pytest.raises(TrainingError, match="another version; remove it to train afresh"):
        train(config, tmp_path)


def test_refitting_learns_from_the_validation_people_too(sessions: Path, tmp_path: Path) -> None:
    """The input's mean tells whose samples were learnt from."""
    config = configuration(sessions)
    means = []
    for refit in (False, True):
        train(optimised(config, refit=refit), tmp_path / str(refit))
        means.append(load_run(tmp_path / str(refit))[1].encoder.mean.numpy())
    values = {s.wearer: s.values for s in read_stretches(config.data, ("rest", "shake it"))}
    for mean, wearers in zip(means, (("anna", "ben"), ("anna", "ben", "cleo")), strict=True):
        samples = np.concatenate([values[wearer] for wearer in wearers])
        np.testing.assert_allclose(mean, samples.mean(axis=0), atol=1e-5)


def optimised(config: TrainingConfig, **options: object) -> TrainingConfig:
    optimisation = config.optimisation.model_copy(update=options)
    return config.model_copy(update={"optimisation": optimisation})


def test_pictures_are_of_the_run_that_they_lie_beside(sessions: Path, tmp_path: Path) -> None:
    train(configuration(sessions), tmp_path)
    train(configuration(sessions, test=()), tmp_path)
    assert not (tmp_path / "confusion.png").exists()
    assert not (tmp_path / "calibration.png").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"start": Path("nowhere")}, "nowhere is not a finished run"),
        ({"network": NetworkConfig(dilations=(1, 2, 4, 8, 16))}, "but the window has 64"),
    ],
)
def test_what_cannot_begin_leaves_a_finished_run_as_it_is(
    sessions: Path, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    config = configuration(sessions)
    train(config, tmp_path)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TrainingError, match=told):
        train(config.model_copy(update=change), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == left


def test_a_loss_that_is_no_number_is_told(sessions: Path, tmp_path: Path) -> None:
    config = optimised(configuration(sessions), learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"became (nan|inf) in epoch \d; lower .*\(1e\+30\)"):
        train(config, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"seed": 10**20},
        {"threads": 10**11},
        {"learning_rate": float("inf")},
        {"learning_rate": float("nan")},
    ],
)
def test_numbers_that_no_training_has_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        OptimisationConfig.model_validate(options)


@pytest.mark.parametrize("refit", [False, True])
def test_a_run_leaves_figures_and_no_checkpoint(
    sessions: Path, tmp_path: Path, *, refit: bool
) -> None:
    result = train(optimised(configuration(sessions), refit=refit), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    pictures = {"curves.png", "confusion.png", "calibration.png"}
    assert names == {"config.json", "result.json", "weights.npz", *pictures}
    assert {"loss", "accuracy", "macro_f1"} == {*result.history[0]}
    errors = {"calibration_error", "uncalibrated_error"}
    assert {"accuracy", "macro_f1", *errors} == {*result.accuracy}
    assert np.trace(result.confusion) / np.sum(result.confusion) == result.accuracy["accuracy"]


@pytest.mark.parametrize(
    ("samples", "labelled", "told"),
    [
        (1000, (1.05, 1.12), r"rest, shake it in the sessions of anna"),
        (64, (0.0, 1.28), r"1 labelled window\(s\) to learn from"),
    ],
)
@pytest.mark.parametrize("taught", [False, True])
def test_those_learnt_from_must_have_labelled_windows(
    tmp_path: Path, samples: int, labelled: tuple[float, float], told: str, *, taught: bool
) -> None:
    for seed, wearer in enumerate(("cleo", "dora")):
        write_session(tmp_path, wearer, seed)
    with SessionWriter(tmp_path / "anna.mcap") as writer:
        writer.add_stream(stream_info("anna"))
        times = EPOCH + np.arange(samples) / 50
        begin, end = labelled
        writer.add_annotation(Annotation("anna", "rest", EPOCH + begin, EPOCH + end))
        writer.add_batch(SampleBatch("anna", times, np.zeros((samples, 6), dtype=np.float32)))
    config = configuration(tmp_path)
    if taught:
        config = optimised(config, loss="labels", teaching=0.5)
    with pytest.raises(TrainingError, match=told):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"validation": ("nobody",)}, "no session of \\['nobody'\\]"),
        ({"test": ("cleo",)}, "both data.validation and data.test"),
        ({"validation": ("anna", "ben", "cleo")}, "none is left"),
        ({"window": 12}, "sees 13 samples but the window has 12"),
        ({"sessions": Path("nowhere")}, "nothing to learn from"),
        ({"labels": ("sleep",)}, "no annotation"),
    ],
)
def test_what_cannot_be_learnt_from_is_told(
    sessions: Path, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises((TrainingError, DatasetError), match=told):
        train(configuration(sessions, **changes), tmp_path / "run")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_configuration_fits_its_data_set(path: Path) -> None:
    data = read_config(path, TrainingConfig).data
    assert data.dataset is not None
    dataset = find_dataset(data.dataset)
    published = dict(zip(dataset.channels, dataset.units, strict=True))
    assert [published[channel] for channel in data.channels] == list(data.units)
    assert data.test == dataset.test
    assert {*data.validation} <= {*dataset.wearers} - {*data.test}
    assert {*data.labels} == {*renamed(dataset.labels, data.rename)}
    assert data.rate_hz <= dataset.rate_hz


def test_a_data_set_is_learnt_from_as_published_and_as_imported(tmp_path: Path) -> None:
    write_wisdm(tmp_path / "published")
    wisdm = find_dataset("wisdm-watch")
    import_data(wisdm, tmp_path / "published", tmp_path / "imported", {})
    data = read_config(ROOT / "configs" / "train" / "wrist.toml", TrainingConfig).data
    surveys = [
        Survey.of(read_content(data.model_copy(update={"sessions": tmp_path / place})))
        for place in ("published", "imported")
    ]
    assert surveys[0] == surveys[1]
    assert surveys[0].labels == {"walking", "folding clothes"}


def test_each_channel_must_have_a_unit(sessions: Path) -> None:
    with pytest.raises(ValidationError, match=r"units has 1 entries .* the 6 channels"):
        configuration(sessions, units=("m/s2",))


def test_symmetries_must_have_a_sign_for_each_channel(sessions: Path) -> None:
    config = configuration(sessions).model_dump()
    config["augmentation"]["symmetries"] = [(-1, 1)]
    with pytest.raises(ValueError, match=r"2 signs \[-1, 1\], of 6 data.channels"):
        TrainingConfig.model_validate(config)


def test_the_share_asked_for_of_those_who_may_lie_any_way_is_turned_by_any_angle() -> None:
    sampler = WindowSampler(stretches_of(64, 64), window=32, stride=32)
    learner = WordLearner(build_network(configuration(Path())), token=0.0)
    augmentation = AugmentationConfig(
        rotation_degrees=10.0, turned_freely=("lie",), symmetry_share=0.25
    )
    fitting = _Fitting(
        learner, sampler, None, augmentation, OptimisationConfig(), ("sit", "lie"), ONE_DEVICE
    )
    labels = torch.arange(2).repeat(4000)
    angles = fitting._largest_angles(labels)
    assert (angles[labels == 0] == 10).all()
    assert set(angles[labels == 1].tolist()) == {10.0, 180.0}
    assert (angles[labels == 1] == 180).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_who_may_lie_any_way_may_still_under_another_name(sessions: Path) -> None:
    augmentation = AugmentationConfig(turned_freely=("rest",))
    config = configuration(sessions).model_copy(update={"augmentation": augmentation})
    renamed_config = rename_labels(config, {"rest": "be still"})
    assert renamed_config.data.labels == ("be still", "shake it")
    assert renamed_config.augmentation.turned_freely == ("be still",)


@pytest.mark.parametrize("spelt", ["shake it", "Shake-It", "SHAKE_IT"])
def test_annotations_are_renamed_however_they_are_spelt(sessions: Path, spelt: str) -> None:
    config = configuration(sessions, labels=("rest", "wave"), rename={spelt: "Wave"}).data
    labels = read_stretches(config, config.labels)[0].labels
    assert (labels == 1).sum() == 3 * 450


def test_only_labels_of_the_configuration_are_turned_freely(sessions: Path) -> None:
    config = configuration(sessions).model_dump()
    config["augmentation"]["turned_freely"] = ["sleep"]
    with pytest.raises(ValueError, match=r"'sleep', none of data.labels: "):
        TrainingConfig.model_validate(config)


def test_only_places_of_the_channels_are_turned_apart(sessions: Path) -> None:
    config = configuration(sessions).model_dump()
    config["augmentation"]["turned_apart"] = ["wrist"]
    with pytest.raises(ValueError, match=r"'wrist', but the sensors .* begin with no place"):
        TrainingConfig.model_validate(config)


def test_start_and_end_are_tokens() -> None:
    label_set = LabelSet.from_names(["rest"])
    assert label_set.tokens([START, "rest", END]) == [0, 2, 1]
