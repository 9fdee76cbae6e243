"""The public sets and splits on which window accuracy is compared, from compressed NumPy files.

uci_har.npz           official windows (128 samples, half overlapping), official people
usc_had.npz           100 samples, no overlap, inside one trial; people 1-10 and 11-14
wisdm2019_watch.npz   200 samples, no overlap, inside one label; people up to and above 1640
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from device_adapters.frames import IMU
from streamer.datasets import find_dataset
from streamer.training.data import Stretch, WindowSet, rejoin

LONG_TAIL = "long-tailed"
TAIL_RATIO = 100
"""How many times the rarest label's windows a long-tailed set keeps of the most frequent one."""

FOLDS = 3
"""Of the training people, each scored by what the others teach."""

TO_START_FROM = {
    "uci-har": ("usc-had",),
    "usc-had": ("uci-har",),
    "wisdm-watch": ("uci-har", "usc-had"),
}
"""The other sets that are worn alike, at the waist; for the watch, which has none, both."""

NAMED_OTHERWISE = {
    "uci-har": {"sleep": "lie"},
    "usc-had": {"lie": "sleep"},
    "wisdm-watch": {"sleep": "lie"},
}
"""What a set calls otherwise than those to start from, as `configs/labels` has it too."""


@dataclass(frozen=True, slots=True)
class WindowTask:
    """One set with its split.

    Attributes:
        name: of the set.
        labels: the activities' names.
        window: samples in a window.
        stretches: unbroken stretches of the training people, one label each.
        training: the training people's windows, as published or cut without overlap.
        test: the test people's windows.
        stride: samples between two training windows cut from the stretches.
    """

    name: str
    labels: tuple[str, ...]
    window: int
    stretches: tuple[Stretch, ...]
    training: WindowSet
    test: WindowSet
    stride: int


def load_task(name: str, folder: Path) -> WindowTask:
    """Read a set from the folder that holds the `.npz` files."""
    return LOADERS[name](folder)


def subset(task: WindowTask, fraction: float | str, seed: int) -> WindowTask:
    """Return the task with this share of each label's training windows, or a long tail of them.

    Windows are drawn at random, at least one of each label, and stay in the order of the set's
    people; they alone may be learnt from.
    """
    if fraction == 1.0:
        return task
    random = np.random.default_rng(seed)
    labels = task.training.labels
    counts = np.bincount(labels, minlength=len(task.labels))
    if fraction == LONG_TAIL:
        ranks = random.permutation(len(counts)) / max(1, len(counts) - 1)
        keep = counts.max() * TAIL_RATIO**-ranks
    else:
        keep = counts * float(fraction)
    drawn = [
        random.permutation(np.flatnonzero(labels == label))[: max(1, round(keep[label]))]
        for label in range(len(counts))
    ]
    chosen = np.sort(np.concatenate(drawn))
    kept = replace(task.training, starts=task.training.starts[chosen], labels=labels[chosen])
    stretches = tuple(
        Stretch("", values, np.full(task.window, label))
        for values, label in zip(kept.gather(slice(None)), kept.labels, strict=True)
    )
    return replace(task, training=kept, stretches=stretches)


def held_out(task: WindowTask, fold: int) -> WindowTask:
    """Return the task of the training people alone: every third of them is scored.

    Args:
        task: the whole set's.
        fold: 1 to `FOLDS`; which of three neighbours it is.
    """
    people = sorted({stretch.wearer for stretch in task.stretches}, key=int)
    scored = {*people[fold - 1 :: FOLDS]}
    learnt = tuple(own for own in task.stretches if own.wearer not in scored)
    unseen = [own for own in task.stretches if own.wearer in scored]
    training = _whole_windows(learnt, task.window)
    return replace(
        task, stretches=learnt, training=training, test=_whole_windows(unseen, task.window)
    )


def other_sets(name: str, folder: Path) -> tuple[tuple[str, ...], list[Stretch]]:
    """Return labels and stretches of the training people of the sets to start from.

    They have the channels that all sets have, those of `IMU`, at the rate and in the units of the
    set `name`.
    """
    here = find_dataset(name)
    tasks = [load_task(other, folder) for other in TO_START_FROM[name]]
    other_names = NAMED_OTHERWISE[name]
    named = [[other_names.get(label, label) for label in task.labels] for task in tasks]
    labels = tuple(dict.fromkeys(chain.from_iterable(named)))
    stretches = []
    for task, own in zip(tasks, named, strict=True):
        there = find_dataset(task.name)
        order = [there.channels.index(channel) for channel in IMU.channels]
        places = [here.channels.index(channel) for channel in IMU.channels]
        factors = np.array(there.si_scale)[order] / np.array(here.si_scale)[places]
        ratio = Fraction(here.rate_hz) / Fraction(there.rate_hz)
        numbers = [labels.index(label) for label in own]
        for stretch in task.stretches:
            values = resample_poly(
                stretch.values[:, order] * factors,
                ratio.numerator,
                ratio.denominator,
                padtype="line",
            ).astype(np.float32)
            label = numbers[stretch.labels[0]]
            stretches.append(_stretch(f"{task.name} {stretch.wearer}", values, label))
    return labels, stretches


