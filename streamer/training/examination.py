"""A look at what would be learnt from, before hours are spent on it."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import SampleBatch, StreamInfo
from streamer.datasets.dataset import UNLABELLED, Recording, Survey, Windows
from streamer.errors import TrainingError, nearest
from streamer.stream_check import MOST_SAMPLES, Severity, StreamCheck
from streamer.stream_fit import LOWEST_RATE_SHARE
from streamer.training.config import DataConfig
from streamer.training.data import has_window, middles, read_content, stretches_of


@dataclass(frozen=True, slots=True)
class Examination:
    """What a configuration's data are.

    Attributes:
        survey: counts of everything.
        warnings: what can be learnt from but should not be as it is, a line each.
    """

    survey: Survey
    warnings: tuple[str, ...]


def examine(config: DataConfig) -> Examination:
    """Read what a configuration learns from, and judge whether it can be.

    Raises:
        ConfigError: the folder's description has a fault.
        UnknownDatasetError: there is no data set of the configuration's name.
        DatasetError: the folder holds nothing to learn from, or files are malformed.
        LabelSetError: two published labels would be learnt as one by mistake.
        SessionError: a session can't be read.
        StreamMismatchError: a recording lacks a channel.
        TrainingError: a label does not occur, a held-out person has no window, or windows are of
            another rate, too short, or lack a channel.
    """
    watch = _Watch(config.channels, config.rate_hz)
    content = read_content(config)
    if isinstance(content, Windows):
        watch.survey.add_windows(content)
    stretches = stretches_of(
        content if isinstance(content, Windows) else watch.passing(content), config, config.labels
    )
    occurring: set[int] = set()
    doers: dict[str, set[str]] = {label: set() for label in config.labels}
    usable: set[str] = set()
    short: list[int] = []
    for stretch in stretches:
        if len(stretch.values) < config.window:
            short.append(len(stretch.values))
        occurring |= _labels_in(stretch.labels)
        for label in _labels_in(middles(stretch, config.window)):
            doers[config.labels[label]].add(stretch.wearer)
        if has_window(stretch, config.window, config.hop):
            usable.add(stretch.wearer)
    _check_held_out(config, watch.survey.wearers, usable)
    _check_labels(config, watch.survey.labels, occurring)
    warnings = (*watch.warnings(), *_too_short(config, short), *_unlearnt(config, doers))
    return Examination(watch.survey, warnings)


def _labels_in(labels: NDArray[np.int64]) -> set[int]:
    return set(np.unique(labels[labels != UNLABELLED]).tolist())


@dataclass(slots=True)
class _Watch:
    """Surveys recordings on their way, and keeps what a gateway would say of their streams."""

    channels: tuple[str, ...]
    rate_hz: float
    survey: Survey = field(default_factory=Survey)
    empty: list[str] = field(default_factory=list)
    """Recordings without one sample that can be used."""

    doubts: dict[str, list[str]] = field(default_factory=dict)
    checks: dict[StreamInfo, StreamCheck] = field(default_factory=dict)
    """Those that have not seen enough; recordings of a stream may be short, and many."""

    kinds: dict[StreamInfo, str] = field(default_factory=dict)
    """Each wearer's streams, with the first recording of each."""

    def passing(self, recordings: Iterator[Recording]) -> Iterator[Recording]:
        for recording in recordings:
            self.survey.add(recording)
            self.kinds.setdefault(recording.stream, recording.name)
            yield recording
            if len(recording.times):
                self._judge(recording)
            else:
                self.empty.append(recording.name)

    def warnings(self) -> list[str]:
        told = [f"{damage}; learnt from until there" for damage in self.survey.damages]
        if self.empty:
            told.append(
                f"recording {self.empty[0]!r} has no sample with a value of each channel"
                + _more_like_it(self.empty[1:])
            )
        told += [first + _more_like_it(others) for first, *others in self.doubts.values()]
        return [*told, *self._differences()]

    def _differences(self) -> Iterator[str]:
        """Tell what most recordings have and is not learnt from, since others lack it."""
        lacking: dict[str, list[str]] = {}
        for channel in dict.fromkeys(name for stream in self.kinds for name in stream.channels):
            without = [name for kind, name in self.kinds.items() if channel not in kind.channels]
            if without and channel not in self.channels:
                lacking.setdefault(without[0], []).append(channel)
        for recording, channels in lacking.items():
            yield f"{', '.join(channels)} not learnt from: recording {recording!r} has none of it"
        rates = {stream.rate_hz: name for stream, name in self.kinds.items()}
        slowest = min(rates, default=self.rate_hz)
        if slowest < LOWEST_RATE_SHARE * self.rate_hz:
            yield (
                f"recording {rates[slowest]!r} is of {slowest:g} Hz, learnt from as of "
                f"{self.rate_hz:g} Hz; a gateway refuses such streams, so lower data.rate_hz"
            )
        elif len(rates) > 1:
            yield (
                f"recordings of {slowest:g} to {max(rates):g} Hz; recording {rates[slowest]!r} is "
                f"of {slowest:g} Hz"
            )

    def _new_check(self, stream: StreamInfo) -> StreamCheck:
        return StreamCheck(stream, self.channels, gravity=True, consecutive=False)

    def _judge(self, recording: Recording) -> None:
        stream = recording.stream
        check = self.checks.setdefault(stream, self._new_check(stream))
        first = slice(0, MOST_SAMPLES)
        check.push(SampleBatch(stream.device, recording.times[first], recording.values[first]))
        if check.findings is None:
            return
        del self.checks[stream]
        for finding in check.findings:
            told = finding.text
            if finding.severity is Severity.REFUSE:
                told = f"{finding.told}; a gateway refuses such streams, so check the units"
            alike = re.sub(r"[\d.]+", "", told)
            self.doubts.setdefault(alike, []).append(f"recording {recording.name!r}: {told}")


