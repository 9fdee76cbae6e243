"""Makes sessions of HAPT recordings that come in one compressed NumPy file.

The file holds the recordings one after another: `X` [samples, 6] (g and rad/s), `y` (activity from
0, -1 where unlabelled), `offsets`, `subject` and `rec` (such as `exp01_user01`) of each recording.

    python benchmarks/import_hapt_npz.py --data hapt.npz --out sessions/hapt
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.datasets.hapt import HaptRecording, write_session


def main() -> None:
    """Write one session for each recording."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the .npz file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sessions")
    arguments = parser.parse_args()
    sessions = import_sessions(arguments.data, arguments.out)
    print(f"{len(sessions)} sessions in {arguments.out}")


def import_sessions(data: Path, out: Path, people: frozenset[int] | None = None) -> list[Path]:
    """Write the sessions of these people (of all by default) and return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for recording in read_npz(data):
        if people is None or recording.person in people:
            path = out / f"{recording.session_name}.mcap"
            write_session(recording, path)
            paths.append(path)
    return paths


def read_npz(path: Path) -> Iterator[HaptRecording]:
    """Yield the recordings of the compressed NumPy file."""
    with np.load(path, allow_pickle=False) as arrays:
        values, labels, offsets = arrays["X"], arrays["y"], arrays["offsets"]
        people, names = arrays["subject"], arrays["rec"]
        scale = arrays["scale"] if "scale" in arrays.files else 1.0
    for number, (begin, end) in enumerate(pairwise(offsets)):
        yield HaptRecording(
            experiment=int(str(names[number])[3:5]),
            person=int(people[number]),
            values=(values[begin:end] * scale).astype(np.float64),
            spans=tuple(_spans(labels[begin:end])),
        )


def _spans(labels: NDArray[np.int16]) -> Iterator[tuple[int, int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    for begin, end in pairwise(edges):
        if labels[begin] >= 0:
            yield int(labels[begin]) + 1, begin, end


if __name__ == "__main__":
    main()
