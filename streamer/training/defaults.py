"""A training configuration for a folder that comes without one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from streamer.datasets.dataset import (
    SHORTEST_WINDOW,
    UNLABELLED,
    Recording,
    Survey,
    Windows,
)
from streamer.datasets.folder import DESCRIPTION_FILE, Description, read_description, read_folder
from streamer.datasets.names import REMEDY, LearntNames, renamed
from streamer.errors import LabelSetError, TrainingError
from streamer.sensors import Device, devices_of, places_of, triaxial_sensors
from streamer.share.labels import END, START
from streamer.stream_fit import LOWEST_RATE_SHARE
from streamer.training.config import (
    AugmentationConfig,
    DataConfig,
    NetworkConfig,
    OptimisationConfig,
    Signs,
    TrainingConfig,
)
from streamer.training.data import has_window, stretches_of
from streamer.training.trainer import read_run_config

WINDOW_SECONDS = 2.56
"""Two strides of a slow walker (UCI-HAR's choice)."""

HOP_SECONDS = 0.5
HELD_OUT_OF = 5
"""One person in so many is held out to choose the best epoch, and another to measure accuracy."""

WINDOWS_AN_EPOCH = 2000
"""What an epoch should have at least; of few recordings windows are cut closer to each other."""

CLOSEST_STRIDE = 4

LONGEST_EPOCH = 4_000_000
"""Samples that an epoch's windows have together, or hardly more, which take a core about a minute;
of long recordings windows are cut further from each other, in each epoch elsewhere."""

FEWEST_STEPS = 1000
"""Few windows are gone through more often."""

MOST_EPOCHS = 300
"""Very few windows are known by heart before there are so many steps."""

MOST_SEEN_AT_ONCE = 0.4
"""Of a window by one output of the encoder: few outputs leave little to take statistics of."""

SMOOTHING = 0.1
"""Folders are learnt by the loss over their labels, with so much of the truth spread over them."""

TEACHING = 0.5
"""Of that loss: what a teacher says who depends little on who the few people are."""

HALF_TURNED = 0.1
"""Of the windows, about each of the axes: a device's case or strap often fits the other way too."""

FEWEST_TO_MEASURE = 5
"""With fewer people everybody but one is learnt from, and no accuracy is measured."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What a folder's files say; the wearers are those with a label."""

    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    labels: tuple[str, ...]
    wearers: tuple[str, ...]
    window: int | None


def configure(folder: Path, start: Path | None = None) -> TrainingConfig:
    """Return the configuration by which a folder is learnt from if nobody says otherwise.

    Args:
        folder: what is learnt from.
        start: a finished run to begin with; rate, window and network are as there.

    Raises:
        ConfigError: the folder's description has a fault.
        DatasetError: it holds nothing to learn from, or files are malformed.
        LabelSetError: a label has no word, or a mark of the model's, or two become the same words.
        SessionError: a session can't be read.
        TrainingError: no label or not enough people are in it, or `start` is not a finished run, or
            of a higher rate.
    """
    description = read_description(folder)
    content = _read(folder, description)
    found = _find(folder, description, content)
    if not found.labels:
        raise TrainingError(f"nothing in {folder} has a label")
    begun = None if start is None else read_run_config(start)
    if begun is not None:
        found = _at_rate_of(begun.data, found, f"{folder} begins with {start}")
    usual = description.window or round(WINDOW_SECONDS * found.rate_hz)
    window = found.window or (usual if begun is None else begun.data.window)
    if window < SHORTEST_WINDOW:
        raise TrainingError(
            f"{folder} is of {found.rate_hz:g} Hz, of which {WINDOW_SECONDS:g} s are {window} "
            f"samples; give a window of {SHORTEST_WINDOW} or more in {folder / DESCRIPTION_FILE}"
        )
    everyone = DataConfig(
        name=description.name,
        licence=description.licence,
        sessions=folder,
        validation=found.wearers,
        channels=found.channels,
        units=found.units,
        rate_hz=found.rate_hz,
        window=window,
        hop=max(1, round(HOP_SECONDS * found.rate_hz)),
        labels=found.labels,
        rename=description.labels,
    )
    usable: dict[str, set[int]] = {}
    labelled: Counter[str] = Counter()
    for stretch in stretches_of(content, everyone, everyone.labels):
        if has_window(stretch, window, everyone.hop):
            occurring = np.unique(stretch.labels[stretch.labels != UNLABELLED])
            usable.setdefault(stretch.wearer, set()).update(occurring.tolist())
        labelled[stretch.wearer] += int(np.count_nonzero(stretch.labels != UNLABELLED))
    validation, test = _hold_out(everyone, usable, description, content)
    learnt = sum(count for wearer, count in labelled.items() if wearer not in test)
    data = everyone.model_copy(update={"validation": validation, "test": test})
    return TrainingConfig(
        start=start,
        data=data,
        network=_network(window) if begun is None else begun.network,
        augmentation=_augmentation(found),
        optimisation=_optimisation(learnt, window, found.window),
    )


def find_labels(folder: Path) -> tuple[str, ...]:
    """Return the labels that occur in a folder, as plain words or as its description names them.

    Raises:
        ConfigError: the folder's description has a fault.
        DatasetError: it holds nothing to learn from, or files are malformed.
        LabelSetError: a label has no word, or a mark of the model's, or two become the same words.
        SessionError: a session can't be read.
        TrainingError: the recordings have no channel in common.
    """
    description = read_description(folder)
    return _find(folder, description, _read(folder, description)).labels


def rename_labels(config: TrainingConfig, names: Mapping[str, str]) -> TrainingConfig:
    """Return the configuration with its labels learnt under other names."""
    data, augmentation = config.data, config.augmentation
    before = {old: renamed([new], names)[0] for old, new in data.rename.items()}
    changed = {"labels": renamed(data.labels, names), "rename": {**names, **before}}
    turned = {"turned_freely": renamed(augmentation.turned_freely, names)}
    return config.model_copy(
        update={
            "data": data.model_copy(update=changed),
            "augmentation": augmentation.model_copy(update=turned),
        }
    )


def move_data(config: TrainingConfig, sessions: Path) -> TrainingConfig:
    """Return the configuration with its data in another place."""
    data = config.data.model_copy(update={"sessions": sessions})
    return config.model_copy(update={"data": data})


def unnamed(labels: Sequence[str]) -> bool:
    """Return whether the labels are plain numbers, whose words mean nothing."""
    return all(word.isdigit() for label in labels for word in label.split())


def _at_rate_of(start: DataConfig, found: _Found, told: str) -> _Found:
    """Return what was found at the rate of what is begun with; published windows keep theirs."""
    if found.rate_hz < LOWEST_RATE_SHARE * start.rate_hz:
        raise TrainingError(
            f"{told}, which was trained at {start.rate_hz:g} Hz, but has recordings at "
            f"{found.rate_hz:g}; train the start at their rate"
        )
    if found.window is not None:
        return found
    return replace(found, rate_hz=start.rate_hz)


def _read(folder: Path, description: Description) -> list[Recording] | Windows:
    content = read_folder(folder, description)
    return content if isinstance(content, Windows) else list(content)


def _find(folder: Path, description: Description, content: Sequence[Recording] | Windows) -> _Found:
    learnt = LearntNames(description.labels)
    if isinstance(content, Windows):
        found = _of_windows(folder, content, learnt)
    else:
        found = _of_recordings(folder, content, learnt)
    learnt.check_given(folder / DESCRIPTION_FILE)
    for label in found.labels:
        if marks := {START, END}.intersection(label.split()):
            told = f"has the word {min(marks)!r}, which marks where every label starts or ends"
            raise LabelSetError(label, f"in {folder} {told}; {REMEDY}")
    return found


def _of_windows(folder: Path, windows: Windows, learnt: LearntNames) -> _Found:
    present = [label for label in np.unique(windows.labels).tolist() if label != UNLABELLED]
    labels = [learnt.claim(windows.names[label], str(folder)) for label in present]
    wearers = set(windows.wearers[windows.labels != UNLABELLED].tolist())
    return _Found(
        windows.channels,
        windows.units,
        windows.rate_hz,
        tuple(dict.fromkeys(labels)),
        tuple(sorted(wearers)),
        windows.values.shape[1],
    )


def _of_recordings(folder: Path, recordings: Sequence[Recording], learnt: LearntNames) -> _Found:
    streams = []
    labels: dict[str, None] = {}
    wearers = set()
    for recording in recordings:
        streams.append(recording.stream)
        where = f"recording {recording.name!r} of {folder}"
        labels.update((learnt.claim(a.label, where), None) for a in recording.annotations)
        if recording.annotations:
            wearers.add(recording.stream.device)
    units = [dict(zip(s.channels, s.units, strict=True)).items() for s in streams]
    shared = set(units[0]).intersection(*units) if units else set()
    channels = [channel for channel in units[0] if channel in shared] if units else []
    if not channels:
        raise TrainingError(f"the recordings in {folder} have no channel in common")
    return _Found(
        tuple(name for name, _ in channels),
        tuple(unit for _, unit in channels),
        min(stream.rate_hz for stream in streams),
        tuple(labels),
        tuple(sorted(wearers)),
        None,
    )


def _hold_out(
    data: DataConfig,
    wearers: Mapping[str, set[int]],
    description: Description,
    content: Sequence[Recording] | Windows,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return who chooses the best epoch, and on whom accuracy is measured.

    Args:
        data: everybody's.
        wearers: those with windows, and what each of them does.
        description: the folder's, which may name them.
        content: what was read.
    """
    test = description.test
    learn = {w: wearers[w] for w in sorted(wearers) if w not in {*test, *description.validation}}
    if not test and len(wearers) >= FEWEST_TO_MEASURE:
        test = _take_out(learn, HELD_OUT_OF - 1)
    validation = description.validation or _take_out(learn, 1)
    if not validation:
        raise TrainingError(
            f"{data.sessions} has labels of {len(data.validation)} people "
            f"({', '.join(data.validation)}), {len(wearers)} of them in an unbroken stretch as "
            f"long as a window of {data.window} samples; {len(test)} are tested on; it takes at "
            "least two others, to learn from and to choose the best epoch by; what was read: "
            f"{Survey.of(content)}"
        )
    return validation, test


def _take_out(learn: dict[str, set[int]], first: int) -> tuple[str, ...]:
    """Take one of so many, counted from the first, out of those who are learnt from; return who.

    Where nobody else does what one does, the next is taken whose labels others have as well.
    """
    everyone, taken = list(learn), []
    for place in range(first, len(everyone), HELD_OUT_OF):
        in_turn = [w for w in everyone[place:] + everyone[:place] if w in learn]
        replaceable = (w for w in in_turn if learn[w] <= _done_by_others(learn, w))
        chosen = next(replaceable, in_turn[0])
        taken.append(chosen)
        del learn[chosen]
    return tuple(sorted(taken))


def _done_by_others(wearers: Mapping[str, set[int]], one: str) -> set[int]:
    return set().union(*(labels for wearer, labels in wearers.items() if wearer != one))


def _network(window: int) -> NetworkConfig:
    """Return the default network with as many stages as suit the window."""
    network = NetworkConfig()
    while network.dilations and network.shape.receptive_field > MOST_SEEN_AT_ONCE * window:
        network = NetworkConfig(dilations=network.dilations[:-1])
    return network


def _augmentation(found: _Found) -> AugmentationConfig:
    """Return the default augmentation; what are not sensors' three axes can't be turned."""
    usual = AugmentationConfig(token=0.0)
    sensors = triaxial_sensors(found.channels)
    if not sensors:
        return usual.model_copy(update={"rotation_degrees": 0.0})
    apart = places_of(sensors, found.units)
    devices = devices_of(sensors, apart)
    return usual.model_copy(
        update={
            "turned_apart": apart,
            "symmetries": _half_turns(devices, len(found.channels)),
            "symmetry_share": HALF_TURNED / len(devices),
        }
    )


def _half_turns(devices: Sequence[Device], channels: int) -> tuple[Signs, ...]:
    """Return the signs that half a turn of a device about one of its axes gives the channels."""
    turns: list[Signs] = []
    for device in devices:
        for axis in range(3):
            turned = {axes[other] for axes in device for other in range(3) if other != axis}
            turns.append(tuple(-1 if channel in turned else 1 for channel in range(channels)))
    return tuple(turns)


def _optimisation(samples: int, window: int, published: int | None) -> OptimisationConfig:
    """Return the default optimisation, with an epoch of a fair length, and more of short ones.

    Args:
        samples: that are learnt from.
        window: samples in a window.
        published: samples in a window as it was published, where windows were.
    """
    usual = OptimisationConfig()
    stride = min(usual.stride, max(CLOSEST_STRIDE, samples // WINDOWS_AN_EPOCH))
    stride = max(stride, samples * window // LONGEST_EPOCH)
    windows = samples // (published or stride)
    often = max(1, round(FEWEST_STEPS * usual.batch / (max(windows, 1) * usual.epochs)))
    often = min(often, MOST_EPOCHS // usual.epochs)
    return OptimisationConfig(
        loss="labels",
        smoothing=SMOOTHING,
        teaching=TEACHING,
        stride=stride,
        epochs=often * usual.epochs,
        patience=often * usual.patience,
        refit=True,
    )
