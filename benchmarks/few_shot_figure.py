"""Draws accuracy against the share of the training windows, from the files of `accuracy.py`.

python benchmarks/few_shot_figure.py --out docs/images/few-shot.png
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accuracy import FRACTIONS, RESULTS, Row
from window_sets import LOADERS

SHARES = (*FRACTIONS, 1.0)

MODELS = {
    "share": "SHARE",
    "share-pretrained": "SHARE, begun with other sets",
    "integer-ids": "the same encoder, label numbers",
    "minirocket": "MiniRocket and ridge",
}


def main() -> None:
    """Draw a panel for each set of which something was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    measured = [
        name for name in LOADERS if any(set(points(name, model)) - {1.0} for model in MODELS)
    ]
    if not measured:
        parser.error(f"{RESULTS} has no row of fewer windows; accuracy.py --fractions makes them")
    figure = Figure(figsize=(5.5 * len(measured), 4), dpi=120, layout="constrained")
    for axes, dataset in zip(
        figure.subplots(1, len(measured), squeeze=False)[0], measured, strict=True
    ):
        draw(axes, dataset)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out)


def points(dataset: str, model: str) -> dict[float, list[float]]:
    """Return the seeds' accuracies at each share that was measured."""
    found = {share: Row(dataset, model, share).read().get("accuracy") for share in SHARES}
    return {share: accuracies for share, accuracies in found.items() if accuracies}


def draw(axes: Axes, dataset: str) -> None:
    """Draw each model's mean over seeds, and a standard deviation to either side."""
    for number, (model, name) in enumerate(MODELS.items()):
        found = points(dataset, model)
        if found:
            percent = [100 * share for share in found]
            means = np.array([np.mean(accuracies) for accuracies in found.values()])
            spreads = np.array([np.std(accuracies) for accuracies in found.values()])
            colour = f"C{number}"
            axes.plot(percent, means, marker="o", label=name, color=colour)
            axes.fill_between(percent, means - spreads, means + spreads, alpha=0.2, color=colour)
    ticks = [100 * share for share in SHARES]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(title=dataset, xlabel="percent of the training windows", ylabel="accuracy")
    axes.legend()


if __name__ == "__main__":
    main()
