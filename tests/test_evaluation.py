"""Window metrics against hand-made cases and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from device_adapters.session_file import Annotation
from streamer.evaluation import frames
from streamer.evaluation.windows import calibration_error, fit_temperature, measure_windows
from streamer.messages import Label, TimeSpan


@given(st.integers(0, 2**31), st.integers(2, 8), st.integers(1, 200))
def test_metrics_are_those_of_scikit_learn(seed: int, labels: int, windows: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(windows, labels))
    truth = random.integers(0, labels, windows)
    metrics = measure_windows(scores, truth)
    predicted = scores.argmax(axis=1)
    assert metrics.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert metrics.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
    expected = confusion_matrix(truth, predicted, labels=range(labels))
    assert (metrics.confusion == expected).all()


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = np.tile([1.0, 0.0], (10, 1))
    assert calibration_error(sure, np.zeros(10, dtype=np.int64)) == 0
    assert calibration_error(sure, np.ones(10, dtype=np.int64)) == 1
    shared = np.tile([0.7, 0.3], (10, 1))
    truth = np.array([0] * 9 + [1])
    assert calibration_error(shared, truth) == pytest.approx(0.2)


@pytest.mark.parametrize("temperature", [0.8, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    random = np.random.default_rng(1)
    scores = random.normal(0, 3, (20_000, 4))
    shares = np.exp(scores / temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    truth = (shares.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    found = fit_temperature(scores, truth)
    assert found == pytest.approx(temperature, abs=0.1)
    assert measure_windows(scores, truth, found).calibration_error < 0.02


def test_a_label_is_credited_to_the_hop_in_the_middle_of_its_window() -> None:
    annotations = [
        Annotation("wrist", "walk", 100.0, 101.0),
        Annotation("wrist", "dance", 101.0, 101.5),
        Annotation("wrist", "sit", 101.5, 102.0),
    ]
    labels = [
        Label("wrist", (), name, (name,), 0.9, (), TimeSpan(start, start + 1), 1.0, 0, "m", n)
        for n, (start, name) in enumerate([(99.9, "walk"), (100.1, "sit"), (101.3, "sit")])
    ]
    names = ("walk", "sit")
    truth, predicted = frames.frame_indices(labels, annotations, names, rate_hz=10.0, hop=3)
    assert truth.tolist() == [0] * 10 + [1] * 5
    unknown = frames.UNKNOWN
    assert predicted[:10].tolist() == [unknown] * 3 + [0, 0, 1, 1, 1] + [unknown] * 2
    assert predicted[10:].tolist() == [unknown, unknown, 1, 1, 1]
    assert frames.confusion_matrix(truth, predicted, 2).tolist() == [[2, 3, 5], [0, 3, 2]]
    assert frames.frame_indices(labels, annotations[1:2], names, 10.0, 3)[0].size == 0
