"""The teacher of random kernels and ridge: its features, its fit, and what is learnt from it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from streamer.share.labels import LabelSet
from streamer.training.config import NetworkConfig, OptimisationConfig
from streamer.training.data import Stretch
from streamer.training.teacher import (
    MOST_CHANNELS,
    THRESHOLDS,
    RandomKernels,
    Teacher,
    _kernels,
    _shares_above,
    teach,
)
from streamer.training.word_sequences import LabelLearner

WINDOW, HOP, RATE_HZ = 64, 16, 50


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def swinging(wearer: str, label: int, seed: int, channels: int = 3) -> Stretch:
    """Return twenty seconds of a swing at 1 Hz or at 4, as strong as noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(20 * RATE_HZ) / RATE_HZ
    swing = np.sin(2 * np.pi * (1 + 3 * label) * time + rng.uniform(0, 6))[:, None]
    values = 9.8 + swing + rng.normal(0, 0.7, (len(time), channels))
    labels = np.full(len(time), label)
    return Stretch(wearer, values.astype(np.float32), labels)


def people(*wearers: str) -> list[Stretch]:
    return [
        swinging(wearer, label, 2 * number + label)
        for number, wearer in enumerate(wearers)
        for label in (0, 1)
    ]


def teacher_of(stretches: list[Stretch], labels: int = 2, seed: int = 1) -> Teacher:
    options = OptimisationConfig(loss="labels", teaching=0.5, seed=seed)
    teacher = teach(stretches, WINDOW, HOP, labels, options)
    assert teacher is not None
    return teacher


def windows_of(stretch: Stretch) -> Tensor:
    return torch.from_numpy(stretch.values).unfold(0, WINDOW, WINDOW).transpose(1, 2)


@pytest.mark.parametrize("wearers", ["aaaaaa", "ababab", "abcdef"])
def test_who_does_something_alone_teaches_it_surely(wearers: str) -> None:
    stretches = [swinging(wearer, label, label) for label, wearer in enumerate(wearers)]
    teacher = teacher_of(stretches, len(wearers))
    for label, stretch in enumerate(stretches):
        assert teacher(windows_of(stretch))[:, label].mean() > 0.9


@pytest.mark.parametrize("stuck_at", [0.0, 0.07, 45.3])
def test_a_stuck_channel_tells_the_teacher_nothing_however_it_is_turned(stuck_at: float) -> None:
    stretches = people("anna", "ben", "cleo")
    for stretch in stretches:
        stretch.values[:, 2] = stuck_at
    teacher = teacher_of(stretches)
    for turned in (stretches[0].values[:, [2, 0, 1]], 1.05 * stretches[0].values):
        windows = torch.from_numpy(turned).unfold(0, WINDOW, WINDOW).transpose(1, 2)
        known = windows.clone()
        known[..., 2] = stuck_at
        assert torch.allclose(teacher(windows), teacher(known))


@pytest.mark.parametrize("channels", [1, 3, 45])
def test_a_kernel_sums_to_nothing_on_each_of_its_few_channels(channels: int) -> None:
    kernels = _kernels(channels, generator())
    assert torch.equal(kernels.sum(dim=2), torch.zeros(84, channels))
    seen = kernels.any(dim=2).sum(dim=1)
    assert seen.min() >= 1
    assert min(channels, 2) <= seen.max() <= min(channels, MOST_CHANNELS)
    assert len({tuple(kernel.abs().amax(dim=0).tolist()) for kernel in kernels}) == 84


def test_features_are_the_shares_of_the_time_above_thresholds() -> None:
    found = torch.tensor([[[0.0, 1.0, 2.0, 3.0], [5.0, 5.0, 5.0, 5.0]]])
    thresholds = torch.tensor([[1.5, 0.0], [5.0, 4.0]])
    shares = _shares_above(found, thresholds)
    assert shares.tolist() == [[0.5, 0.0, 0.75, 1.0]]


