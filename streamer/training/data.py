"""A folder's annotated recordings as windows to learn from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import SampleBatch
from streamer.datasets import find_dataset, read_dataset
from streamer.datasets.dataset import UNLABELLED, Recording, Windows
from streamer.datasets.folder import DESCRIPTION_FILE, read_description, read_folder
from streamer.datasets.names import LearntNames, plain_words
from streamer.errors import TrainingError
from streamer.resample import GridRuns, Resampler
from streamer.stream_fit import channel_order
from streamer.training.config import DataConfig

SAMPLES_AT_ONCE = 4096
"""Resampled together: bounds memory, and changes nothing else."""


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


def read_content(config: DataConfig) -> Iterator[Recording] | Windows:
    """Read the configuration's folder: one that can be learnt from, or a data set as published.

    Raises:
        ConfigError: the folder's description has a fault.
        DatasetError: it holds nothing to learn from, or files are malformed.
        SessionError: a session can't be read.
        UnknownDatasetError: there is no data set of that name.
    """
    imported = (config.sessions / DESCRIPTION_FILE).is_file()
    if config.dataset is not None and not imported:
        return read_dataset(find_dataset(config.dataset), config.sessions)
    return read_folder(config.sessions, read_description(config.sessions))


def read_stretches(config: DataConfig, names: tuple[str, ...]) -> list[Stretch]:
    """Read all recordings, or windows, of the configuration's folder.

    Raises:
        ConfigError: the folder's description has a fault.
        UnknownDatasetError: there is no data set of the configuration's name.
        DatasetError: there are none, or files are malformed.
        LabelSetError: two published labels would be learnt as one by mistake.
        SessionError: a session can't be read.
        StreamMismatchError: a recording lacks a channel.
        TrainingError: windows are of another rate, too short, or lack a channel.
    """
    return list(stretches_of(read_content(config), config, names))


def stretches_of(
    content: Iterable[Recording] | Windows, config: DataConfig, names: tuple[str, ...]
) -> Iterator[Stretch]:
    """Cut what was read of the configuration's folder into stretches.

    Raises:
        ConfigError: the folder's description has a fault.
        LabelSetError: two published labels would be learnt as one by mistake.
        StreamMismatchError: a recording lacks a channel.
        TrainingError: windows are of another rate, too short, or lack a channel.
    """
    rename = {**read_description(config.sessions).labels, **config.rename}
    indices = _LabelIndices(names, rename, str(config.sessions))
    if isinstance(content, Windows):
        yield from _window_stretches(content, config, indices)
        return
    for recording in content:
        if len(recording.times):
            yield from _recording_stretches(recording, config, indices)


def rejoin(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Lay windows that overlap by half end to end again, where one goes on with the other's end.

    Sets that were published as such windows can then be cut elsewhere, as recordings are.
    """
    runs: list[list[Stretch]] = []
    for stretch in stretches:
        if runs and _goes_on(runs[-1][-1], stretch):
            runs[-1].append(stretch)
        else:
            runs.append([stretch])
    return [_laid_end_to_end(run) if len(run) > 1 else run[0] for run in runs]


