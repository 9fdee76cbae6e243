"""Frame-level agreement on the continuous HAPT recordings of the nine official test people.

Every recording becomes a session and is replayed through the gateway, as `streamer replay` does.
Each label is credited to the hop in the middle of its window; every annotated sample counts, also
those that no label covers.

    python benchmarks/hapt_streams.py --data hapt.npz --json FILE
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from typing_extensions import override

from device_adapters.replay import ReplayAdapter, ReplayOptions
from device_adapters.session_file import read_annotations
from streamer.datasets.compact import read_compact
from streamer.datasets.dataset import Windows
from streamer.datasets.hapt import HAPT
from streamer.datasets.sessions import write_session
from streamer.evaluation.frames import confusion_matrix, frame_indices
from streamer.gateway import Gateway
from streamer.messages import Label
from streamer.publishers import Publisher, PublisherStatistics
from streamer.recognizer import Recognizer
from streamer.share.packaged import DEFAULT_BUNDLE

BASIC_ACTIVITIES = ("walk", "walk up stairs", "walk down stairs", "sit", "stand", "lie")
Frames = tuple[NDArray[np.int64], NDArray[np.int64]]


class Collector(Publisher):
    """Keeps the labels."""

    def __init__(self) -> None:
        self.labels: list[Label] = []

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(self, *exc_info: object) -> None:
        pass

    @override
    async def publish(self, label: Label) -> None:
        self.labels.append(label)

    @override
    def statistics(self) -> PublisherStatistics:
        return PublisherStatistics(len(self.labels))


def main() -> None:
    """Replay, compare, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="hapt.npz")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, help="a path, or a packaged name")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    names = Recognizer.load(arguments.bundle).manifest.label_set.names
    with tempfile.TemporaryDirectory() as folder:
        sessions = import_sessions(arguments.data, Path(folder))
        frames = {
            session.stem: replay(session, arguments.bundle)
            for session in track(sessions, "replaying")
        }
    truth, predicted = joined(list(frames.values()))
    basic = np.isin(truth, [names.index(name) for name in BASIC_ACTIVITIES])
    figures = {
        "frame_accuracy_basic": agreement(truth[basic], predicted[basic]),
        "frame_accuracy_all": agreement(truth, predicted),
        "per_person": {
            person: agreement(*joined([f for name, f in frames.items() if name.endswith(person)]))
            for person in sorted({name.rpartition("_")[2] for name in frames})
        },
    }
    show(names, truth, predicted, figures)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def import_sessions(data: Path, out: Path) -> list[Path]:
    """Write the test people's sessions and return their paths."""
    paths = []
    recordings = read_compact(HAPT, data)
    assert not isinstance(recordings, Windows)  # noqa: S101 - tells the type checker
    for recording in recordings:
        if recording.stream.device in HAPT.test:
            paths.append(out / f"{recording.name}.mcap")
            write_session(recording, paths[-1])
    return paths


def replay(session: Path, bundle: str) -> Frames:
    """Return truth and prediction of every annotated sample of a session."""
    recognizer, collector = Recognizer.load(bundle), Collector()
    adapter = ReplayAdapter(ReplayOptions(file=session, speed="max"))
    asyncio.run(Gateway([adapter], recognizer, [collector]).run())
    manifest = recognizer.manifest
    return frame_indices(
        collector.labels,
        read_annotations(session),
        manifest.label_set.names,
        manifest.rate_hz,
        recognizer.hop,
    )


def joined(frames: Sequence[Frames]) -> Frames:
    """Return several sessions' truth and prediction, one after the other."""
    return np.concatenate([f[0] for f in frames]), np.concatenate([f[1] for f in frames])


def agreement(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Return the share of samples whose prediction is true."""
    return round(float((truth == predicted).mean()), 4)


def show(
    names: Sequence[str],
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    figures: dict[str, object],
) -> None:
    """Print the confusion matrix in percent of each true activity, and the figures."""
    counts = confusion_matrix(truth, predicted, len(names))
    table = Table(title="percent of each true activity's samples (rows) by label (columns)")
    table.add_column("true")
    for number in range(len(names)):
        table.add_column(str(number), justify="right")
    table.add_column("none", justify="right")
    for number, row in enumerate(counts):
        shares = 100 * row / max(1, row.sum())
        table.add_row(
            f"{number} {names[number]}", *(f"{s:.0f}" if s >= 0.5 else "" for s in shares)
        )
    console = Console(width=120)
    console.print(table)
    console.print_json(json.dumps(figures))


if __name__ == "__main__":
    main()
