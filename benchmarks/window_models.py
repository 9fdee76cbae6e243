"""SHARE and its peers behind one call: learn a task's training windows, score its test windows."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from device_adapters.frames import IMU
from streamer.datasets import find_dataset
from streamer.share.labels import LabelSet
from streamer.training.arrays import load_arrays
from streamer.training.config import AugmentationConfig, NetworkConfig, OptimisationConfig
from streamer.training.defaults import FEWEST_STEPS, MOST_EPOCHS
from streamer.training.fitting import Learner, fit, label_scores, work_deterministically
from streamer.training.network import Encoder, ShareNetwork
from streamer.training.ridge import fit_ridges
from streamer.training.sampling import WindowSampler
from streamer.training.teacher import Teacher, teach
from streamer.training.trainer import initialise_words
from streamer.training.transfer import take_over
from streamer.training.word_sequences import ShareLearner, share_learner
from streamer.training.word_vectors import WordsConfig
from window_sets import WindowTask, other_sets

Scores = NDArray[np.float32]
WINDOWS_OF_AN_EPOCH = 16_000
"""What is cut of other sets' recordings for a network to begin with."""

ROCKET_RIDGES = (1e2, 1e3, 1e4)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is made and trained."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    words: WordsConfig = field(default_factory=WordsConfig)


@dataclass(slots=True)
class Trained:
    """What a model answers.

    Attributes:
        scores: of the test windows, [windows, labels].
        parameters: numbers that were learnt; 0 where that says nothing.
        learner: the network, of those that have one.
    """

    scores: Scores
    parameters: int = 0
    learner: Learner | None = field(default=None, repr=False)


