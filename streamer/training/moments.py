"""Means and deviations of channels, whatever the length of the recordings."""

import numpy as np
from numpy.typing import NDArray

STILL = 1e-4
"""Of a channel's size: what deviates less is a sensor that is stuck, and the rounding of sums. The
noise of a sensor that is on is several times as large."""


def moments(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the deviation of each channel of samples, [n, channels].

    The deviation of a channel that never changes is 0. Sums are float64: over twenty million rows
    those of float32 are off by percents.
    """
    mean = samples.mean(axis=0, dtype=np.float64)
    square = np.einsum("ij,ij->j", samples, samples, dtype=np.float64) / len(samples)
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    deviation[deviation <= STILL * np.sqrt(square)] = 0.0
    return mean.astype(np.float32), deviation.astype(np.float32)
