"""Activity names: as plain lower-case words, and replaced by others from a file."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from streamer.config_file import Section, read_config
from streamer.errors import ConfigError


class LabelNames(Section):
    """A file of names.

    Attributes:
        labels: the name that each published name is replaced by.
    """

    labels: dict[str, str]


def plain_words(name: str) -> str:
    """Return a name's words in lower case: `WALKING_UPSTAIRS` is `walking upstairs`.

    Accents are dropped, `OpenDoor` is two words; what is left of a name in another script may be
    nothing.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", ascii_name)
    return " ".join(re.findall(r"[a-z0-9]+", parted.lower()))


def read_names(path: Path, published: Iterable[str] = ()) -> dict[str, str]:
    """Read the table `[labels]` of a file; both sides as plain words.

    Args:
        path: the file (TOML).
        published: names that must be among those replaced.

    Raises:
        ConfigError: it can't be read, or lacks a name.
    """
    names = {
        plain_words(old): plain_words(new)
        for old, new in read_config(path, LabelNames).labels.items()
    }
    for name in published:
        if plain_words(name) not in names:
            raise ConfigError(path, "labels", f"has no name for {name!r}")
    for old, new in names.items():
        if not new:
            raise ConfigError(path, f"labels.{old}", "has no word of letters a to z or digits")
    return names


def renamed(labels: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return labels under their new names, each once, in the order of their first use."""
    return tuple(dict.fromkeys(names.get(plain_words(label), label) for label in labels))
