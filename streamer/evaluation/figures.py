"""Figures of a training run (needs the extra `train`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import softmax

from streamer.evaluation.windows import calibration_error, confidence_bins


def draw_curves(epochs: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the loss and the held-out figures of each epoch."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = range(1, len(epochs) + 1)
    left.plot(numbers, [epoch["loss"] for epoch in epochs])
    left.set(xlabel="epoch", ylabel="training loss")
    for name in sorted(set(epochs[0]) - {"loss"}):
        right.plot(numbers, [epoch[name] for epoch in epochs], label=name.replace("_", "-"))
    right.set(xlabel="epoch", ylabel="on held-out people")
    right.legend()
    figure.savefig(path, dpi=120)


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Draw the percentages of each true label's windows, [labels, labels], rows are truth."""
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.5 + 0.45 * len(names)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=90)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="label", ylabel="true activity, percent of its windows")
    for row, column in np.argwhere(shares >= 0.5):
        share = shares[row, column]
        colour = "white" if share > 60 else "black"
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(path, dpi=120)


def draw_calibration(
    scores: NDArray[np.floating], truth: NDArray[np.int64], temperature: float, path: Path
) -> None:
    """Draw accuracy against confidence, without the temperature and with it.

    Args:
        scores: of each label, [windows, labels].
        truth: [windows].
        temperature: that scores are divided by.
        path: the picture's file.
    """
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    for name, divisor in (("temperature 1", 1.0), (f"temperature {temperature:g}", temperature)):
        probabilities = softmax(scores / divisor, axis=1)
        windows, confidence, right = confidence_bins(probabilities, truth)
        error = calibration_error(probabilities, truth)
        counted = windows > 0
        axes.plot(
            confidence[counted] / windows[counted],
            right[counted] / windows[counted],
            marker="o",
            label=f"{name}, expected error {error:.3f}",
        )
    axes.set(xlabel="probability of the label", ylabel="share of such windows that are right")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=120)
