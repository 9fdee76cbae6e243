"""Frame-level agreement: each label is credited to the hop in the middle of its window."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from device_adapters.session_file import Annotation
from streamer.messages import Label

UNKNOWN = -1


def frame_indices(
    labels: Iterable[Label],
    annotations: Iterable[Annotation],
    names: Sequence[str],
    rate_hz: float,
    hop: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return truth and prediction of every annotated sample of one wearer.

    Args:
        labels: of one wearer.
        annotations: of the same wearer; names that are not in `names` are passed over.
        names: the valid labels; results are indices into it, `UNKNOWN` where no label is credited.
        rate_hz: samples a second.
        hop: samples between two labels.
    """
    spans = [annotation for annotation in annotations if annotation.label in names]
    if not spans:
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing
    origin = min(span.start for span in spans)
    length = round((max(span.end for span in spans) - origin) * rate_hz)
    truth = np.full(length, UNKNOWN, dtype=np.int64)
    predicted = np.full(length, UNKNOWN, dtype=np.int64)
    for span in spans:
        begin, end = (round((time - origin) * rate_hz) for time in (span.start, span.end))
        truth[begin:end] = names.index(span.label)
    for label in labels:
        begin = round((label.window.middle - origin) * rate_hz - (hop - 1) / 2)
        predicted[max(begin, 0) : max(begin + hop, 0)] = names.index(label.label)
    known = truth != UNKNOWN
    return truth[known], predicted[known]


def truth_at(annotations: Iterable[Annotation], time: float) -> str | None:
    """Return what was annotated at a moment, None where nothing was."""
    for annotation in annotations:
        if annotation.start <= time < annotation.end:
            return annotation.label
    return None


def confusion_matrix(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return counts [classes, classes + 1]: rows are truth, the last column is without a label."""
    counts = np.zeros((classes, classes + 1), dtype=np.int64)
    np.add.at(counts, (truth, np.where(predicted == UNKNOWN, classes, predicted)), 1)
    return counts