def _more_like_it(others: Sequence[str]) -> str:
    return f" ({len(others)} more like it)" if others else ""


def _check_held_out(config: DataConfig, wearers: Collection[str], usable: Collection[str]) -> None:
    for wearer in (*config.validation, *config.test):
        if wearer not in wearers:
            raise TrainingError(
                f"{wearer!r} is held out, but {config.sessions} has no recording of that name; "
                f"{nearest(wearer, sorted(wearers))}"
            )
        if wearer not in usable:
            raise TrainingError(
                f"{wearer!r} is held out, but no recording of {wearer!r} in {config.sessions} has "
                f"an unbroken stretch as long as a window of {config.window} samples "
                f"({config.window / config.rate_hz:.3g} s) with a label in its middle"
            )


def _check_labels(
    config: DataConfig, published: Collection[str], occurring: Collection[int]
) -> None:
    for number, label in enumerate(config.labels):
        if number not in occurring:
            raise TrainingError(
                f"data.labels has {label!r}, but no recording in {config.sessions} has this label; "
                f"{nearest(label, sorted(published))}"
            )


def _too_short(config: DataConfig, short: Sequence[int]) -> Iterator[str]:
    if short:
        yield (
            f"{sum(short)} samples lie in {len(short)} unbroken stretches shorter than a window of "
            f"{config.window}, and are not learnt from"
        )


def _unlearnt(config: DataConfig, doers: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Tell of labels that the model will have and that nothing is left to learn them from."""
    if len(doers) == 1:
        yield f"label {next(iter(doers))!r} is the only one: the model will say nothing else"
    held_out = {*config.validation, *config.test}
    for label, wearers in doers.items():
        if not wearers:
            yield (
                f"label {label!r} is in the middle of no window of {config.window} samples "
                f"({config.window / config.rate_hz:.3g} s): nothing is left to learn it from"
            )
        elif held_out.issuperset(wearers):
            yield (
                f"label {label!r} is of nobody but {', '.join(sorted(wearers))}, held out: nobody "
                "is left to learn it from"
            )
