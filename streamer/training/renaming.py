"""Sequence-level augmentation: label names that share words where a data set's own share none.

A name that begins with what activities have in common ("leg walk", "leg jump") lets the model learn
that part from all of them (SHARE, section 3.2, where a large language model writes the names).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tomli_w

from streamer.datasets.names import plain_words
from streamer.errors import LabelSetError
from streamer.share.labels import LabelSet
from streamer.training.word_vectors import Source

MAX_WORDS = 7
"""A longer name only makes the decoder slower."""

LEAST_SHARING = 0.5
"""At least this share of the labels must have a word in common with another."""

MOTIONS = {
    "leg": ("walk", "run", "jog", "jump", "climb", "ascend", "descend", "cycle", "kick", "dance"),
    "arm": ("lift", "raise", "wave", "throw", "catch", "dribble", "clap", "push", "pull"),
    "hand": (
        *("eat", "drink", "write", "type", "brush", "open", "close", "clean", "iron", "fold"),
        *("wash", "cook", "cut", "switch", "drive"),
    ),
    "body": ("sit", "stand", "lie", "sleep", "rest", "bend", "turn", "watch"),
}
"""What people do, by what mostly moves: it comes first in a suggested name."""

PARTS = {
    "leg": "leg",
    "legs": "leg",
    "knee": "leg",
    "knees": "leg",
    "foot": "leg",
    "feet": "leg",
    "arm": "arm",
    "arms": "arm",
    "elbow": "arm",
    "hand": "hand",
    "hands": "hand",
    "finger": "hand",
}
"""Words that say themselves what moves."""

LIKE_A_MOTION = 0.45
"""Cosine from which a word is taken to tell of a motion (all-MiniLM-L6-v2: walk and run 0.50)."""

FORM_OF = 0.7
"""Cosine from which a word is a form of a motion, and is replaced by it (walking and walk)."""

PARTED = {"upstairs": "up stairs", "downstairs": "down stairs"}
PASSED_OVER = frozenset({"a", "an", "and", "the", "of", "with", "from", "on", "in", "w"})


@dataclass(frozen=True, slots=True)
class Structure:
    """How much a label set shares.

    Attributes:
        labels: how many there are.
        words: in all of them together.
        vocabulary: distinct words.
        shared: distinct words that at least two labels have.
        sharing: labels that have such a word.
        nodes: of the prefix tree, the steps that decoding takes.
    """

    labels: int
    words: int
    vocabulary: int
    shared: int
    sharing: int
    nodes: int

    @classmethod
    def of(cls, names: Sequence[str]) -> "Structure":
        """Measure a label set.

        Raises:
            LabelSetError: it can't be decoded.
        """
        label_set = LabelSet.from_names(names)
        uses = Counter(word for words in label_set.labels for word in set(words))
        shared = {word for word, count in uses.items() if count > 1}
        return cls(
            labels=len(label_set.labels),
            words=sum(map(len, label_set.labels)),
            vocabulary=len(uses),
            shared=len(shared),
            sharing=sum(not shared.isdisjoint(words) for words in label_set.labels),
            nodes=len(label_set.nodes) - 1,
        )

    def __str__(self) -> str:
        """Return the measure in a line."""
        return (
            f"{self.sharing} of {self.labels} labels share a word; {self.shared} of "
            f"{self.vocabulary} words are shared; {self.words} words in a tree of {self.nodes} "
            f"steps ({self.words / self.nodes:.2f} to 1)"
        )


def find_faults(published: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Return what is wrong with suggested names, a line each; nothing if they can be used.

    A name may be the beginning of another, since the end of a label is scored like a word.
    """
    faults = [f"no name for {label!r}" for label in published if label not in names]
    faults += [f"{label!r} is none of the labels" for label in names if label not in published]
    given = {label: plain_words(names[label]) for label in published if label in names}
    for label, name in given.items():
        if not 1 <= len(name.split()) <= MAX_WORDS:
            faults.append(
                f"the name of {label!r}, {names[label]!r}, must have 1 to {MAX_WORDS} words"
            )
    twice = {name for name, count in Counter(given.values()).items() if count > 1}
    for name in sorted(twice):
        labels = ", ".join(repr(label) for label, own in given.items() if own == name)
        faults.append(f"{labels} have the same name {name!r}")
    if faults:
        return faults
    try:
        structure = Structure.of(list(given.values()))
    except LabelSetError as error:
        return [str(error)]
    if structure.labels > 1 and structure.sharing < LEAST_SHARING * structure.labels:
        faults.append(
            f"only {structure.sharing} of {structure.labels} names have a word in common with "
            f"another; at least {LEAST_SHARING:.0%} must"
        )
    return faults


