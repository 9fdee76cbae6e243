"""Labels become segments: stretches of one activity, with a start, updates and an end.

Neighbouring windows overlap and flicker where activities meet. A forward filter over the bundle's
transition matrix (the causal half of a hidden Markov model) weighs each label against what the
wearer was doing before; a segment lasts while the filter's likeliest label stays the same.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamer.messages import Label, Segment, SegmentEvent
from streamer.share.bundle import Manifest

UPDATE_SECONDS = 5.0
"""How often a segment that goes on is told about."""

MISSED_HOPS = 1.5
"""Labels further apart than this many hops have a gap between them, which ends the segment."""

LEAST_PROBABILITY = 1e-4
"""What a label that was rounded to nothing counts for: no single window may rule a label out."""

EVIDENCE_WEIGHT = 0.5
"""Overlapping windows repeat each other, so each counts for less than a whole observation. On
held-out people one half leaves half as many changes of activity as the plain labels have."""

DIGITS = 4
Probabilities = NDArray[np.float64]


@dataclass(slots=True)
class _Track:
    belief: Probabilities
    newest: float
    segment: Segment
    told: float


class SegmentTracker:
    """Follows every wearer's labels.

    Args:
        manifest: of the bundle that the labels come from.
        hop: samples between two labels of a wearer.
    """

    def __init__(self, manifest: Manifest, hop: int) -> None:
        self._names = manifest.label_set.names
        self._words = dict(zip(self._names, manifest.labels, strict=True))
        self._hop_s = hop / manifest.rate_hz
        self._transitions = _at_hop(np.array(manifest.transitions), hop / manifest.hop)
        self._tracks: dict[str, _Track] = {}

    def push(self, label: Label) -> list[Segment]:
        """Take a wearer's next label and return what it means for the wearer's segments."""
        track = self._tracks.get(label.wearer)
        if track is None:
            return [self._begin(label)]
        if label.window.middle - track.newest > MISSED_HOPS * self._hop_s:
            ended = replace(track.segment, event=SegmentEvent.END)
            return [ended, self._begin(label)]
        belief: Probabilities = (track.belief @ self._transitions) * self._evidence(label)
        belief /= belief.sum()
        if self._names[int(belief.argmax())] != track.segment.label:
            ended = replace(track.segment, event=SegmentEvent.END)
            return [ended, self._begin(label, belief)]
        return self._continue(track, label, belief)

    def _evidence(self, label: Label) -> Probabilities:
        told = {label.label: label.p} | {other.label: other.p for other in label.alternatives}
        rest = max(0.0, 1.0 - sum(told.values())) / max(1, len(self._names) - len(told))
        shares = np.array([told.get(name, rest) for name in self._names])
        evidence: Probabilities = np.maximum(shares, LEAST_PROBABILITY) ** EVIDENCE_WEIGHT
        return evidence

    def _begin(self, label: Label, belief: Probabilities | None = None) -> Segment:
        if belief is None:
            belief = self._evidence(label) / self._evidence(label).sum()
        middle = label.window.middle
        likeliest = int(belief.argmax())
        name = self._names[likeliest]
        start = round(middle - self._hop_s / 2, DIGITS)
        segment = Segment(
            event=SegmentEvent.START,
            wearer=label.wearer,
            id=f"{label.wearer}-{round(start * 1000)}",
            label=name,
            words=self._words[name],
            p=round(float(belief[likeliest]), DIGITS),
            start=start,
            end=round(middle + self._hop_s / 2, DIGITS),
            duration_s=round(self._hop_s, DIGITS),
        )
        self._tracks[label.wearer] = _Track(belief, middle, segment, told=segment.end)
        return segment

    def _continue(self, track: _Track, label: Label, belief: Probabilities) -> list[Segment]:
        middle = label.window.middle
        end = round(middle + self._hop_s / 2, DIGITS)
        track.belief, track.newest = belief, middle
        track.segment = replace(
            track.segment,
            event=SegmentEvent.UPDATE,
            p=round(float(belief.max()), DIGITS),
            end=end,
            duration_s=round(end - track.segment.start, DIGITS),
        )
        if end - track.told < UPDATE_SECONDS:
            return []
        track.told = end
        return [track.segment]


def _at_hop(transitions: Probabilities, ratio: float) -> Probabilities:
    """Return the transition matrix of another hop: leaving is proportionally likelier."""
    leaving = transitions * (1 - np.eye(len(transitions))) * ratio
    # With hops far longer than the matrix's, leaving would become certain; it stays a chance.
    leaving /= np.maximum(1.0, leaving.sum(axis=1, keepdims=True) / 0.9)
    return leaving + np.diag(1 - leaving.sum(axis=1))
