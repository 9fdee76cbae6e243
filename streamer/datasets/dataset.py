"""What is known of a public data set, and the two shapes that all of them are read into."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import StreamInfo
from device_adapters.session_file import Annotation
from streamer.resample import MAX_GAP_SECONDS, are_possible

UNLABELLED = -1
"""The label index of a sample or window of which nobody says what was done."""

FIRST_SESSION_START = 946_684_800.0
"""2000-01-01T00:00:00Z: where recordings without a date begin, an hour apart."""

RESTART_SECONDS = 1.0
"""A step back in time by more than this begins another recording; by less it is disorder."""

SHORTEST_WINDOW = 8
"""Samples; of fewer nothing can be told."""

HIGHEST_RATE_HZ = 10_000
"""No wearable's motion sensor comes near."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A continuous recording of one wearer.

    Attributes:
        name: the file name of its session, without suffix.
        stream: whose samples they are, their channels, SI units and rate.
        times: seconds since the epoch, rising, float64 [n].
        values: float32 [n, channels], finite.
        annotations: what was done when; stretches may be without.
        without_reading: samples left out for a value that is missing, or that no sensor reads.
        out_of_order: samples left out because they are not later than the one before.
        damage: where its file stops being whole, if it does.
    """

    name: str
    stream: StreamInfo
    times: NDArray[np.float64]
    values: NDArray[np.float32]
    annotations: tuple[Annotation, ...]
    without_reading: int = 0
    out_of_order: int = 0
    damage: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """A set that was published as windows.

    Attributes:
        values: float32 [windows, window, channels].
        labels: index into `names`, int64 [windows]; `UNLABELLED` where unknown.
        wearers: whose each window is, [windows].
        names: the labels.
        channels: their names.
        units: their units.
        rate_hz: samples a second.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    wearers: NDArray[np.str_]
    names: tuple[str, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float


@dataclass(frozen=True, slots=True)
class Dataset:
    """A public data set.

    Attributes:
        name: what commands call it.
        title: what its authors call it, who they are, and where they published.
        licence: its terms.
        source: where it comes from.
        layout: the files that are expected, for people.
        rate_hz: samples a second.
        channels: the channels that are read, in order.
        units: their SI units.
        si_scale: what published values are multiplied by to be in these units.
        conversion: the same in words; empty if nothing is converted.
        labels: the activities, in the order of their published numbers.
        wearers: everybody in the whole set.
        recordings: recordings (or windows) in the whole set.
        window: samples in a window, as the SHARE paper or the set itself cuts them.
        test: the people on whom published figures are measured.
        read: reads the official layout.

    Raises:
        DatasetError: by `read`, if files are missing or malformed.
    """

    name: str
    title: str
    licence: str
    source: str
    layout: str
    rate_hz: float
    channels: tuple[str, ...]
    units: tuple[str, ...]
    si_scale: tuple[float, ...]
    conversion: str
    labels: tuple[str, ...]
    wearers: tuple[str, ...]
    recordings: int
    window: int
    test: tuple[str, ...]
    read: Callable[[Path], Iterator[Recording] | Windows]

    def stream(self, wearer: str) -> StreamInfo:
        """Return what is said of a wearer's stream."""
        return StreamInfo(
            wearer, self.channels, self.units, self.rate_hz, self.name, "recording", self.conversion
        )

    def to_si(self, published: NDArray[np.floating]) -> NDArray[np.float32]:
        """Convert published values [..., channels] to SI units."""
        converted: NDArray[np.float32] = (published * np.array(self.si_scale)).astype(np.float32)
        return converted


@dataclass(slots=True)
class Survey:
    """Counts of what was read of a data set."""

    wearers: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    recordings: int = 0
    samples: int = 0
    unlabelled: int = 0
    without_reading: int = 0
    out_of_order: int = 0
    gaps: int = 0
    damages: dict[str, None] = field(default_factory=dict)
    """Where files stop being whole, each told once."""

    @classmethod
    def of(cls, content: Iterable[Recording] | Windows) -> Self:
        """Return the counts of a whole content."""
        survey = cls()
        if isinstance(content, Windows):
            survey.add_windows(content)
        else:
            for recording in content:
                survey.add(recording)
        return survey

    def add(self, recording: Recording) -> None:
        """Count a recording."""
        times, rate = recording.times, recording.stream.rate_hz
        self.wearers.add(recording.stream.device)
        self.labels.update(annotation.label for annotation in recording.annotations)
        self.recordings += 1
        self.samples += len(times)
        known = np.zeros(len(times), dtype=np.bool_)
        for annotation in recording.annotations:
            begin, end = np.searchsorted(times, (annotation.start, annotation.end))
            known[begin:end] = True
        self.unlabelled += int((~known).sum())
        self.without_reading += recording.without_reading
        self.out_of_order += recording.out_of_order
        self.gaps += int((np.diff(times) - 1 / rate > MAX_GAP_SECONDS + 1e-6).sum())
        if recording.damage:
            self.damages[recording.damage] = None

    def add_windows(self, windows: Windows) -> None:
        """Count a set of windows."""
        self.wearers.update(windows.wearers.tolist())
        known = windows.labels[windows.labels != UNLABELLED]
        self.labels.update(windows.names[label] for label in np.unique(known).tolist())
        self.recordings += len(windows.values)
        self.samples += windows.values.shape[0] * windows.values.shape[1]
        partial = ~np.isfinite(windows.values).all(axis=(1, 2))
        self.without_reading += int(partial.sum()) * windows.values.shape[1]
        self.unlabelled += (len(windows.labels) - len(known)) * windows.values.shape[1]

    def __str__(self) -> str:
        """Return the counts in a line."""
        return (
            f"{len(self.wearers)} people, {self.recordings} recordings, {self.samples} samples "
            f"({self.unlabelled} without a label), {len(self.labels)} labels; left out: "
            f"{self.without_reading} samples with a missing or impossible value, "
            f"{self.out_of_order} out of order; "
            f"{self.gaps} gaps over {1000 * MAX_GAP_SECONDS:g} ms"
        )

    def missing(self, dataset: Dataset) -> list[str]:
        """Return what the whole data set has and this has not, a line each."""
        lines = [*self.damages]
        if self.recordings != dataset.recordings:
            lines.append(f"{self.recordings} recordings of {dataset.recordings}")
        if absent := [wearer for wearer in dataset.wearers if wearer not in self.wearers]:
            lines.append(f"nothing of {', '.join(absent)}")
        if absent := [label for label in dataset.labels if label not in self.labels]:
            lines.append(f"nobody does: {', '.join(absent)}")
        return lines


def hour_start(number: int) -> float:
    """Return when recording `number` is set to begin, where the data set bears no date."""
    return FIRST_SESSION_START + 3600.0 * number


def usable(
    times: NDArray[np.float64], values: NDArray[np.float32]
) -> tuple[NDArray[np.intp], int, int]:
    """Return which samples can be used.

    Args:
        times: seconds since the epoch, [n].
        values: SI units, [n, channels].

    Returns:
        Their places; how many others have a value that is missing or that no sensor reads, or no
        time; and how many of the rest are not later than all before them.
    """
    read = np.flatnonzero(np.isfinite(times) & are_possible(values).all(axis=1))
    rising = np.ones(len(read), dtype=np.bool_)
    rising[1:] = np.diff(np.maximum.accumulate(times[read])) > 0
    return read[rising], len(times) - len(read), int((~rising).sum())


def build_recording(
    name: str,
    stream: StreamInfo,
    times: NDArray[np.float64],
    values: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: Sequence[str],
    damage: str = "",
) -> Recording:
    """Leave out and count samples that can't be used, and turn labels into annotations.

    Args:
        name: of the recording.
        stream: whose it is.
        times: seconds since the epoch, [n].
        values: SI units, [n, channels].
        labels: index into `names`, or `UNLABELLED`, [n].
        names: the labels.
        damage: where its file stops being whole, if it does.
    """
    kept, without_reading, out_of_order = usable(times, values)
    times, values, labels = times[kept], values[kept], labels[kept]
    return Recording(
        name,
        stream,
        times,
        values,
        tuple(_annotations(stream, times, labels, names)),
        without_reading=without_reading,
        out_of_order=out_of_order,
        damage=damage,
    )


def _annotations(
    stream: StreamInfo, times: NDArray[np.float64], labels: NDArray[np.int64], names: Sequence[str]
) -> Iterator[Annotation]:
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    for begin, end in pairwise(edges):
        if begin < end and labels[begin] != UNLABELLED:
            until = float(times[end - 1]) + 1 / stream.rate_hz
            yield Annotation(stream.device, names[labels[begin]], float(times[begin]), until)
