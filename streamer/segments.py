"""Labels become segments: stretches of one activity, with a start, updates and an end.

Neighbouring windows overlap and flicker where activities meet. A forward filter over the bundle's
transition matrix (the causal half of a hidden Markov model) weighs each label against what the
wearer was doing before; a segment lasts while the filter's likeliest label stays the same.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.messages import Label, Segment, SegmentEvent
from streamer.share.bundle import Manifest
from streamer.slots import FIRST_SLOTS, Slots, grown

UPDATE_SECONDS = 5.0
"""How often a segment that goes on is told about."""

MISSED_HOPS = 1.5
"""Labels further apart than this many hops have a gap between them, which ends the segment."""

LEAST_PROBABILITY = 1e-4
"""What a label that was rounded to nothing counts for: no single window may rule a label out."""

# Overlapping windows repeat each other, so each counts for less than a whole observation: by the
# power of one half, which on held-out people leaves half as many changes of activity as the plain
# labels have.

DIGITS = 4
Probabilities = NDArray[np.float64]


class SegmentTracker:
    """Follows every wearer's labels.

    Args:
        manifest: of the bundle that the labels come from.
        hop: samples between two labels of a wearer.
    """

    def __init__(self, manifest: Manifest, hop: int) -> None:
        self._names = manifest.label_set.names
        self._number = {name: number for number, name in enumerate(self._names)}
        self._words = manifest.labels
        self._hop_s = hop / manifest.rate_hz
        self._transitions = _at_hop(np.array(manifest.transitions), hop / manifest.hop)
        self._slots = Slots()
        self._belief = np.zeros((FIRST_SLOTS, len(self._names)))
        self._label = np.zeros(FIRST_SLOTS, dtype=np.intp)
        self._start = np.zeros(FIRST_SLOTS)
        self._end = np.zeros(FIRST_SLOTS)
        self._told = np.zeros(FIRST_SLOTS)

    def push(self, labels: Sequence[Label]) -> list[Segment]:
        """Take wearers' next labels; return what they mean, a wearer's oldest first."""
        return [told for group in _one_of_each(labels) for told in self._push(group)]

    def end(self, wearer: str) -> list[Segment]:
        """Forget a wearer; return the end of the segment, if there is one."""
        if wearer not in self._slots:
            return []
        ended = self._segment(SegmentEvent.END, wearer)
        self._end[self._slots.remove(wearer)] = 0
        return [ended]

    def end_all(self) -> list[Segment]:
        """Forget all wearers; return the ends of their segments."""
        return [told for wearer in list(self._slots) for told in self.end(wearer)]

    def _push(self, labels: Sequence[Label]) -> list[Segment]:
        slots = np.array([self._slot(label.wearer) for label in labels])
        middles = np.array([label.window.middle for label in labels])
        ends = (middles + self._hop_s / 2).round(DIGITS)
        known = self._end[slots] > 0
        hops = (ends - self._end[slots]) / self._hop_s
        # Not after a gap, nor where the host's clock was set back.
        follows = known & (hops > 0) & (hops <= MISSED_HOPS)
        belief = self._evidence(labels)
        belief[follows] *= _product(self._belief[slots[follows]], self._transitions)
        belief /= belief.sum(axis=1, keepdims=True)
        likeliest = belief.argmax(axis=1)
        same = follows & (likeliest == self._label[slots])
        due = same & (ends - self._told[slots] >= UPDATE_SECONDS)

        ended = np.flatnonzero(known & ~same).tolist()
        told = [self._segment(SegmentEvent.END, labels[row].wearer) for row in ended]
        self._belief[slots] = belief
        self._label[slots] = likeliest
        self._end[slots] = ends
        begun = slots[~same]
        self._start[begun] = (middles[~same] - self._hop_s / 2).round(DIGITS)
        self._told[slots[~same | due]] = ends[~same | due]
        for row in np.flatnonzero(~same | due).tolist():
            event = SegmentEvent.UPDATE if same[row] else SegmentEvent.START
            told.append(self._segment(event, labels[row].wearer))
        return told

    def _slot(self, wearer: str) -> int:
        if wearer in self._slots:
            return self._slots[wearer]
        slot = self._slots.add(wearer)
        if self._slots.capacity > len(self._label):
            self._belief = grown(self._belief, self._slots.capacity)
            self._label = grown(self._label, self._slots.capacity)
            self._start = grown(self._start, self._slots.capacity)
            self._end = grown(self._end, self._slots.capacity)
            self._told = grown(self._told, self._slots.capacity)
        return slot

    def _evidence(self, labels: Sequence[Label]) -> Probabilities:
        """Return what each label says of every activity, [labels, activities].

        By what the messages hold, so that whoever reads them can follow.
        """
        size = len(self._names)
        numbers: list[int] = []
        told: list[float] = []
        for label in labels:
            numbers.append(self._number[label.label])
            told.append(label.p)
            for other in label.alternatives:
                numbers.append(self._number[other.label])
                told.append(other.p)
        counts = np.array([1 + len(label.alternatives) for label in labels])
        rows = np.repeat(np.arange(len(labels)), counts)
        untold = np.maximum(0.0, 1.0 - np.bincount(rows, told)) / np.maximum(1, size - counts)
        shares = np.repeat(untold, size).reshape(len(labels), size)
        shares[rows, numbers] = told
        evidence: Probabilities = np.sqrt(np.maximum(shares, LEAST_PROBABILITY))
        return evidence

    def _segment(self, event: SegmentEvent, wearer: str) -> Segment:
        """Return what is known of the wearer's segment now."""
        slot = self._slots[wearer]
        label, start, end = int(self._label[slot]), float(self._start[slot]), float(self._end[slot])
        return Segment(
            event=event,
            wearer=wearer,
            id=f"{wearer}-{round(start * 1000)}",
            label=self._names[label],
            words=self._words[label],
            p=round(float(self._belief[slot, label]), DIGITS),
            start=start,
            end=end,
            duration_s=round(end - start, DIGITS),
        )


def _one_of_each(labels: Sequence[Label]) -> Iterator[list[Label]]:
    """Cut the labels where a wearer would come a second time."""
    group: dict[str, Label] = {}
    for label in labels:
        if label.wearer in group:
            yield list(group.values())
            group = {}
        group[label.wearer] = label
    if group:
        yield list(group.values())


def _product(beliefs: Probabilities, transitions: Probabilities) -> Probabilities:
    """Return the matrix product, each row summed in the same order whatever the others."""
    total = np.zeros_like(beliefs)
    for label, row in enumerate(transitions):
        total += beliefs[:, label, None] * row
    return total


def _at_hop(transitions: Probabilities, ratio: float) -> Probabilities:
    """Return the transition matrix of another hop: leaving is proportionally likelier."""
    leaving = transitions * (1 - np.eye(len(transitions))) * ratio
    # With hops far longer than the matrix's, leaving would become certain; it stays a chance.
    leaving /= np.maximum(1.0, leaving.sum(axis=1, keepdims=True) / 0.9)
    return leaving + np.diag(1 - leaving.sum(axis=1))
