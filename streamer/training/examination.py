"""A look at what would be learnt from, before hours are spent on it."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from device_adapters.samples import SampleBatch
from streamer.datasets.dataset import UNLABELLED, Recording, Survey, Windows
from streamer.errors import TrainingError, nearest
from streamer.stream_check import MOST_SAMPLES, Severity, StreamCheck
from streamer.training.config import DataConfig
from streamer.training.data import has_window, read_content, stretches_of


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
    watch = _Watch(config.channels)
    content = read_content(config)
    if isinstance(content, Windows):
        watch.survey.add_windows(content)
    stretches = stretches_of(
        content if isinstance(content, Windows) else watch.passing(content), config, config.labels
    )
    doers: dict[str, set[str]] = {label: set() for label in config.labels}
    usable: set[str] = set()
    short: list[int] = []
    for stretch in stretches:
        if len(stretch.values) < config.window:
            short.append(len(stretch.values))
        for label in np.unique(stretch.labels[stretch.labels != UNLABELLED]).tolist():
            doers[config.labels[label]].add(stretch.wearer)
        if has_window(stretch, config.window, config.hop):
            usable.add(stretch.wearer)
    _check_held_out(config, watch.survey.wearers, usable)
    _check_labels(config, watch.survey.labels, doers)
    warnings = (*watch.warnings(), *_too_short(config, short), *_held_out_labels(config, doers))
    return Examination(watch.survey, warnings)


@dataclass(slots=True)
class _Watch:
    """Surveys recordings on their way, and keeps what a gateway would say of their streams."""

    channels: tuple[str, ...]
    survey: Survey = field(default_factory=Survey)
    damages: list[str] = field(default_factory=list)
    doubts: dict[str, list[str]] = field(default_factory=dict)

    def passing(self, recordings: Iterator[Recording]) -> Iterator[Recording]:
        for recording in recordings:
            self.survey.add(recording)
            yield recording
            self._judge(recording)
            if recording.damage:
                self.damages.append(recording.damage)

    def warnings(self) -> list[str]:
        told = [f"{damage}; learnt from until there" for damage in dict.fromkeys(self.damages)]
        for first, *others in self.doubts.values():
            told.append(first + (f" ({len(others)} more like it)" if others else ""))
        return told

    def _judge(self, recording: Recording) -> None:
        check = StreamCheck(recording.stream, self.channels, gravity=True)
        first = slice(0, MOST_SAMPLES)
        check.push(
            SampleBatch(recording.stream.device, recording.times[first], recording.values[first])
        )
        for finding in check.findings or ():
            told = finding.text
            if finding.severity is Severity.REFUSE:
                told = f"{finding.told}; a gateway refuses such streams, so check the units"
            alike = re.sub(r"[\d.]+", "", told)
            self.doubts.setdefault(alike, []).append(f"recording {recording.name!r}: {told}")


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
    config: DataConfig, occurring: Collection[str], doers: Mapping[str, Collection[str]]
) -> None:
    for label, wearers in doers.items():
        if not wearers:
            raise TrainingError(
                f"data.labels has {label!r}, but no recording in {config.sessions} has this label; "
                f"{nearest(label, sorted(occurring))}"
            )


def _too_short(config: DataConfig, short: Sequence[int]) -> Iterator[str]:
    if short:
        yield (
            f"{sum(short)} samples lie in {len(short)} unbroken stretches shorter than a window of "
            f"{config.window}, and are not learnt from"
        )


def _held_out_labels(config: DataConfig, doers: Mapping[str, Collection[str]]) -> Iterator[str]:
    held_out = {*config.validation, *config.test}
    for label, wearers in doers.items():
        if held_out.issuperset(wearers):
            yield (
                f"label {label!r} is of nobody but {', '.join(sorted(wearers))}, held out: nobody "
                "is left to learn it from"
            )
