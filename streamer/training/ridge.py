"""Ridge regression, for several ridges at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """What features, [rows, features], come to.

    Attributes:
        weights: [features, targets].
        bias: [targets].
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the targets, [rows, targets]."""
        found: NDArray[np.float64] = features @ self.weights + self.bias
        return found


def fit_ridges(
    features: NDArray[np.float32], targets: NDArray[np.float64], ridges: Sequence[float]
) -> list[Linear]:
    """Return for each ridge what fits best, by the smaller of two equal systems.

    The features are taken as centred: the bias is the targets' mean.

    Args:
        features: [rows, features].
        targets: [rows, targets].
        ridges: how much each weight's square counts beside the squared errors.
    """
    bias = targets.mean(axis=0)
    centred = targets - bias
    rows, columns = features.shape
    if columns <= rows:
        square, right = features.T @ features, features.T @ centred
        found = [_solved(square, ridge, right) for ridge in ridges]
    else:
        square = features @ features.T
        found = [features.T @ _solved(square, ridge, centred) for ridge in ridges]
    return [Linear(weights, bias) for weights in found]


def _solved(
    square: NDArray[np.float32], ridge: float, right: NDArray[np.float64]
) -> NDArray[np.float64]:
    solved: NDArray[np.float64] = cho_solve(cho_factor(square + ridge * np.eye(len(square))), right)
    return solved