def cut_windows(stretches: Iterable[Stretch], window: int, stride: int, offset: int) -> WindowSet:
    """Cut windows whose middle is labelled, every `stride` samples from `offset` on.

    A stretch that has no room for the offset begins as late as it can, so that one that is as long
    as a window always gives that window.
    """
    values, starts, labels = [], [], []
    base = 0
    for stretch in stretches:
        room = len(stretch.values) - window
        begin = np.arange(min(offset, max(room, 0)), room + 1, stride)
        label = stretch.labels[begin + window // 2]
        known = label != UNLABELLED
        values.append(stretch.values)
        starts.append(base + begin[known])
        labels.append(label[known])
        base += len(stretch.values)
    return WindowSet(np.concatenate(values), np.concatenate(starts), np.concatenate(labels), window)


def middles(stretch: Stretch, window: int) -> NDArray[np.int64]:
    """Return the labels of all samples that can be the middle of a window."""
    half = window // 2
    return stretch.labels[half : max(half, len(stretch.labels) - window + half + 1)]


def has_window(stretch: Stretch, window: int, hop: int) -> bool:
    """Return whether a stretch has room for a window whose middle is labelled."""
    return len(stretch.values) >= window and len(cut_windows([stretch], window, hop, 0)) > 0


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


def _recording_stretches(
    recording: Recording, config: DataConfig, indices: "_LabelIndices"
) -> Iterator[Stretch]:
    stream, order = recording.stream, channel_order(recording.stream, config.channels, config.units)
    resampler = Resampler(config.rate_hz, len(order))
    resampler.start(0, stream.rate_hz)
    runs: list[GridRuns] = []
    for first in range(0, len(recording.times), SAMPLES_AT_ONCE):
        part = slice(first, first + SAMPLES_AT_ONCE)
        values = recording.values[part, order]
        batch = SampleBatch(stream.device, recording.times[part], values)
        runs += resampler.push([0], [batch]).each()
    known = [
        (label, annotation)
        for annotation in recording.annotations
        if (label := indices.of(annotation.label)) != UNLABELLED
    ]
    for first, values in _joined(runs):
        times = (first + np.arange(len(values))) / config.rate_hz
        labels = np.full(len(values), UNLABELLED, dtype=np.int64)
        for label, annotation in known:
            begin, end = np.searchsorted(times, (annotation.start, annotation.end))
            labels[begin:end] = label
        yield Stretch(stream.device, values, labels)


def _window_stretches(
    windows: Windows, config: DataConfig, indices: "_LabelIndices"
) -> Iterator[Stretch]:
    length = windows.values.shape[1]
    if windows.rate_hz != config.rate_hz or length < config.window:
        raise TrainingError(
            f"{config.sessions} has windows of {length} samples at {windows.rate_hz:g} Hz, which "
            f"can't become {config.window} at {config.rate_hz:g} Hz"
        )
    published = list(zip(windows.channels, windows.units, strict=True))
    wanted = list(zip(config.channels, config.units, strict=True))
    if absent := [f"{name} [{unit}]" for name, unit in wanted if (name, unit) not in published]:
        raise TrainingError(f"the windows in {config.sessions} have no {', '.join(absent)}")
    order = [published.index(channel) for channel in wanted]
    place = [indices.of(name) for name in windows.names]
    labels = np.array([*place, UNLABELLED], dtype=np.int64)[windows.labels]
    for person, values, label in zip(windows.wearers.tolist(), windows.values, labels, strict=True):
        if np.isfinite(values[:, order]).all():
            yield Stretch(person, values[:, order], np.full(length, label))


def _goes_on(before: Stretch, after: Stretch) -> bool:
    half = len(after.values) // 2
    return (
        before.wearer == after.wearer
        and len(before.values) == len(after.values)
        and np.array_equal(before.labels[-half:], after.labels[:half])
        and np.array_equal(before.values[-half:], after.values[:half])
    )


def _laid_end_to_end(run: Sequence[Stretch]) -> Stretch:
    first, *others = run
    half = len(first.values) // 2
    return Stretch(
        first.wearer,
        np.concatenate([first.values, *(other.values[half:] for other in others)]),
        np.concatenate([first.labels, *(other.labels[half:] for other in others)]),
    )


class _LabelIndices:
    """Finds which of the names a published label is learnt under."""

    def __init__(self, names: tuple[str, ...], rename: Mapping[str, str], where: str) -> None:
        self._learnt = LearntNames(rename)
        self._places = {plain_words(name): place for place, name in enumerate(names)}
        self._where = where

    def of(self, published: str) -> int:
        """Return its index, `UNLABELLED` if it is none of them.

        Raises:
            LabelSetError: it and another label have become the same words.
        """
        name = plain_words(self._learnt.name_of(published))
        if name not in self._places:
            return UNLABELLED
        self._learnt.claim(published, self._where)
        return self._places[name]


def _joined(runs: list[GridRuns]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    fresh = [number for number, run in enumerate(runs) if run.fresh[0]]
    for begin, end in pairwise([*fresh, len(runs)]):
        yield int(runs[begin].first[0]), np.concatenate([run.values for run in runs[begin:end]])
