"""Figures of a training run (needs the extra `train`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


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
