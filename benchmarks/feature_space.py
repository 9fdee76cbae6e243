"""What encoders make of UCI-HAR's test people: features in the plane, by t-SNE.

SHARE stands beside the same encoder with label numbers for words, both trained as in
`accuracy.py`. How far the activities lie apart is told by the mean silhouette (Rousseeuw, 1987) of
the standardised features themselves, not of the picture.

    pip install -e '.[bench]'
    python benchmarks/feature_space.py --data FOLDER --figure docs/images/feature-space.png
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from accuracy import RECIPES
from streamer.training.data import WindowSet
from streamer.training.fitting import Learner
from streamer.training.word_sequences import ShareLearner
from window_models import IntegerLearner, Scores, Trained, integer_ids, share
from window_sets import WindowTask, load_task

DATASET = "uci-har"
MODELS = {"SHARE": share, "label numbers": integer_ids}
SEED = 1
PERPLEXITY = 30.0


def main() -> None:
    """Train, place, draw, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--figure", type=Path, required=True, help="draw the features here")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--work", type=Path, default=Path("runs/features"), help="checkpoints")
    arguments = parser.parse_args()
    threadpool_limits(1)
    task = load_task(DATASET, arguments.data)
    planes, figures = {}, {}
    for name, train in MODELS.items():
        trained = train(RECIPES[DATASET], task, SEED, arguments.work / f"{train.__name__}.npz")
        found = features(trained, task.test)
        figures[name] = {
            "accuracy": round(float((trained.scores.argmax(1) == task.test.labels).mean()), 4),
            "silhouette": round(float(silhouette_score(found, task.test.labels)), 4),
        }
        plane = TSNE(perplexity=PERPLEXITY, init="pca", random_state=SEED)
        planes[name] = plane.fit_transform(found)
        print(name, figures[name])
    draw(planes, task, arguments.figure)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


@torch.no_grad()
def features(trained: Trained, windows: WindowSet) -> Scores:
    """Return the encoder's features of windows, each standardised, [windows, features]."""
    assert trained.learner is not None  # noqa: S101 - both models are networks
    encoder = encoder_of(trained.learner)
    found: Scores = encoder(torch.from_numpy(windows.gather(slice(None)))).numpy()
    standardised: Scores = (found - found.mean(axis=0)) / (found.std(axis=0) + 1e-6)
    return standardised


def encoder_of(learner: Learner) -> torch.nn.Module:
    """Return the encoder inside a network."""
    if isinstance(learner, ShareLearner):
        return learner.network.encoder
    assert isinstance(learner, IntegerLearner)  # noqa: S101 - the only other one here
    return learner.encoder


def draw(planes: dict[str, NDArray[np.float32]], task: WindowTask, path: Path) -> None:
    """Draw the windows of each model, coloured by activity."""
    figure = Figure(figsize=(10, 5), dpi=110, layout="constrained")
    for axes, (name, plane) in zip(figure.subplots(1, len(planes)), planes.items(), strict=True):
        for label, activity in enumerate(task.labels):
            own = plane[task.test.labels == label]
            axes.scatter(own[:, 0], own[:, 1], s=4, label=activity)
        axes.set(title=name, xticks=[], yticks=[])
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), markerscale=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    main()
