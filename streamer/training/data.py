"""Annotated sessions as windows to learn from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import SampleBatch, StreamInfo
from device_adapters.session_file import Annotation, SessionReader
from streamer.errors import TrainingError
from streamer.resample import GridRuns, Resampler
from streamer.stream_fit import channel_order
from streamer.training.config import DataConfig

UNLABELLED = -1


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """An unbroken stretch of one wearer's samples on the model's grid.

    Attributes:
        wearer: whose.
        values: float32 [n, channels] in SI units.
        labels: the true label of each sample, `UNLABELLED` where unknown, int64 [n].
    """

    wearer: str
    values: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class WindowSet:
    """Windows into stretches laid end to end.

    Attributes:
        values: all samples, float32 [n, channels].
        starts: where windows begin, int64 [windows].
        labels: the label at each window's middle, int64 [windows].
        window: samples in a window.
    """

    values: NDArray[np.float32]
    starts: NDArray[np.int64]
    labels: NDArray[np.int64]
    window: int

    def __len__(self) -> int:
        return len(self.starts)

    def gather(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the samples of these windows, float32 [rows, window, channels]."""
        values: NDArray[np.float32] = self.values[self.starts[rows, None] + np.arange(self.window)]
        return values


def read_stretches(config: DataConfig, names: tuple[str, ...]) -> list[Stretch]:
    """Read all sessions of the configuration's folder.

    Raises:
        TrainingError: there are none.
        SessionError: one can't be read.
        StreamMismatchError: a session lacks a channel.
    """
    paths = sorted(config.sessions.glob("*.mcap"))
    if not paths:
        raise TrainingError(
            f"no session (*.mcap) in {config.sessions}; `streamer import` makes them"
        )
    return [stretch for path in paths for stretch in _session_stretches(path, config, names)]


def cut_windows(stretches: Iterable[Stretch], window: int, stride: int, offset: int) -> WindowSet:
    """Cut windows whose middle is labelled, every `stride` samples from `offset` on."""
    values, starts, labels = [], [], []
    base = 0
    for stretch in stretches:
        begin = np.arange(offset, len(stretch.values) - window + 1, stride)
        label = stretch.labels[begin + window // 2]
        known = label != UNLABELLED
        values.append(stretch.values)
        starts.append(base + begin[known])
        labels.append(label[known])
        base += len(stretch.values)
    return WindowSet(np.concatenate(values), np.concatenate(starts), np.concatenate(labels), window)


def transition_matrix(stretches: Iterable[Stretch], labels: int, hop: int) -> NDArray[np.float64]:
    """Return the probability of each label a hop after each other, [labels, labels], rows sum to 1.

    Every pair counts once more than it was seen (Laplace's rule): what training people did not do
    in a row, others may.
    """
    counts: NDArray[np.float64] = np.ones((labels, labels))
    for stretch in stretches:
        before, after = stretch.labels[:-hop], stretch.labels[hop:]
        known = (before != UNLABELLED) & (after != UNLABELLED)
        np.add.at(counts, (before[known], after[known]), 1 / hop)
    counts /= counts.sum(axis=1, keepdims=True)
    return counts


def _session_stretches(path: Path, config: DataConfig, names: tuple[str, ...]) -> Iterator[Stretch]:
    orders: dict[str, list[int]] = {}
    slots: dict[str, int] = {}
    resampler = Resampler(config.rate_hz, len(config.channels))
    runs: dict[str, list[GridRuns]] = {}
    annotations: list[Annotation] = []
    for event in SessionReader(path):
        if isinstance(event, StreamInfo):
            orders[event.device] = channel_order(event, config.channels, config.units)
            slots[event.device] = len(slots)
            resampler.start(slots[event.device], event.rate_hz)
            runs[event.device] = []
        elif isinstance(event, SampleBatch):
            values = event.values[:, orders[event.device]]
            batch = SampleBatch(event.device, event.times, values, event.lost)
            runs[event.device] += resampler.push([slots[event.device]], [batch]).each()
        elif isinstance(event, Annotation):
            annotations.append(event)
    for wearer, grid in runs.items():
        own = [a for a in annotations if a.wearer == wearer and a.label in names]
        for first, values in _joined(grid):
            times = (first + np.arange(len(values))) / config.rate_hz
            labels = np.full(len(values), UNLABELLED, dtype=np.int64)
            for annotation in own:
                inside = (times >= annotation.start) & (times < annotation.end)
                labels[inside] = names.index(annotation.label)
            yield Stretch(wearer, values, labels)


def _joined(runs: list[GridRuns]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    fresh = [number for number, run in enumerate(runs) if run.fresh[0]]
    for begin, end in zip(fresh, [*fresh[1:], len(runs)], strict=True):
        yield int(runs[begin].first[0]), np.concatenate([run.values for run in runs[begin:end]])
