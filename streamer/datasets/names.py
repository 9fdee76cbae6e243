"""Activity names: as plain lower-case words, and replaced by others from a file."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from streamer.config_file import Section, read_config
from streamer.errors import ConfigError, LabelSetError, nearest

REMEDY = "give it a name of its own in the table [labels] of dataset.toml"
NO_WORD = "has no word of letters a to z or digits"

SPELT_OUT = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})
"""Latin letters that are no letter with an accent; `ß` is `ss` without its case."""


def label_key(name: str) -> str:
    """Return a published label without its case, and with one blank between its words.

    Labels that differ in nothing else are the same: `Walk-Up`, `walk_up` and `WalkUp`; `1` and
    `1.0`. A sign is no hyphen: `-1` and `lift -` keep theirs.
    """
    parted = re.sub(r"(?<=[a-zß-öø-ÿ])(?=[A-ZÀ-ÖØ-Þ])", " ", unicodedata.normalize("NFKC", name))
    words = " ".join(parted.casefold().replace("_", " ").split())
    key = re.sub(r"(?<=\w)(?: ?-+ |-+)(?=\w)", " ", words)
    return without_point(key) or name


def without_point(text: str) -> str:
    """Return `1` for `1.0`, as whole numbers are written where some are missing; else the text."""
    whole = re.fullmatch(r"([+-]?\d+)\.0*", text)
    return whole[1] if whole else text


def plain_words(name: str) -> str:
    """Return a name's words in lower case: `WALKING_UPSTAIRS` is `walking upstairs`.

    Accents are dropped, `OpenDoor` is two words; what is left of a name in another script may be
    nothing.
    """
    spelt_out = unicodedata.normalize("NFKD", label_key(name).translate(SPELT_OUT))
    return " ".join(re.findall(r"[a-z0-9]+", spelt_out.encode("ascii", "ignore").decode()))


def _by_key(names: dict[str, str]) -> dict[str, str]:
    """Return names by their labels' keys, as plain words."""
    spelt: dict[str, str] = {}
    for label in names:
        other = spelt.setdefault(label_key(label), label)
        if other != label:
            raise ValueError(f"{other!r} and {label!r} are the same label, which has one name")
    return {key: plain_words(names[label]) for key, label in spelt.items()}


GivenNames = Annotated[dict[str, str], AfterValidator(_by_key)]
"""A table of names for labels: however those are spelt, by `label_key` and as plain words."""


class LabelNames(Section):
    """A file of names.

    Attributes:
        labels: the name that each published name is replaced by.
    """

    labels: GivenNames


class LearntNames:
    """Finds the names under which published labels are learnt.

    Args:
        given: names for some of them, by `label_key` or as plain words; the others are learnt as
            their plain words.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._claims: dict[str, str] = {}

    def name_of(self, published: str) -> str:
        """Return the name of a label; nothing if it has no word and none is given."""
        entry = find_entry(published, self._given)
        return self._given.get(entry, entry)

    def claim(self, published: str, where: str) -> str:
        """Return the name of a label that is learnt.

        Args:
            published: the label.
            where: what it was found in, for errors.

        Raises:
            LabelSetError: it has no word, or another label has become the same words.
        """
        entry, key = find_entry(published, self._given), label_key(published)
        if not entry:
            raise LabelSetError(published, f"in {where} {NO_WORD}; {REMEDY}")
        other = self._claims.setdefault(entry, key)
        if other != key:
            raise LabelSetError(
                published, f"in {where} becomes {entry!r}, and so does {other!r}; {REMEDY}"
            )
        return self._given.get(entry, entry)

    def check_given(self, path: Path) -> None:
        """Check that each name that `path` gives has a word, and that its label was claimed.

        Raises:
            ConfigError: one was not; the message tells the nearest that was.
        """
        claimed = list(self._claims.values())
        for entry, name in self._given.items():
            if not name:
                raise ConfigError(path, f"labels.{entry}", NO_WORD)
            if entry not in self._claims:
                raise ConfigError(
                    path,
                    f"labels.{entry}",
                    f"no recording has this label; {nearest(entry, claimed)}",
                )


def find_entry(published: str, names: Mapping[str, str]) -> str:
    """Return under what a label stands in a table of names: its key, or else its plain words."""
    key = label_key(published)
    return key if key in names else plain_words(published)


def read_names(path: Path, published: Iterable[str] = ()) -> dict[str, str]:
    """Read the table `[labels]` of a file; the new names as plain words.

    Args:
        path: the file (TOML).
        published: names that must be among those replaced.

    Raises:
        ConfigError: it can't be read, or lacks a name.
    """
    names = read_config(path, LabelNames).labels
    for name in published:
        if find_entry(name, names) not in names:
            raise ConfigError(path, "labels", f"has no name for {name!r}")
    for old, new in names.items():
        if not new:
            raise ConfigError(path, f"labels.{old}", NO_WORD)
    return names


def renamed(labels: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return labels under their new names, each once, in the order of their first use."""
    return tuple(dict.fromkeys(names.get(find_entry(label, names), label) for label in labels))
