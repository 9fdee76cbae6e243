import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import MessageError
from streamer.messages import Alternative, Label, Segment, SegmentEvent, TimeSpan, parse_label

LABEL = Label(
    wearer="anna",
    devices=("wrist",),
    label="walk up stairs",
    words=("walk", "up", "stairs"),
    p=0.91,
    alternatives=(Alternative("walk", 0.08),),
    window=TimeSpan(10.0, 12.54),
    observed=1.0,
    lost=0,
    model="waist-12345678",
    seq=3,
)


def test_the_message_is_as_documented() -> None:
    assert orjson.loads(LABEL.to_json()) == {
        "wearer": "anna",
        "devices": ["wrist"],
        "label": "walk up stairs",
        "words": ["walk", "up", "stairs"],
        "p": 0.91,
        "alternatives": [{"label": "walk", "p": 0.08}],
        "window": {"start": 10.0, "end": 12.54},
        "observed": 1.0,
        "lost": 0,
        "model": "waist-12345678",
        "seq": 3,
    }


def test_a_label_comes_back_from_its_message() -> None:
    assert parse_label("har/home/anna/activity", LABEL.to_json()) == LABEL


@given(st.binary(max_size=200))
def test_what_is_no_label_is_told_with_its_topic(payload: bytes) -> None:
    with pytest.raises(MessageError, match="har/x/y/activity"):
        parse_label("har/x/y/activity", payload)


def test_what_is_nested_too_deep_is_no_label() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    payload = LABEL.to_json().replace(b"{", b'{"x":' + deep + b",", 1)
    with pytest.raises(MessageError, match="har/x/y/activity"):
        parse_label("har/x/y/activity", payload)


@pytest.mark.parametrize(
    "changed",
    [
        {"wearer": "a/b"},
        {"wearer": "\x1b[2J"},
        {"devices": [""]},
        {"label": "\x1b[2J"},
        {"words": ["walk\n"]},
        {"p": 1e9},
        {"p": -0.1},
        {"observed": 1.5},
        {"alternatives": [{"label": "sit", "p": 2}]},
        {"alternatives": [{"label": "\a", "p": 0.5}]},
        {"window": {"start": 0.0, "end": 1e300}},
        {"window": {"start": -1e12, "end": 0.0}},
    ],
)
def test_labels_that_cannot_be_are_refused(changed: dict[str, object]) -> None:
    payload = orjson.dumps(orjson.loads(LABEL.to_json()) | changed)
    with pytest.raises(MessageError, match=next(iter(changed))):
        parse_label("har/x/y/activity", payload)


def test_a_segment_says_what_has_become_of_it() -> None:
    segment = Segment(
        SegmentEvent.END, "anna", "anna-10000", "walk", ("walk",), 0.9, 10.0, 15.0, 5.0
    )
    message = orjson.loads(segment.to_json())
    assert message["event"] == "end"
    assert message["duration_s"] == 5.0
