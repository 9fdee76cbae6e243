"""What training changes about windows and labels so that the network learns what they share."""

import torch
from torch import Tensor

IGNORED = -100
"""The target that cross-entropy passes over (its `ignore_index`)."""


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


def turn_sensors(windows: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Rotate every three-axis sensor of a window alike, about a random axis by up to `degrees`.

    Args:
        windows: [batch, time, channels], channels a multiple of three, three axes each.
        degrees: the largest angle: how much askew a device may be worn.
        generator: the source of randomness.
    """
    batch, time, channels = windows.shape
    axis = torch.nn.functional.normalize(torch.randn(batch, 3, generator=generator), dim=1)
    angle = torch.deg2rad(degrees * (2 * torch.rand(batch, 1, generator=generator) - 1))
    rotation: Tensor = torch.linalg.matrix_exp(_cross_matrices(axis * angle))
    turned = windows.view(batch, time, channels // 3, 3) @ rotation[:, None]
    return turned.reshape(batch, time, channels)


def scale(windows: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Multiply each window's channels by random factors around 1."""
    shape = (windows.shape[0], 1, windows.shape[2])
    return windows * (1 + deviation * torch.randn(shape, generator=generator))


def jitter(windows: Tensor, deviations: Tensor, generator: torch.Generator) -> Tensor:
    """Add white noise of these standard deviations, one for each channel."""
    return windows + deviations * torch.randn(windows.shape, generator=generator)


def _cross_matrices(vectors: Tensor) -> Tensor:
    x, y, z = vectors.unbind(dim=1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=1).view(-1, 3, 3)
