"""Ridge regression by its definition."""

import numpy as np
import pytest

from streamer.training.ridge import fit_ridges


@pytest.mark.parametrize(("rows", "columns"), [(40, 7), (7, 40)])
def test_each_ridge_is_where_its_error_has_no_slope(rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, columns)).astype(np.float32)
    targets = rng.normal(size=(rows, 3))
    ridges = (0.5, 2.0, 200.0)
    for ridge, linear in zip(ridges, fit_ridges(features, targets, ridges), strict=True):
        slope = features.T @ (linear(features) - targets) + ridge * linear.weights
        np.testing.assert_allclose(slope, 0, atol=1e-4)
        np.testing.assert_allclose(linear.bias, targets.mean(axis=0))
