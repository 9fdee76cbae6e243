"""Hop by hop as the gateway runs it, against the torch model on whole windows, on real streams.

A finished training run is compiled; the recordings of HAPT's nine official test people go through
it together, each a stream of its own, hop by hop to its end. Every window's log-probabilities are
compared with those of the torch model on the same window alone.

    python benchmarks/equality.py --data hapt.npz --run runs/waist --json FILE
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from exhaustive import exhaustive_scores
from streamer.datasets.compact import read_compact
from streamer.datasets.dataset import Windows
from streamer.datasets.hapt import HAPT
from streamer.share.runtime import ShareModel
from streamer.share.streaming import StreamStates
from streamer.training.compiler import compile_run
from streamer.training.network import ShareNetwork
from streamer.training.trainer import load_run

TOLERANCE = 1e-4
TORCH_BATCH = 256
Samples = NDArray[np.float32]


def main() -> None:
    """Compare, print, write the figures, and fail where they are not equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="hapt.npz")
    parser.add_argument("--run", type=Path, required=True, help="a finished training run")
    parser.add_argument("--hops", type=int, nargs="+", default=[16, 25], help="samples in a hop")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle.onnx"
        compile_run(arguments.run, bundle, "equality")
        model = ShareModel.load(bundle)
    _, network, _ = load_run(arguments.run)
    recordings = read_compact(HAPT, arguments.data)
    assert not isinstance(recordings, Windows)  # noqa: S101 - tells the type checker
    streams = [recording.values for recording in recordings if recording.stream.device in HAPT.test]
    figures = [compare(model, network.eval(), streams, hop) for hop in arguments.hops]
    table = Table(title=f"{len(streams)} recordings: hop by hop against torch on whole windows")
    for heading in figures[0]:
        table.add_column(heading.replace("_", " "), justify="right")
    for figure in figures:
        table.add_row(*map(str, figure.values()))
    Console().print(table)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    equal = all(
        figure["largest_difference"] < TOLERANCE and not figure["other_labels"]
        for figure in figures
    )
    sys.exit(0 if equal else f"not equal: {TOLERANCE} is allowed, and no other label")


def compare(
    model: ShareModel, network: ShareNetwork, streams: Sequence[Samples], hop: int
) -> dict[str, float]:
    """Return how many windows were compared, and how far they are apart."""
    scores = stream_scores(model, streams, hop)
    window, differences, others = model.manifest.window, [0.0], 0
    for samples, own in track(list(zip(streams, scores, strict=True)), f"hop {hop}"):
        expected = torch_scores(network, samples, np.arange(len(own)) * hop, window)
        differences.append(float(np.abs(own - expected).max()))
        others += int((own.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return {
        "hop": hop,
        "windows": sum(map(len, scores)),
        "largest_difference": max(differences),
        "other_labels": others,
    }


def stream_scores(
    model: ShareModel, streams: Sequence[Samples], hop: int
) -> list[NDArray[np.float32]]:
    """Return the scores of all streams' whole windows, [windows, labels]; the first from sample 0.

    Every step is taken by all streams that still have a hop.
    """
    window, slots = model.manifest.window, np.arange(len(streams))
    states = StreamStates(model, hop, len(streams))
    states.reset(slots)
    filled = [np.pad(samples, ((-window % hop, 0), (0, 0))) for samples in streams]
    counts = np.array([len(samples) // hop for samples in filled])
    scores: list[list[NDArray[np.float32]]] = [[] for _ in streams]
    for number in range(int(counts.max())):
        ready = slots[counts > number]
        hops = [filled[slot][number * hop : (number + 1) * hop] for slot in ready]
        labels = states.step(ready, np.stack(hops)).labels
        for slot, own in zip(ready, labels, strict=True):
            scores[slot].append(own)
    first = -(-window // hop) - 1
    return [np.stack(own[first:]) for own in scores]


@torch.no_grad()
def torch_scores(
    network: ShareNetwork, samples: Samples, starts: NDArray[np.intp], window: int
) -> NDArray[np.float32]:
    """Return the torch model's scores of these windows, [windows, labels]."""
    parts = [
        exhaustive_scores(network, torch.from_numpy(samples[own[:, None] + np.arange(window)]))
        for own in np.split(starts, range(TORCH_BATCH, len(starts), TORCH_BATCH))
    ]
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    main()
