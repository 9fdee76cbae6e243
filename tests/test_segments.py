from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from streamer.messages import Alternative, Label, Segment, SegmentEvent, TimeSpan
from streamer.segments import UPDATE_SECONDS, SegmentTracker
from streamer.share.runtime import ShareModel

HOP_S = 0.5
START, UPDATE, END = SegmentEvent.START, SegmentEvent.UPDATE, SegmentEvent.END


@pytest.fixture(scope="module")
def model(bundle: Path) -> ShareModel:
    return ShareModel.load(bundle)


@pytest.fixture
def tracker(model: ShareModel) -> SegmentTracker:
    return SegmentTracker(model.manifest, hop=25)


def label(name: str, hop: int, *, instead: str = "", wearer: str = "anna") -> Label:
    """Return a sure label, or a doubtful one that might have been another `instead`."""
    start = 1000 + hop * HOP_S
    p = 0.6 if instead else 0.97
    others = (Alternative(instead, 0.38),) if instead else ()
    window = TimeSpan(start, start + 2.54)
    return Label(wearer, (wearer,), name, tuple(name.split()), p, others, window, 1, 0, "m", hop)


def events(told: list[Segment]) -> list[tuple[str, str]]:
    return [(segment.event, segment.label) for segment in told]


def test_a_segment_starts_goes_on_and_ends(tracker: SegmentTracker) -> None:
    told = [s for hop in range(40) for s in tracker.push([label("walk", hop)])]
    assert events(told)[0] == (START, "walk")
    assert {event for event, _ in events(told)[1:]} == {UPDATE}
    ends = [segment.end for segment in told]
    assert all(b - a >= UPDATE_SECONDS - 1e-6 for a, b in pairwise(ends))
    told += [s for hop in range(40, 50) for s in tracker.push([label("lie", hop)])]
    (ended,) = [segment for segment in told if segment.event == END]
    (second,) = [segment for segment in told if events([segment]) == [(START, "lie")]]
    assert ended.id == told[0].id != second.id
    assert ended.duration_s == pytest.approx(ended.end - ended.start)
    assert ended.start == told[0].start == pytest.approx(1000 + 1.27 - HOP_S / 2)
    assert 19.5 <= ended.duration_s <= 22


def test_a_single_doubtful_window_does_not_end_a_segment(tracker: SegmentTracker) -> None:
    labels = [label("walk", hop) for hop in range(21)]
    labels[10] = label("lie", 10, instead="walk")
    told = [segment for each in labels for segment in tracker.push([each])]
    assert {segment.label for segment in told} == {"walk"}
    assert [segment.event for segment in told].count(START) == 1


def test_a_gap_ends_the_segment(tracker: SegmentTracker) -> None:
    tracker.push([label("walk", 0)])
    told = tracker.push([label("walk", 20)])
    assert events(told) == [(END, "walk"), (START, "walk")]
    assert told[0].id != told[1].id


def test_the_end_of_a_wearers_labels_ends_the_segment(tracker: SegmentTracker) -> None:
    last = [s for hop in range(3) for s in tracker.push([label("walk", hop)])][-1]
    tracker.push([label("lie", 0, wearer="ben")])
    (ended,) = tracker.end("anna")
    assert events([ended]) == [(END, "walk")]
    assert (ended.id, ended.end - last.end) == (last.id, 2 * HOP_S)
    assert tracker.end("anna") == []
    assert events(tracker.push([label("walk", 3)])) == [(START, "walk")]
    assert sorted((s.wearer, s.event) for s in tracker.end_all()) == [("anna", END), ("ben", END)]
    assert tracker.end_all() == []


def test_wearers_do_not_mix(tracker: SegmentTracker) -> None:
    told = []
    for hop in range(6):
        told += tracker.push([label("walk", hop, wearer="anna")])
        told += tracker.push([label("lie", hop, wearer="ben")])
    assert [(s.wearer, s.label) for s in told] == [("anna", "walk"), ("ben", "lie")]


def test_other_hops_change_how_soon_activities_change(model: ShareModel) -> None:
    slow = SegmentTracker(model.manifest, hop=500)
    assert events(slow.push([label("walk", 0)])) == [(START, "walk")]
    assert events(slow.push([label("lie", 20)])) == [(END, "walk"), (START, "lie")]


def test_labels_mean_the_same_one_by_one_and_all_at_once(model: ShareModel) -> None:
    rng = np.random.default_rng(5)
    names = model.manifest.label_set.names
    labels = [
        label(str(rng.choice(names)), hop, wearer=f"wearer-{number}")
        for hop in range(30)
        for number in range(40)
    ]
    one_by_one = SegmentTracker(model.manifest, hop=25)
    together = SegmentTracker(model.manifest, hop=25).push(labels)
    apart = [told for each in labels for told in one_by_one.push([each])]
    assert sorted(together, key=attrgetter("wearer")) == sorted(apart, key=attrgetter("wearer"))