def _uci_har(folder: Path) -> WindowTask:
    with np.load(folder / "uci_har.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    windows, labels = arrays["X_train"], arrays["y_train"].astype(np.int64)
    people = arrays["subject_train"]
    published = zip(people.tolist(), windows, labels.tolist(), strict=True)
    stretches = rejoin(_stretch(str(person), values, label) for person, values, label in published)
    return WindowTask(
        name="uci-har",
        labels=("walk", "walk up stairs", "walk down stairs", "sit", "stand", "lie"),
        window=windows.shape[1],
        stretches=tuple(stretches),
        training=_window_set(windows, labels),
        test=_window_set(arrays["X_test"], arrays["y_test"].astype(np.int64)),
        stride=windows.shape[1] // 2,
    )


def _usc_had(folder: Path) -> WindowTask:
    labels = (
        *("walk forward", "walk left", "walk right", "walk up stairs", "walk down stairs"),
        *("run forward", "jump up", "sit", "stand", "sleep", "elevator up", "elevator down"),
    )
    return _continuous("usc-had", folder / "usc_had.npz", labels, 100, last_training_person=10)


def _wisdm(folder: Path) -> WindowTask:
    labels = (
        *("walk", "jog", "stairs", "sit", "stand", "type", "brush teeth", "eat soup", "eat chips"),
        *("eat pasta", "drink from cup", "eat sandwich", "kick soccer ball", "catch tennis ball"),
        *("dribble basketball", "write", "clap", "fold clothes"),
    )
    file = folder / "wisdm2019_watch.npz"
    return _continuous("wisdm-watch", file, labels, 200, last_training_person=1640)


def _continuous(
    name: str, file: Path, labels: tuple[str, ...], window: int, last_training_person: int
) -> WindowTask:
    stretches = [s for s in _label_stretches(file) if len(s.values) >= window]
    learn = tuple(s for s in stretches if int(s.wearer) <= last_training_person)
    test = [s for s in stretches if int(s.wearer) > last_training_person]
    return WindowTask(
        name,
        labels,
        window,
        learn,
        _whole_windows(learn, window),
        _whole_windows(test, window),
        stride=window,
    )


def _label_stretches(file: Path) -> Iterator[Stretch]:
    with np.load(file, allow_pickle=False) as arrays:
        values, labels = arrays["X"], arrays["y"].astype(np.int64)
        scale = arrays["scale"] if "scale" in arrays.files else np.float32(1)
        offsets, people = arrays["offsets"], arrays["subject"]
    for number, (first, after) in enumerate(pairwise(offsets.tolist())):
        own = labels[first:after]
        edges = [0, *(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
        for begin, end in pairwise(edges):
            if own[begin] >= 0:
                part = (values[first + begin : first + end] * scale).astype(np.float32)
                yield _stretch(str(people[number]), part, int(own[begin]))


def _stretch(person: str, values: NDArray[np.float32], label: int) -> Stretch:
    return Stretch(person, values, np.full(len(values), label))


def _whole_windows(stretches: Iterable[Stretch], window: int) -> WindowSet:
    windows, labels = [], []
    for stretch in stretches:
        count = len(stretch.values) // window
        windows.append(stretch.values[: count * window].reshape(count, window, -1))
        labels.append(stretch.labels[: count * window : window])
    return _window_set(np.concatenate(windows), np.concatenate(labels))


def _window_set(windows: NDArray[np.float32], labels: NDArray[np.int64]) -> WindowSet:
    count, window, channels = windows.shape
    values = np.ascontiguousarray(windows, dtype=np.float32).reshape(-1, channels)
    return WindowSet(values, np.arange(count) * window, labels, window)


LOADERS: dict[str, Callable[[Path], WindowTask]] = {
    "uci-har": _uci_har,
    "usc-had": _usc_had,
    "wisdm-watch": _wisdm,
}
