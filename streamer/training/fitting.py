"""The loop that finds a network's weights: learning rate, averaged weights, early stopping.

It knows nothing of SHARE: what is minimised and what is scored is handed in, so that the paper's
peers are trained alike. It can be stopped at any time and goes on from its last whole epoch.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from streamer.errors import TooFewWindowsError, TrainingError
from streamer.evaluation.windows import measure_windows
from streamer.sensors import Device
from streamer.training.arrays import load_arrays
from streamer.training.augmentation import (
    jitter,
    mix,
    scale,
    turn_devices,
    warp_time,
    wear_otherwise,
)
from streamer.training.config import AugmentationConfig, OptimisationConfig
from streamer.training.data import WindowSet
from streamer.training.moments import moments
from streamer.training.sampling import WindowSampler

Tensors = tuple[Tensor, ...] | list[Tensor]

EVALUATION_BATCH = 512
WARM_UP = 0.3
"""Share of the steps in which the learning rate rises."""

ADAM_STATE = {"step", "exp_avg", "exp_avg_sq"}
"""What AdamW keeps of each weight."""

LARGEST_ANGLE = 180.0
"""Degrees by which anything can be turned."""

FIRST_RATE = 1 / 25
"""The first learning rate, as a share of the highest."""


class Learner(nn.Module, ABC):
    """What can be fitted: weights, what they minimise, and what they answer."""

    @abstractmethod
    def losses(self, windows: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of each window [batch, time, channels], [batch]."""

    @abstractmethod
    def scores(self, windows: Tensor) -> Tensor:
        """Return the log-probability of each label for each window, [batch, labels]."""


@dataclass(slots=True)
class History:
    """What an epoch after epoch came to.

    Attributes:
        epochs: loss, and with held-out people their accuracy and macro-F1, of each epoch.
        best_epoch: the epoch whose weights were kept, counted from 0.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0


def work_deterministically(threads: int) -> None:
    """Let torch answer alike every time, with so many threads."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    # Nothing here reads memory before it is written; filling it takes a twentieth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def fit(
    learner: Learner,
    sampler: WindowSampler,
    held_out: WindowSet | None,
    augmentation: AugmentationConfig,
    options: OptimisationConfig,
    *,
    labels: Sequence[str],
    devices: Sequence[Device],
    checkpoint: Path | None = None,
    watch: Callable[[History], None] = lambda _: None,
) -> History:
    """Find the weights; leave the network with the best ones, on the CPU.

    Args:
        learner: what is fitted.
        sampler: windows to learn from.
        held_out: windows of people who choose the best epoch; without them it is the last.
        augmentation: what is changed at random.
        options: how.
        labels: their names.
        devices: that are turned, each on its own.
        checkpoint: file that each epoch leaves, and from which an interrupted fit goes on.
        watch: told after every epoch.

    Raises:
        TrainingError: the checkpoint is not of this fit, or the loss is no number any more.
        TooFewWindowsError: there are not even two windows.
    """
    fitting = _Fitting(learner, sampler, held_out, augmentation, options, labels, devices)
    if checkpoint is not None and checkpoint.exists():
        fitting.restore(checkpoint)
    while not fitting.finished:
        fitting.run_epoch()
        if checkpoint is not None:
            fitting.save(checkpoint)
        watch(fitting.history)
    fitting.keep_best()
    return fitting.history


@torch.no_grad()
def label_scores(learner: Learner, windows: WindowSet) -> NDArray[np.float32]:
    """Return the score of every label for every window, [windows, labels]."""
    learner.eval()
    device = next(learner.parameters()).device
    parts = [
        learner.scores(_samples(windows, slice(first, first + EVALUATION_BATCH)).to(device)).cpu()
        for first in range(0, len(windows), EVALUATION_BATCH)
    ]
    scores: NDArray[np.float32] = torch.cat(parts).numpy()
    return scores


