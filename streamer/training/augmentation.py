"""What training changes about windows and labels so that the network learns what they share."""

from collections.abc import Sequence

import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""The target that cross-entropy passes over (its `ignore_index`)."""

WARP_KNOTS = 5
"""Moments of a window between which its speed changes linearly."""


def draw_own_words(
    labels: list[list[int]], probability: float, generator: torch.Generator
) -> list[list[int]]:
    """Token-level augmentation: replace a label by one of its own words, with a probability.

    The words that labels share so become labels of windows from all of them (SHARE, section 3.3).
    The sequence's new length is 1, and padding can't be drawn: it is added afterwards.

    Args:
        labels: the words' vocabulary indices of each label.
        probability: of a label to be replaced.
        generator: the source of randomness.
    """
    drawn = torch.rand(len(labels), generator=generator) < probability
    which = torch.rand(len(labels), generator=generator)
    return [
        [label[int(position * len(label))]] if replace else label
        for label, replace, position in zip(labels, drawn.tolist(), which.tolist(), strict=True)
    ]


def teacher_forcing(labels: list[list[int]], start: int, end: int) -> tuple[Tensor, Tensor]:
    """Return decoder inputs and targets [batch, longest + 1], targets padded with `IGNORED`."""
    longest = max(map(len, labels))
    inputs = torch.full((len(labels), longest + 1), end)
    targets = torch.full((len(labels), longest + 1), IGNORED)
    for row, label in enumerate(labels):
        inputs[row, : len(label) + 1] = torch.tensor([start, *label])
        targets[row, : len(label) + 1] = torch.tensor([*label, end])
    return inputs, targets


def turn_devices(
    windows: Tensor, devices: Sequence[Tensor], degrees: Tensor, generator: torch.Generator
) -> Tensor:
    """Rotate each device's sensors alike, about a random axis by up to `degrees`.

    Args:
        windows: [batch, time, channels].
        devices: of each the channels of its sensors' axes x, y and z, int64 [sensors, 3].
        degrees: each window's largest angle: how much askew a device may be worn, [batch].
        generator: the source of randomness.
    """
    turned = windows.clone()
    for axes in devices:
        rotations = _rotations(degrees, generator)
        turned[:, :, axes] = windows[:, :, axes] @ rotations[:, None]
    return turned


def wear_otherwise(
    windows: Tensor, symmetries: Sequence[Sequence[int]], share: float, generator: torch.Generator
) -> Tensor:
    """Turn channels' signs as if the device were worn another way, one symmetry after another.

    Args:
        windows: [batch, time, channels].
        symmetries: of each way the channels' signs, -1 or 1.
        share: probability with which each way is applied to a window, whatever the others.
        generator: the source of randomness.
    """
    turned = windows.new_ones(len(windows), 1, windows.shape[2])
    for signs in symmetries:
        applied = torch.rand(len(windows), 1, 1, generator=generator) < share
        turned = torch.where(applied, turned * windows.new_tensor(signs), turned)
    return windows * turned


def scale(windows: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Multiply each window's channels by random factors around 1."""
    shape = (windows.shape[0], 1, windows.shape[2])
    return windows * (1 + deviation * torch.randn(shape, generator=generator))


def jitter(windows: Tensor, deviations: Tensor, generator: torch.Generator) -> Tensor:
    """Add white noise of these standard deviations, one for each channel."""
    return windows + deviations * torch.randn(windows.shape, generator=generator)


def warp_time(windows: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Play a part of each window at a speed that wanders smoothly, stretched to the window.

    Time-warping after Um et al. (ICMI 2017), and slower by up to `strength` on the whole, so that
    no sample from outside the window is needed.

    Args:
        windows: [batch, time, channels].
        strength: standard deviation of the speed's logarithm, and the largest share left out.
        generator: the source of randomness.
    """
    batch, time, _ = windows.shape
    knots = strength * torch.randn(batch, 1, WARP_KNOTS, generator=generator)
    speeds = functional.interpolate(knots, time - 1, mode="linear", align_corners=True)[:, 0].exp()
    passed = functional.pad(speeds.cumsum(dim=1), (1, 0))
    played = (time - 1) * (1 - strength * torch.rand(batch, 1, generator=generator))
    begin = (time - 1 - played) * torch.rand(batch, 1, generator=generator)
    positions = begin + played * passed / passed[:, -1:]
    before = positions.long().clamp(max=time - 2)
    share = (positions - before)[:, :, None]
    rows = torch.arange(batch)[:, None]
    return windows[rows, before].lerp(windows[rows, before + 1], share)


def mix(
    windows: Tensor, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Blend each window with another of the batch (mixup, Zhang et al., ICLR 2018).

    Args:
        windows: [batch, time, channels].
        strength: both parameters of the beta distribution that shares are drawn from.
        generator: the source of randomness.

    Returns:
        The blends; the index of each window's partner [batch]; the window's own share [batch], at
        least a half.
    """
    batch = len(windows)
    partners = torch.randperm(batch, generator=generator)
    uniform = torch.rand(batch, generator=generator).double().numpy()
    share = torch.from_numpy(betaincinv(strength, strength, uniform)).float()
    own = torch.maximum(share, 1 - share)
    blended = windows[partners].lerp(windows, own[:, None, None])
    return blended, partners, own


def _rotations(degrees: Tensor, generator: torch.Generator) -> Tensor:
    """Return a rotation about a random axis by up to each of these angles, [batch, 3, 3]."""
    batch = len(degrees)
    axis = functional.normalize(torch.randn(batch, 3, generator=generator), dim=1)
    angle = torch.deg2rad(degrees[:, None] * (2 * torch.rand(batch, 1, generator=generator) - 1))
    rotations: Tensor = torch.linalg.matrix_exp(_cross_matrices(axis * angle))
    return rotations


def _cross_matrices(vectors: Tensor) -> Tensor:
    x, y, z = vectors.unbind(dim=1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=1).view(-1, 3, 3)