def suggest_by_vectors(published: Sequence[str], source: Source) -> dict[str, str]:
    """Suggest a name for each label: what moves, then its words, forms of one motion made equal.

    The same labels always get the same names.

    Args:
        published: the labels, as plain words.
        source: where word vectors come from.
    """
    parted = {label: _content(label) for label in published}
    motions = {motion: part for part, row in MOTIONS.items() for motion in row}
    words = sorted({word for row in parted.values() for word in row} - motions.keys())
    likeness = _likeness(source, words, list(motions))
    names = {label: _name(row, motions, likeness) for label, row in parted.items()}
    return _told_apart(names)


def write_names(path: Path, names: Mapping[str, str], origin: str) -> None:
    """Write a file of names to review; `read_names` reads it."""
    head = f"# Suggested by {origin}. Review the names before they are learnt.\n\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + tomli_w.dumps({"labels": dict(names)}), encoding="utf-8")


Likeness = Callable[[str], tuple[str, float]]
"""Returns the motion that a word is most alike, and the cosine."""


def _content(label: str) -> list[str]:
    parted = " ".join(PARTED.get(word, word) for word in label.split())
    return [word for word in parted.split() if word not in PASSED_OVER] or label.split()


def _likeness(source: Source, words: Sequence[str], motions: Sequence[str]) -> Likeness:
    vectors = source([*words, *motions])
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    # A word or motion without a vector is like nothing.
    cosines = np.nan_to_num(unit[: len(words)] @ unit[len(words) :].T, nan=-1.0)

    def nearest(word: str) -> tuple[str, float]:
        for motion in motions:
            if word in _forms(motion):
                return motion, 1.0
        row = cosines[words.index(word)]
        best = int(row.argmax())
        return motions[best], float(row[best])

    return nearest


def _forms(motion: str) -> set[str]:
    """Return the regular forms of a motion: jump, jumps, jumping; cycle, cycling; run, running."""
    stem = motion.removesuffix("e")
    return {motion, f"{motion}s", f"{stem}ing", f"{motion}{motion[-1]}ing"}


def _name(words: Sequence[str], motions: Mapping[str, str], likeness: Likeness) -> str:
    nearest = [likeness(word) for word in words]
    motion, cosine = max(nearest, key=lambda found: found[1])
    named = [
        like if cosine >= FORM_OF else word
        for word, (like, cosine) in zip(words, nearest, strict=True)
        if not word.isdigit() or len(words) > 1
    ] or list(words)
    told = [PARTS[word] for word in words if word in PARTS]
    part = told[:1] or ([motions[motion]] if cosine >= LIKE_A_MOTION else ["do"])
    return " ".join(dict.fromkeys([*part, *named][:MAX_WORDS]))


def _told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """Give labels of the same name their published words, and a number if that is not enough."""
    uses = Counter(names.values())
    apart: dict[str, str] = {}
    for label, name in names.items():
        part = name.split()[0]
        own = name if uses[name] == 1 else " ".join([part, *label.split()][:MAX_WORDS])
        number, numbered = 2, own
        while numbered in apart.values():
            numbered = " ".join([*own.split()[: MAX_WORDS - 1], str(number)])
            number += 1
        apart[label] = numbered
    return apart
