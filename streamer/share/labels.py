"""Labels as word sequences: the vocabulary they are written in and the prefix tree they share."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from streamer.errors import LabelSetError

START = "start"
"""The token that begins every decoding."""

END = "end"
"""The token that ends every label, so that one label may be the beginning of another."""

_WORD = re.compile(r"[a-z0-9]+(?:[-'][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Node:
    """A prefix that at least one label begins with; node 0 is the empty one.

    Attributes:
        token: vocabulary index of the prefix's last word; `start` for the root.
        parent: index of the prefix without its last word; -1 for the root.
        depth: number of words.
    """

    token: int
    parent: int
    depth: int


@dataclass(frozen=True)
class LabelSet:
    """The valid labels, in a fixed order.

    Attributes:
        labels: each label's words.

    Raises:
        LabelSetError: a label is empty, has a malformed word, or stands twice.
    """

    labels: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for number, words in enumerate(self.labels):
            name = " ".join(words)
            if not words:
                raise LabelSetError(name, "has no word")
            for word in words:
                if not _WORD.fullmatch(word) or word in {START, END}:
                    raise LabelSetError(
                        name,
                        f"has the word {word!r}; words are lower-case letters and digits, "
                        f"and neither {START!r} nor {END!r}",
                    )
            if words in self.labels[:number]:
                raise LabelSetError(name, "stands twice")
        if not self.labels:
            raise LabelSetError("", "is missing: a label set needs at least one")

    @classmethod
    def from_names(cls, names: Iterable[str]) -> "LabelSet":
        """Split names such as `walk up stairs` into words, in lower case."""
        return cls(tuple(tuple(name.lower().split()) for name in names))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Each label's words in one string."""
        return tuple(" ".join(words) for words in self.labels)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """`start`, `end`, then every word in the order of its first use."""
        return tuple(dict.fromkeys([START, END, *(w for words in self.labels for w in words)]))

    def tokens(self, words: Iterable[str]) -> list[int]:
        """Return the vocabulary indices of these words."""
        return [self.vocabulary.index(word) for word in words]

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The prefix tree, level by level: a parent comes before its children."""
        prefixes: dict[tuple[str, ...], int] = {(): 0}
        nodes = [Node(self.vocabulary.index(START), -1, 0)]
        for depth in range(1, max(map(len, self.labels)) + 1):
            for words in self.labels:
                prefix = words[:depth]
                if len(prefix) == depth and prefix not in prefixes:
                    prefixes[prefix] = len(nodes)
                    token = self.vocabulary.index(prefix[-1])
                    nodes.append(Node(token, prefixes[prefix[:-1]], depth))
        return tuple(nodes)

    @cached_property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """For each label the nodes of its prefixes, from the root to the whole label."""
        return tuple(self._path(words) for words in self.labels)

    @cached_property
    def steps(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each label what writes it: every node of its path with the token that comes next."""
        (end,) = self.tokens([END])
        following = ((*self.tokens(words), end) for words in self.labels)
        return tuple(
            tuple(zip(path, tokens, strict=True))
            for path, tokens in zip(self.paths, following, strict=True)
        )

    def _path(self, words: tuple[str, ...]) -> tuple[int, ...]:
        path = [0]
        for token in self.tokens(words):
            path.append(self._children[path[-1], token])
        return tuple(path)

    @cached_property
    def _children(self) -> dict[tuple[int, int], int]:
        return {(node.parent, node.token): index for index, node in enumerate(self.nodes)}