class IntegerLearner(Learner):
    """The paper's ablation: the same encoder with a layer over label numbers instead of words."""

    def __init__(self, channels: int, labels: int, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder = Encoder(
            channels, config.shape, config.encoder_dropout, config.feature_dropout
        )
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.encoder.features, labels)

    def losses(self, windows: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002 - nothing is drawn
        """Return the cross-entropy of each window, [batch]."""
        return functional.cross_entropy(self.scores(windows), labels, reduction="none")

    def scores(self, windows: Tensor) -> Tensor:
        """Return the log-probability of each label, [batch, labels]."""
        answer: Tensor = self.output(self.dropout(self.encoder(windows)))
        return answer.log_softmax(dim=1)


class DeepConvLstm(Learner):
    """Ordóñez and Roggen, Sensors 2016: four convolutions of 64, two LSTM layers of 128."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, labels: int, values: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(values.mean(axis=0)))
        self.register_buffer("deviation", torch.from_numpy(values.std(axis=0)))
        layers: list[nn.Module] = []
        for number in range(4):
            layers += [nn.Conv2d(64 if number else 1, 64, (5, 1)), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.lstm = nn.LSTM(64 * channels, 128, num_layers=2, batch_first=True, dropout=0.5)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(128, labels)

    def losses(self, windows: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002 - nothing is drawn
        """Return the cross-entropy of each window, [batch]."""
        return functional.cross_entropy(self.scores(windows), labels, reduction="none")

    def scores(self, windows: Tensor) -> Tensor:
        """Return the log-probability of each label, [batch, labels]."""
        hidden = self.convolutions(((windows - self.mean) / self.deviation)[:, None])
        states, _ = self.lstm(hidden.permute(0, 2, 1, 3).flatten(2))
        answer: Tensor = self.output(self.dropout(states[:, -1]))
        return answer.log_softmax(dim=1)


def share(
    recipe: Recipe,
    task: WindowTask,
    seed: int,
    checkpoint: Path,
    start: ShareNetwork | None = None,
) -> Trained:
    """Train SHARE, beginning with what `start` has learnt of other sets if it is given."""

    def build(channels: int, values: NDArray[np.float32]) -> Learner:
        options = recipe.optimisation.model_copy(update={"seed": seed})
        teacher = teach(task.stretches, task.window, task.stride, len(task.labels), options)
        learner = _share_learner(recipe, task.labels, channels, values, seed, teacher)
        if start is not None:
            channels_here = find_dataset(task.name).channels
            take_over(learner.network, channels_here, start, IMU.channels)
        return learner

    return _train(build, recipe, task, seed, checkpoint)


def pretrained(recipe: Recipe, task: WindowTask, data: Path, work: Path) -> ShareNetwork:
    """Return SHARE taught by the training people of `TO_START_FROM`, once and for all seeds."""
    path = work / f"start_{task.name}.npz"
    if not path.exists():
        _pretrain(Recipe(recipe.network), task, data, path)
    arrays = load_arrays(path)
    network = _share_network(recipe, tuple(arrays.pop("labels").tolist()), len(IMU.channels))
    network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays})
    return network


def _pretrain(recipe: Recipe, task: WindowTask, data: Path, path: Path) -> None:
    labels, stretches = other_sets(task.name, data)
    stretches = [stretch for stretch in stretches if len(stretch.values) >= task.window]
    stride = sum(len(stretch.values) for stretch in stretches) // WINDOWS_OF_AN_EPOCH
    sampler = WindowSampler(stretches, task.window, stride)
    options = recipe.optimisation
    torch.manual_seed(options.seed)
    learner = _share_learner(recipe, labels, len(IMU.channels), sampler.values, options.seed)
    checkpoint = path.with_stem(f"{path.stem}_checkpoint")
    _teach(learner, sampler, recipe.augmentation, options, labels, checkpoint)
    weights = {name: weight.numpy() for name, weight in learner.network.state_dict().items()}
    np.savez(path, allow_pickle=False, labels=np.array(labels), **weights)


def _share_learner(
    recipe: Recipe,
    labels: tuple[str, ...],
    channels: int,
    values: NDArray[np.float32],
    seed: int,
    teacher: Teacher | None = None,
) -> ShareLearner:
    network = _share_network(recipe, labels, channels)
    network.encoder.standardise(values)
    initialise_words(network, recipe.words, seed)
    return share_learner(network, recipe.augmentation, recipe.optimisation, teacher)


def _share_network(recipe: Recipe, labels: tuple[str, ...], channels: int) -> ShareNetwork:
    return recipe.network.build(LabelSet.from_names(labels), channels)


def integer_ids(recipe: Recipe, task: WindowTask, seed: int, checkpoint: Path) -> Trained:
    """Train the same encoder with label numbers."""

    def build(channels: int, values: NDArray[np.float32]) -> Learner:
        learner = IntegerLearner(channels, len(task.labels), recipe.network)
        learner.encoder.standardise(values)
        return learner

    return _train(build, recipe, task, seed, checkpoint)


def deep_conv_lstm(recipe: Recipe, task: WindowTask, seed: int, checkpoint: Path) -> Trained:
    """Train DeepConvLSTM."""
    return _train(
        lambda channels, values: DeepConvLstm(channels, len(task.labels), values),
        recipe,
        task,
        seed,
        checkpoint,
    )


def minirocket(task: WindowTask, seed: int) -> Trained:
    """MiniRocket (Dempster et al., KDD 2021), standardised, and ridge on label indicators.

    The ridge is chosen on windows of a fifth of the training people's stretches, in order.
    """
    from aeon.transformations.collection.convolution_based import MiniRocket  # noqa: PLC0415

    def series(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(windows.transpose(0, 2, 1))

    transform = MiniRocket(n_kernels=10_000, random_state=seed, n_jobs=1)
    features = np.asarray(transform.fit_transform(series(task.training.gather(slice(None)))))
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    features = (features - mean) / deviation
    targets = 2 * np.eye(len(task.labels))[task.training.labels] - 1
    learnt_from = np.arange(len(features)) < 0.8 * len(features)
    right = [
        (linear(features[~learnt_from]).argmax(1) == task.training.labels[~learnt_from]).mean()
        for linear in fit_ridges(features[learnt_from], targets[learnt_from], ROCKET_RIDGES)
    ]
    (linear,) = fit_ridges(features, targets, [ROCKET_RIDGES[int(np.argmax(right))]])
    test = np.asarray(transform.transform(series(task.test.gather(slice(None)))))
    scores: Scores = linear((test - mean) / deviation).astype(np.float32)
    return Trained(scores, linear.weights.size + linear.bias.size)


def xgboost(task: WindowTask, seed: int) -> Trained:
    """Boosted trees on simple features of each channel (`simple_features`)."""
    model, present = boosted_trees(task, seed)
    shares = model.predict_proba(simple_features(task.test.gather(slice(None))))
    scores = np.full((len(task.test), len(task.labels)), -np.inf, dtype=np.float32)
    scores[:, present] = np.log(np.maximum(shares, 1e-12))
    return Trained(scores)


def boosted_trees(task: WindowTask, seed: int) -> tuple[Any, NDArray[np.int64]]:
    """Return XGBoost's fitted classifier, and which labels its answers are of."""
    from xgboost import XGBClassifier  # noqa: PLC0415

    model = XGBClassifier(n_estimators=300, learning_rate=0.1, max_depth=6, n_jobs=1)
    model.set_params(subsample=0.8, colsample_bytree=0.5, random_state=seed, tree_method="hist")
    present = np.unique(task.training.labels)
    numbered = np.searchsorted(present, task.training.labels)
    model.fit(simple_features(task.training.gather(slice(None))), numbered)
    return model, present


def simple_features(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return statistics, spectrum and correlations of [n, time, channels] as [n, features]."""
    spectrum = np.abs(np.fft.rfft(windows - windows.mean(axis=1, keepdims=True), axis=1))
    changes = np.diff(windows, axis=1)
    quantiles = np.quantile(windows, (0.1, 0.25, 0.5, 0.75, 0.9), axis=1)
    centred = windows - windows.mean(axis=1, keepdims=True)
    normal = centred / (windows.std(axis=1, keepdims=True) + 1e-6)
    correlations = np.einsum("ntc,ntd->ncd", normal, normal) / windows.shape[1]
    upper = np.triu_indices(windows.shape[2], 1)
    parts = [
        windows.mean(axis=1), windows.std(axis=1), windows.min(axis=1), windows.max(axis=1),
        *quantiles, np.abs(changes).mean(axis=1), changes.std(axis=1),
        *spectrum[:, 1:13].transpose(1, 0, 2), spectrum.argmax(axis=1), spectrum.max(axis=1),
        correlations[:, upper[0], upper[1]],
    ]  # fmt: skip
    return np.concatenate(parts, axis=1).astype(np.float32)


def _train(
    build: Callable[[int, NDArray[np.float32]], Learner],
    recipe: Recipe,
    task: WindowTask,
    seed: int,
    checkpoint: Path,
) -> Trained:
    """Train on all training people for a fixed number of epochs: nobody is left to choose one."""
    torch.manual_seed(seed)
    sampler = WindowSampler(task.stretches, task.window, task.stride)
    usual = recipe.optimisation
    steps = math.ceil(int(sampler.label_counts(len(task.labels)).sum()) / usual.batch)
    epochs = max(usual.epochs, min(round(FEWEST_STEPS / steps), MOST_EPOCHS))
    options = usual.model_copy(update={"seed": seed, "epochs": epochs})
    learner = build(task.test.values.shape[1], sampler.values)
    _teach(learner, sampler, recipe.augmentation, options, task.labels, checkpoint)
    parameters = sum(p.numel() for p in learner.parameters() if p.requires_grad)
    return Trained(label_scores(learner, task.test), parameters, learner)


def _teach(
    learner: Learner,
    sampler: WindowSampler,
    augmentation: AugmentationConfig,
    options: OptimisationConfig,
    labels: tuple[str, ...],
    checkpoint: Path,
) -> None:
    work_deterministically(threads=1)
    channels = sampler.values.shape[1]
    worn = tuple((x, x + 1, x + 2) for x in range(0, channels, 3))
    fit(
        learner, sampler, None, augmentation, options,
        labels=labels, devices=[worn], checkpoint=checkpoint,
    )  # fmt: skip
    checkpoint.unlink()
