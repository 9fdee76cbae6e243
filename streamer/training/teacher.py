"""A teacher for a network that has few people to learn from: random kernels and ridge.

Its features are those of MiniRocket (Dempster et al., KDD 2021), fewer of them: kernels of nine
weights that sum to nothing, over a few channels and at several dilations, and the shares of the
time that each is above some thresholds. A linear classifier on features that nobody has learnt
depends little on who the few people are. What it says of a window is what the network learns from,
beside the label: of the very window, turned and scaled as it is (Beyer et al., CVPR 2022).
"""

import itertools
import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from streamer.errors import TooFewWindowsError
from streamer.evaluation.windows import fit_temperature
from streamer.training.config import OptimisationConfig
from streamer.training.data import Stretch, cut_windows
from streamer.training.moments import moments
from streamer.training.ridge import fit_ridges

TAPS = 9
RAISED = tuple(itertools.combinations(range(TAPS), 3))
"""A kernel's weights are 2 at three places and -1 at the others: 84 kernels."""

MOST_CHANNELS = 9
"""That one kernel sees."""

THRESHOLDS = 3
"""For each kernel at each dilation."""

MOST_MEASURED = 128
"""Windows whose quantiles are the thresholds."""

MOST_WINDOWS = 4000
"""That the ridge is fitted to."""

RIDGES = (10.0, 100.0, 1000.0, 10_000.0)
FOLDS = 3
"""Parts of the people, each of whom the others' ridge is tried on."""

SPREAD = 8.0
"""What is fitted to 1 and -1 is too flat for a softmax by about so much."""


class RandomKernels(nn.Module):
    """Features of windows, [batch, time, channels] to [batch, features].

    Args:
        windows: what scales and thresholds are taken from.
        random: draws the kernels' channels.
    """

    deviation: Tensor

    def __init__(self, windows: Tensor, random: torch.Generator) -> None:
        super().__init__()
        _, time, channels = windows.shape
        deviation = torch.from_numpy(moments(windows.flatten(0, 1).numpy())[1])
        # What never changed in what is learnt from tells nothing, however it is turned later.
        self._constant("deviation", deviation.where(deviation > 0, torch.inf))
        longest = max(1, (time - 1) // (TAPS - 1))
        self._dilations = [2**power for power in range(longest.bit_length())]
        chosen = torch.randperm(len(windows), generator=random)[:MOST_MEASURED]
        scaled = self._scaled(windows[chosen])
        for dilation in self._dilations:
            kernels = _kernels(channels, random)
            found = functional.conv1d(scaled, kernels, dilation=dilation, padding="same")
            self._constant(f"kernels_{dilation}", kernels)
            self._constant(f"thresholds_{dilation}", _quantiles(found, THRESHOLDS))

    def forward(self, windows: Tensor) -> Tensor:
        """Return the shares of the time above each threshold."""
        scaled = self._scaled(windows)
        features = []
        for dilation in self._dilations:
            kernels = self.get_buffer(f"kernels_{dilation}")
            found = functional.conv1d(scaled, kernels, dilation=dilation, padding="same")
            features.append(_shares_above(found, self.get_buffer(f"thresholds_{dilation}")))
        return torch.cat(features, dim=1)

    def _scaled(self, windows: Tensor) -> Tensor:
        return (windows / self.deviation).transpose(1, 2)

    def _constant(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)


class Teacher(nn.Module):
    """Probabilities of each label, [batch, labels], for windows [batch, time, channels].

    Args:
        windows: what is learnt from.
        labels: theirs, int64 [windows].
        folds: the part of each by which ridge and temperature are chosen, [windows].
        count: of labels.
        seed: of the kernels.
    """

    weights: Tensor
    bias: Tensor

    def __init__(
        self, windows: Tensor, labels: Tensor, folds: Tensor, count: int, seed: int
    ) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self._kernels = RandomKernels(windows, random)
        features = torch.cat([self._kernels(part) for part in windows.split(256)])
        mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0) + 1e-6
        scaled = ((features - mean) / deviation).numpy()
        targets = 2 * np.eye(count)[labels.numpy()] - 1
        found = _held_out(scaled, targets, folds.numpy())
        best = int(np.square(found - targets).mean(axis=(1, 2)).argmin())
        temperature = fit_temperature(SPREAD * found[best], labels.numpy())
        (linear,) = fit_ridges(scaled, targets, RIDGES[best : best + 1])
        sharpness = SPREAD / temperature
        weights = torch.from_numpy(sharpness * linear.weights).float() / deviation[:, None]
        bias = torch.from_numpy(sharpness * linear.bias).float() - mean @ weights
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    @torch.no_grad()
    def forward(self, windows: Tensor) -> Tensor:
        """Return the probabilities."""
        return torch.addmm(self.bias, self._kernels(windows), self.weights).softmax(dim=1)


