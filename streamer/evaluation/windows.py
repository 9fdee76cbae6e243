"""How right, and how honest, scores of single windows are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

CONFIDENCE_BINS = 15
"""As in Guo et al., ICML 2017."""

TEMPERATURES = np.linspace(0.5, 4.0, 71)


@dataclass(frozen=True, slots=True, eq=False)
class WindowMetrics:
    """Agreement of scores with the truth, window by window.

    Attributes:
        accuracy: share of windows whose best label is the true one.
        macro_f1: mean of the F1 scores of the labels that occur, in truth or prediction.
        calibration_error: how far confidence and accuracy lie apart (`calibration_error`).
        confusion: counts [labels, labels]; rows are truth.
    """

    accuracy: float
    macro_f1: float
    calibration_error: float
    confusion: NDArray[np.int64]


def measure_windows(
    scores: NDArray[np.floating], truth: NDArray[np.int64], temperature: float = 1.0
) -> WindowMetrics:
    """Compare scores [windows, labels] with the true labels [windows]."""
    labels = scores.shape[1]
    predicted = scores.argmax(axis=1)
    confusion = np.zeros((labels, labels), dtype=np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    right = confusion.diagonal()
    occurring = confusion.sum(axis=0) + confusion.sum(axis=1)
    f1 = 2 * right[occurring > 0] / occurring[occurring > 0]
    probabilities = np.exp(log_softmax(scores / temperature, axis=1))
    return WindowMetrics(
        accuracy=float(right.sum() / len(truth)),
        macro_f1=float(f1.mean()),
        calibration_error=calibration_error(probabilities, truth),
        confusion=confusion,
    )


def calibration_error(probabilities: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017), between 0 and 1.

    Windows are put into bins of equal width by the probability of their best label; each bin's gap
    between mean probability and accuracy counts by its windows.

    Args:
        probabilities: of each label, [windows, labels].
        truth: [windows].
    """
    _, confidence, right = confidence_bins(probabilities, truth)
    return float(np.abs(confidence - right).sum() / len(truth))


def confidence_bins(
    probabilities: NDArray[np.floating], truth: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return each bin's windows, sum of their best probabilities, and right ones, [3, bins]."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
    counted = np.zeros((3, CONFIDENCE_BINS))
    np.add.at(counted.T, bin_of, np.stack([np.ones_like(confidence), confidence, right], axis=1))
    return counted


def fit_temperature(scores: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Return the temperature under which the true labels are likeliest (Guo et al., ICML 2017)."""
    rows = np.arange(len(truth))
    likelihoods = [log_softmax(scores / t, axis=1)[rows, truth].sum() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmax(likelihoods))])
