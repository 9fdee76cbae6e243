"""Hop by hop equals window by window: for every pooling, encoder, hop, batch and gap."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from device_adapters.samples import SampleBatch
from device_adapters.session_file import SessionReader
from exhaustive import exhaustive_scores
from streamer.share.runtime import ShareModel
from streamer.share.streaming import StreamStates
from streamer.training.graph import kept_stages
from streamer.training.network import EncoderShape, ShareNetwork, StageShape
from test_share import WINDOW, compiled, random_network

SHAPES = {
    "paper": EncoderShape.paper(),
    "mean": EncoderShape.dilated("dense", 16, 5, (1, 2), ("mean",)),
    "maximum": EncoderShape.dilated("dense", 16, 5, (1, 2), ("maximum",)),
    "deviation": EncoderShape.dilated("separable", 16, 5, (1, 2, 4, 8), ("deviation",)),
    "attention": EncoderShape.dilated("separable", 16, 3, (1, 4), ("attention",)),
    "positives": EncoderShape.dilated("dense", 16, 3, (1, 4), ("positives",)),
    "all": EncoderShape.dilated(
        "dense", 16, 5, (1, 3), ("positives", "maximum", "attention", "deviation", "mean")
    ),
    "stem": EncoderShape.dilated(
        "dense", 16, 7, (1, 2), ("deviation",), companded=6, stem_thresholds=3
    ),
    "stem alone": EncoderShape((StageShape("dense", 12, 4),), ("maximum",), stem_thresholds=1),
    "companded": EncoderShape.dilated("dense", 16, 7, (1, 2), ("mean", "maximum"), companded=6),
    "all companded": EncoderShape((StageShape("dense", 12, 4, companded=12),), ("mean",)),
    "multi-scale": EncoderShape.dilated(
        "dense", 16, 9, (1, 2), ("mean", "maximum"), companded=6, stem_scales=(9, 2, 4)
    ),
    "a multi-scale stage": EncoderShape(
        (StageShape("dense", 12, 4), StageShape("dense", 12, 5, 2, residual=True, scales=(1, 5))),
        ("mean",),
    ),
    "a residual stem": EncoderShape((StageShape("dense", 6, 3, residual=True),), ("mean",)),
    "a separable stem": EncoderShape((StageShape("separable", 12, 5, 2),), ("maximum",)),
    "a pointwise stage": EncoderShape(
        (StageShape("dense", 12, 4), StageShape("dense", 20, 1), StageShape("separable", 8, 2, 5)),
        ("mean", "maximum"),
    ),
}
Model = tuple[ShareNetwork, ShareModel]


@pytest.fixture(scope="module")
def real_samples(real_session: Path) -> np.ndarray:
    batches = [event for event in SessionReader(real_session) if isinstance(event, SampleBatch)]
    return np.concatenate([batch.values for batch in batches])


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    made: dict[str, Model] = {}

    def model(name: str) -> Model:
        if name not in made:
            network = random_network(shape=SHAPES[name])
            made[name] = (network, compiled(network, tmp_path_factory.mktemp("bundle")))
        return made[name]

    return model


def stream(states: StreamStates, slot: int, samples: np.ndarray, hop: int) -> list[np.ndarray]:
    """Return the label scores of a stream's whole windows."""
    slots = np.array([slot])
    states.reset(slots)
    filled = np.concatenate([np.zeros((-WINDOW % hop, 6), np.float32), samples])
    hops = filled[: len(filled) // hop * hop].reshape(-1, hop, 6)
    scores = [states.step(slots, each[None]).labels[0] for each in hops]
    return scores[-(-WINDOW // hop) - 1 :]


def whole_windows(network: ShareNetwork, samples: np.ndarray, hop: int) -> np.ndarray:
    starts = np.arange(0, len(samples) - WINDOW + 1, hop)
    windows = samples[starts[:, None] + np.arange(WINDOW)]
    with torch.no_grad():
        scores: np.ndarray = exhaustive_scores(network, torch.from_numpy(windows)).numpy()
    return scores


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("hop", [1, 16, 25, 31, 64, 128, 150])
def test_streaming_equals_the_torch_model_on_whole_windows(
    model_of: Callable[[str], Model], real_samples: np.ndarray, name: str, hop: int
) -> None:
    network, model = model_of(name)
    samples = real_samples[3000 : 3000 + (300 if hop == 1 else 2000)]
    scores = np.stack(stream(StreamStates(model, hop, 1), 0, samples, hop))
    expected = whole_windows(network, samples, hop)
    assert np.abs(scores - expected).max() < 1e-4
    assert (scores.argmax(axis=1) == expected.argmax(axis=1)).all()


@settings(max_examples=25)
@given(
    hop=st.integers(1, 140),
    start=st.integers(0, 10_000),
    name=st.sampled_from(["all", "paper", "deviation"]),
)
def test_streaming_is_exact_at_every_hop(
    model_of: Callable[[str], Model], real_samples: np.ndarray, hop: int, start: int, name: str
) -> None:
    network, model = model_of(name)
    samples = real_samples[start : start + 400]
    scores = np.stack(stream(StreamStates(model, hop, 1), 0, samples, hop))
    assert np.abs(scores - whole_windows(network, samples, hop)).max() < 1e-4


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), hop=st.sampled_from([7, 16, 25]))
def test_a_stream_depends_neither_on_others_nor_on_what_was_before_a_gap(
    model_of: Callable[[str], Model], real_samples: np.ndarray, seed: int, hop: int
) -> None:
    _, model = model_of("all")
    rng = np.random.default_rng(seed)
    streams = [real_samples[1000 * n : 1000 * n + hop * 30] for n in range(6)]
    alone = [stream(StreamStates(model, hop, 1), 0, s, hop) for s in streams]
    filled = [np.concatenate([np.zeros((-WINDOW % hop, 6), np.float32), s]) for s in streams]
    crowd = StreamStates(model, hop, 6)
    position = [0] * 6
    scores: list[list[np.ndarray]] = [[] for _ in range(6)]
    while any(position[n] < 30 for n in range(6)):
        ready = [n for n in rng.permutation(6).tolist() if position[n] < 30]
        ready = ready[: rng.integers(1, len(ready) + 1)]
        if rng.random() < 0.05:
            crowd.reset(np.array(ready[:1]))
            position[ready[0]], scores[ready[0]] = 0, []
        if rng.random() < 0.1:
            crowd.grow(crowd.capacity + 5)
        parts = [filled[n][position[n] * hop : (position[n] + 1) * hop] for n in ready]
        result = crowd.step(np.array(ready), np.stack(parts))
        for row, n in enumerate(ready):
            scores[n].append(result.labels[row])
            position[n] += 1
    for n in range(6):
        together = np.stack(scores[n][-(-WINDOW // hop) - 1 :])
        assert np.abs(together - np.stack(alone[n])[: len(together)]).max() < 1e-5


def test_inputs_are_kept_where_encoding_them_again_is_more_work() -> None:
    wide = EncoderShape.dilated("dense", 64, 5, (1, 2, 4, 8), ("mean",)).stages
    assert kept_stages(9, EncoderShape.paper().stages, hop=16) == {0: 4}
    assert kept_stages(9, wide, hop=16) == {0: 6, 2: 4, 3: 8, 4: 16}
    assert kept_stages(9, wide, hop=1) == {0: 4, 1: 2, 2: 4, 3: 8, 4: 16}
    assert kept_stages(9, wide, hop=1000) == {0: 34}
    assert kept_stages(9, [StageShape("dense", 8, 1)], hop=1) == {0: 0}


def test_a_reset_slot_knows_nothing_of_before(
    model_of: Callable[[str], Model], real_samples: np.ndarray
) -> None:
    _, model = model_of("all")
    states = StreamStates(model, 25, 2)
    first = stream(states, 1, real_samples[:500], 25)
    stream(states, 1, real_samples[5000:5333], 25)
    assert np.array_equal(first, stream(states, 1, real_samples[:500], 25))


def test_memory_does_not_hide(model_of: Callable[[str], Model], bundle: Path) -> None:
    assert StreamStates(ShareModel.load(bundle), 25, 1).bytes_per_stream < 15_000
