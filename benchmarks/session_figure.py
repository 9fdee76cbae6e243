"""Draws what the gateway says of a session against what the wearer truly did.

python benchmarks/session_figure.py --out docs/images/session.png
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from device_adapters.samples import SampleBatch
from device_adapters.session_file import SessionReader, read_annotations
from streamer.demo import demo_session
from streamer.evaluation.frames import truth_at
from streamer.recognizer import Recognizer

RIGHT, WRONG, UNJUDGED = "#1a7f37", "#cf222e", "#8c959f"


def main() -> None:
    """Replay and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--session", type=Path, default=demo_session())
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    recognizer = Recognizer.load("waist")
    names = recognizer.manifest.label_set.names
    annotations = read_annotations(arguments.session)
    batches = (e for e in SessionReader(arguments.session) if isinstance(e, SampleBatch))
    labels = recognizer.push_all(batches)
    origin = labels[0].window.start
    mpl.rcParams["font.size"] = 10
    figure, axes = plt.subplots(figsize=(11, 4.2), dpi=130, layout="constrained")
    for annotation in annotations:
        axes.barh(
            names.index(annotation.label),
            annotation.end - annotation.start,
            left=annotation.start - origin,
            height=0.8,
            color="#d0d7de",
        )
    for label in labels:
        truth = truth_at(annotations, label.window.middle)
        colour = UNJUDGED if truth is None else RIGHT if truth == label.label else WRONG
        axes.scatter(
            label.window.middle - origin,
            names.index(label.label),
            s=4 + 14 * label.p,
            color=colour,
            linewidths=0,
        )
    for colour, meaning in ((RIGHT, "right"), (WRONG, "wrong"), (UNJUDGED, "not annotated")):
        axes.scatter([], [], s=18, color=colour, label=f"label, {meaning}")
    axes.barh([0], [0], color="#d0d7de", label="what the wearer did")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.set_xlim(0, labels[-1].window.end - origin)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out)


if __name__ == "__main__":
    main()