def test_thresholds_part_the_windows_they_are_taken_from_evenly() -> None:
    windows = torch.randn(50, WINDOW, 4, generator=generator())
    shares = RandomKernels(windows, generator())(windows).mean(dim=0)
    for own in shares.split(84 * THRESHOLDS):
        ordered = own.sort().values
        assert (ordered.diff() < 2.7 / len(own)).all()
        assert ordered[0] < 2.7 / len(own)
        assert ordered[-1] > 1 - 2.7 / len(own)


@pytest.mark.parametrize("wearers", [("anna",), ("anna", "ben"), ("anna", "ben", "cleo", "dora")])
def test_others_are_recognised(wearers: tuple[str, ...]) -> None:
    teacher = teacher_of(people(*wearers))
    for label in (0, 1):
        said = teacher(windows_of(swinging("eve", label, 99 + label)))
        torch.testing.assert_close(said.sum(dim=1), torch.ones(len(said)))
        assert (said[:, label] > 0.5).float().mean() > 0.9
        assert said[:, label].mean() > 0.8


def test_what_cannot_be_told_apart_is_not_told_apart() -> None:
    rng = np.random.default_rng(3)
    noise = [
        Stretch(wearer, rng.normal(size=(1000, 3)).astype(np.float32), np.full(1000, label))
        for wearer in ("anna", "ben", "cleo")
        for label in (0, 1)
    ]
    said = teacher_of(noise)(windows_of(noise[0]))
    assert said.max() < 0.8


def test_a_label_that_nobody_shows_is_unlikely_but_possible() -> None:
    teacher = teacher_of(people("anna", "ben", "cleo"), labels=4)
    unseen = teacher(windows_of(swinging("eve", 0, 99)))[:, 2:]
    assert unseen.max() < 0.1
    assert unseen.min() > 0


@pytest.mark.parametrize("most", [20, 4000])
def test_stretches_of_a_single_window_are_enough(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("streamer.training.teacher.MOST_WINDOWS", most)
    cut = [
        Stretch(stretch.wearer, stretch.values[start : start + WINDOW], stretch.labels[:WINDOW])
        for stretch in people("anna", "ben", "cleo")
        for start in range(0, 900, WINDOW)
    ]
    said = teacher_of(cut)(windows_of(swinging("eve", 1, 99)))
    assert (said[:, 1] > 0.5).float().mean() > 0.9


def test_the_same_seed_draws_the_same_teacher() -> None:
    windows = windows_of(swinging("eve", 1, 99))
    one, same, other = (teacher_of(people("anna", "ben"), seed=seed)(windows) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_nobody_teaches_who_is_not_asked_for() -> None:
    options = OptimisationConfig(loss="labels", teaching=0.0)
    assert teach(people("anna"), WINDOW, HOP, labels=2, options=options) is None


def test_a_network_learns_from_its_teacher_as_much_as_asked() -> None:
    label_set = LabelSet.from_names(("rest", "shake it"))
    network = NetworkConfig(dilations=(1, 2)).build(label_set, channels=3).eval()
    teacher = teacher_of(people("anna", "ben"))
    windows = windows_of(swinging("eve", 1, 99))

    def losses(label: int, own: Teacher | None, teaching: float) -> Tensor:
        labels = torch.full((len(windows),), label)
        learner = LabelLearner(network, 0.0, own, teaching)
        return learner.losses(windows, labels, generator())

    either = torch.stack([losses(label, None, 0.0) for label in (0, 1)], dim=1)
    taught = (teacher(windows) * either).sum(dim=1)
    torch.testing.assert_close(losses(0, teacher, 0.25), 0.75 * either[:, 0] + 0.25 * taught)


def test_a_teacher_leaves_nothing_in_what_is_saved() -> None:
    teacher = teacher_of(people("anna"))
    assert not teacher.state_dict()
    assert not list(teacher.parameters())
    assert math.isclose(float(teacher(windows_of(swinging("eve", 0, 9)))[0].sum()), 1, abs_tol=1e-5)