def one_cycle(progress: float) -> float:
    """Return the share of the highest learning rate at this share of the steps.

    One cycle after Smith (2018): a cosine up from `FIRST_RATE`, then a cosine down to nothing.
    """
    if progress < WARM_UP:
        return FIRST_RATE + (1 - FIRST_RATE) * (1 - math.cos(math.pi * progress / WARM_UP)) / 2
    return (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2


class _Fitting:
    def __init__(
        self,
        learner: Learner,
        sampler: WindowSampler,
        held_out: WindowSet | None,
        augmentation: AugmentationConfig,
        options: OptimisationConfig,
        labels: Sequence[str],
        devices: Sequence[Device],
    ) -> None:
        self._sampler = sampler
        self._learnt_from = sampler.digest()
        self._held_out = held_out
        self._augmentation = augmentation
        self._options = options
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._random = torch.Generator().manual_seed(options.seed)
        torch.manual_seed(options.seed)
        self._learner = learner.to(self._device)
        self._averaged = AveragedModel(
            self._learner, multi_avg_fn=_moving_average(options.averaging), use_buffers=True
        )
        self._optimiser = torch.optim.AdamW(
            self._learner.parameters(), weight_decay=options.weight_decay, fused=True
        )
        self._deviation = torch.from_numpy(moments(sampler.values)[1])
        counts = np.maximum(sampler.label_counts(len(labels)), 1)
        weights = (counts.mean() / counts) ** options.balance
        self._label_weights = torch.from_numpy(weights.astype(np.float32))
        self._devices = [torch.tensor(axes) for axes in devices]
        self._freely = torch.tensor([name in augmentation.turned_freely for name in labels])
        self._best: dict[str, Tensor] = {}
        self.history = History()

    @property
    def finished(self) -> bool:
        """Whether the last epoch or the end of patience has come."""
        done = len(self.history.epochs)
        waited = done - 1 - self.history.best_epoch
        return done >= self._options.epochs or waited >= self._options.patience

    def run_epoch(self) -> None:
        self._learner.train()
        windows = self._sampler.epoch(self._random)
        order = torch.randperm(len(windows), generator=self._random)
        # Of like sizes: batch normalisation learns little good of a few windows left over.
        count = max(1, math.ceil(len(windows) / self._options.batch))
        batches = [rows for rows in order.tensor_split(count) if len(rows) > 1]
        if not batches:
            raise TooFewWindowsError(len(windows))
        done = len(self.history.epochs)
        losses = [
            self._step(windows, rows.numpy(), (done + step / len(batches)) / self._options.epochs)
            for step, rows in enumerate(batches)
        ]
        figures = {"loss": float(np.mean(losses))}
        if not math.isfinite(figures["loss"]):
            raise TrainingError(
                f"the loss became {figures['loss']} in epoch {done + 1}; lower "
                f"optimisation.learning_rate ({self._options.learning_rate:g}), or what "
                "augmentation changes"
            )
        if self._held_out is not None:
            figures |= self._measure(self._held_out)
        epochs = self.history.epochs
        best = epochs[self.history.best_epoch] if epochs else None
        epochs.append(figures)
        if best is None or self._held_out is None or figures["macro_f1"] > best["macro_f1"]:
            self.history.best_epoch = len(epochs) - 1
            state = self._averaged.module.state_dict()
            self._best = {name: value.clone() for name, value in state.items()}

    def keep_best(self) -> None:
        self._learner.load_state_dict(self._best)
        self._learner.cpu().eval()

    def save(self, path: Path) -> None:
        arrays = {
            **_named("network", self._learner.state_dict()),
            **_named("averaged", self._averaged.state_dict()),
            **_named("best", self._best),
            "random": self._random.get_state().numpy(),
            "dropout": torch.get_rng_state().numpy(),
            "history": np.array(json.dumps(asdict(self.history))),
            "learnt_from": np.array(self._learnt_from),
        }
        for index, state in self._optimiser.state_dict()["state"].items():
            arrays |= _named(f"optimiser.{index}", state)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new.npz")
        np.savez(fresh, allow_pickle=False, **arrays)
        fresh.replace(path)

    def restore(self, path: Path) -> None:
        arrays = load_arrays(path)
        if arrays.get("learnt_from") != self._learnt_from:
            raise TrainingError(f"{path} has learnt from other data; remove it to train afresh")
        try:
            self._load(arrays)
        except (RuntimeError, LookupError, ValueError, TypeError) as error:
            raise TrainingError(
                f"{path} is of another network or another version; remove it to train afresh"
            ) from error

    def _load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._learner.load_state_dict(_part("network", arrays))
        self._averaged.load_state_dict(_part("averaged", arrays))
        self._best = _part("best", arrays)
        self._random.set_state(torch.from_numpy(arrays["random"]))
        torch.set_rng_state(torch.from_numpy(arrays["dropout"]))
        self.history = History(**json.loads(str(arrays["history"])))
        groups = self._optimiser.state_dict()["param_groups"]
        moments = {index: _part(f"optimiser.{index}", arrays) for index in groups[0]["params"]}
        if any({*own} != ADAM_STATE for own in moments.values()):
            raise LookupError("the optimiser's state is not whole")
        self._optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def _step(self, windows: WindowSet, rows: NDArray[np.int64], progress: float) -> float:
        share = 1.0 if self._options.schedule == "constant" else one_cycle(progress)
        for group in self._optimiser.param_groups:
            group["lr"] = self._options.learning_rate * share
        labels = torch.from_numpy(windows.labels[rows])
        loss = self._loss(self._augmented(_samples(windows, rows), labels), labels)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._averaged.update_parameters(self._learner)
        return loss.item()

    def _augmented(self, windows: Tensor, labels: Tensor) -> Tensor:
        chosen, random = self._augmentation, self._random
        if chosen.warp:
            windows = warp_time(windows, chosen.warp, random)
        if chosen.symmetries:
            share = chosen.symmetry_share
            windows = wear_otherwise(windows, chosen.symmetries, share, random)
        if chosen.rotation_degrees or chosen.turned_freely:
            angles = self._largest_angles(labels)
            windows = turn_devices(windows, self._devices, angles, random)
        if chosen.scale:
            windows = scale(windows, chosen.scale, random)
        if chosen.jitter:
            windows = jitter(windows, chosen.jitter * self._deviation, random)
        return windows

    def _largest_angles(self, labels: Tensor) -> Tensor:
        """Return by how many degrees each window's sensors are turned at most, [batch]."""
        degrees = torch.full(labels.shape, self._augmentation.rotation_degrees)
        if self._freely.any():
            drawn = torch.rand(len(labels), generator=self._random)
            degrees[self._freely[labels] & (drawn < self._augmentation.symmetry_share)] = (
                LARGEST_ANGLE
            )
        return degrees

    def _loss(self, windows: Tensor, labels: Tensor) -> Tensor:
        if not self._augmentation.mixup:
            return self._weighted_losses(windows, labels).mean()
        mixed, partners, shares = mix(windows, self._augmentation.mixup, self._random)
        own, other = (self._weighted_losses(mixed, of) for of in (labels, labels[partners]))
        shares = shares.to(self._device)
        return (shares * own + (1 - shares) * other).mean()

    def _weighted_losses(self, windows: Tensor, labels: Tensor) -> Tensor:
        weights = self._label_weights[labels].to(self._device)
        windows, labels = windows.to(self._device), labels.to(self._device)
        return weights * self._learner.losses(windows, labels, self._random)

    def _measure(self, windows: WindowSet) -> dict[str, float]:
        averaged = self._averaged.module
        assert isinstance(averaged, Learner)  # noqa: S101 - tells the type checker
        scores = label_scores(averaged, windows)
        metrics = measure_windows(scores, windows.labels)
        return {"accuracy": metrics.accuracy, "macro_f1": metrics.macro_f1}


def _moving_average(keep: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Return the update of exponential moving averages that soon forget the first weights."""

    def update(averages: Tensors, newest: Tensors, count: Tensor | int) -> None:
        decay = min(keep, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(decay)(averages, newest, count)

    return update


def _samples(windows: WindowSet, rows: slice | NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(windows.gather(rows))


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}.{name}": tensor.cpu().numpy() for name, tensor in tensors.items()}


def _part(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    begin = f"{prefix}."
    return {
        name.removeprefix(begin): torch.from_numpy(np.array(array))
        for name, array in arrays.items()
        if name.startswith(begin)
    }