def teach(
    stretches: Iterable[Stretch], window: int, hop: int, labels: int, options: OptimisationConfig
) -> Teacher | None:
    """Return a teacher who has learnt from these stretches; nobody if none is asked for.

    Args:
        stretches: what is learnt from.
        window: samples in a window.
        hop: samples between two windows that it learns from.
        labels: how many there are.
        options: how the network is to learn.

    Raises:
        TooFewWindowsError: there are not even two windows.
    """
    if not options.teaching:
        return None
    people = sorted(stretches, key=lambda stretch: stretch.wearer)
    cut = cut_windows(people, window, hop, 0)
    if len(cut) < 2:
        raise TooFewWindowsError(len(cut))
    begins = np.cumsum([0, *(len(stretch.values) for stretch in people)])
    wearers = [people[at].wearer for at in np.searchsorted(begins, cut.starts, side="right") - 1]
    folds = _folds(np.unique(wearers, return_inverse=True)[1], cut.labels)
    rows = np.sort(np.random.default_rng(options.seed).permutation(len(cut))[:MOST_WINDOWS])
    return Teacher(
        torch.from_numpy(cut.gather(rows)),
        torch.from_numpy(cut.labels[rows]),
        torch.from_numpy(folds[rows]),
        labels,
        options.seed,
    )


def _folds(wearers: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the part that each window is in: its wearer's.

    A label that would be in one part alone, which nobody else could tell, is shared among all.
    """
    folds = wearers % FOLDS
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(np.unique(folds[rows])) == 1:
            folds[rows] = np.arange(len(rows)) * FOLDS // len(rows)
    return folds


def _kernels(channels: int, random: torch.Generator) -> Tensor:
    """Return a kernel for each of `RAISED`, over channels drawn for it, [84, channels, taps]."""
    kernels = torch.zeros(len(RAISED), channels, TAPS)
    most = math.log2(min(channels, MOST_CHANNELS) + 1)
    for kernel, raised in zip(kernels, RAISED, strict=True):
        seen = int(2 ** (most * torch.rand(1, generator=random).item()))
        weights = torch.full((TAPS,), -1.0)
        weights[list(raised)] = 2.0
        kernel[torch.randperm(channels, generator=random)[:seen]] = weights
    return kernels


def _quantiles(found: Tensor, count: int) -> Tensor:
    """Return thresholds of each row of what was found, [batch, rows, time], as [rows, count].

    Each row's are other quantiles, which the golden ratio spreads evenly.
    """
    ordered = found.transpose(0, 1).flatten(1).sort(dim=1).values
    numbers = torch.arange(1, len(ordered) * count + 1, dtype=torch.float64)
    at = (numbers * (math.sqrt(5) - 1) / 2 % 1 * ordered.shape[1]).long()
    return ordered.gather(1, at.view(-1, count))


def _shares_above(found: Tensor, thresholds: Tensor) -> Tensor:
    """Return the share of the time above each threshold, [batch, rows * count]."""
    # Three times as fast as comparing to truth values and turning these into numbers.
    above = torch.empty_like(found)
    columns = thresholds[..., None].unbind(dim=1)
    return torch.cat([torch.gt(found, column, out=above).mean(dim=2) for column in columns], dim=1)


def _held_out(
    features: NDArray[np.float32], targets: NDArray[np.float64], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return what the others' ridges say of each fold, [ridges, windows, labels]."""
    found = np.zeros((len(RIDGES), *targets.shape))
    for fold in np.unique(folds):
        own = folds == fold
        for said, linear in zip(
            found, fit_ridges(features[~own], targets[~own], RIDGES), strict=True
        ):
            said[own] = linear(features[own])
    return found
