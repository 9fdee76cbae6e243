import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import LabelSetError
from streamer.share.labels import LabelSet

WORDS = st.sampled_from(["walk", "up", "down", "stairs", "sit", "to", "stand", "1", "2"])
LABEL_SETS = st.lists(
    st.lists(WORDS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=12, unique=True
)


def test_the_vocabulary_is_in_the_order_of_first_use() -> None:
    labels = LabelSet.from_names(["walk", "walk up stairs", "Walk down stairs", "sit"])
    assert labels.vocabulary == ("start", "end", "walk", "up", "stairs", "down", "sit")
    assert labels.names == ("walk", "walk up stairs", "walk down stairs", "sit")


def test_shared_prefixes_are_one_node() -> None:
    labels = LabelSet.from_names(["walk", "walk up stairs", "walk down stairs", "sit"])
    words = [labels.vocabulary[node.token] for node in labels.nodes]
    assert words == ["start", "walk", "sit", "up", "down", "stairs", "stairs"]
    assert [node.parent for node in labels.nodes] == [-1, 0, 0, 1, 1, 3, 4]
    assert labels.paths == ((0, 1), (0, 1, 3, 5), (0, 1, 4, 6), (0, 2))


@given(LABEL_SETS)
def test_every_path_spells_its_label(words: list[tuple[str, ...]]) -> None:
    labels = LabelSet(tuple(words))
    for label, path in zip(labels.labels, labels.paths, strict=True):
        spelt = [labels.vocabulary[labels.nodes[node].token] for node in path]
        assert spelt == ["start", *label]
    depths = [node.depth for node in labels.nodes]
    assert depths == sorted(depths)
    prefixes = {label[:length] for label in labels.labels for length in range(len(label) + 1)}
    assert len(labels.nodes) == len(prefixes)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "needs at least one"),
        (["walk", ""], "has no word"),
        (["walk", "WALK"], "stands twice"),
        (["the end"], "'end'"),
        (["wa/lk"], "'wa/lk'"),
    ],
)
def test_label_sets_that_cannot_be_decoded_are_refused(names: list[str], told: str) -> None:
    with pytest.raises(LabelSetError, match=told):
        LabelSet.from_names(names)
