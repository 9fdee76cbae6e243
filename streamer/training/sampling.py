"""Training windows that are cut elsewhere in every epoch."""

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.datasets.dataset import UNLABELLED
from streamer.training.data import Stretch, WindowSet


class WindowSampler:
    """Cuts a window at random around every `stride` samples of each stretch.

    A stretch of just one window always gives that window, so that sets which come as windows serve
    as well as recordings.

    Args:
        stretches: each at least a window long.
        window: samples in a window.
        stride: samples between two windows, before each is moved by up to as many.
    """

    def __init__(self, stretches: Iterable[Stretch], window: int, stride: int) -> None:
        kept = list(stretches)
        self.values = np.concatenate([stretch.values for stretch in kept])
        self._labels = np.concatenate([stretch.labels for stretch in kept])
        self._window, self._stride = window, stride
        begin = np.cumsum([0, *(len(stretch.labels) for stretch in kept)])
        grids = [
            np.arange(first, after - window + 1, stride)
            for first, after in itertools.pairwise(begin)
        ]
        self._grid = np.concatenate(grids)
        self._last = np.repeat(begin[1:] - window, [len(grid) for grid in grids])

    def digest(self) -> str:
        """Return a hash of all that windows are cut from."""
        hashed = hashlib.sha256()
        for array in (self.values, self._labels, self._grid, self._last):
            hashed.update(np.ascontiguousarray(array).data)
        return hashed.hexdigest()

    def label_counts(self, labels: int) -> NDArray[np.int64]:
        """Return how many unmoved windows there are of each label, [labels]."""
        return np.bincount(self._cut(self._grid).labels, minlength=labels)

    def epoch(self, generator: torch.Generator) -> WindowSet:
        """Return the windows of one epoch: those whose middle is labelled."""
        shifts = torch.randint(self._stride, (len(self._grid),), generator=generator).numpy()
        return self._cut(np.minimum(self._grid + shifts, self._last))

    def _cut(self, starts: NDArray[np.int64]) -> WindowSet:
        labels = self._labels[starts + self._window // 2]
        known = labels != UNLABELLED
        return WindowSet(self.values, starts[known], labels[known], self._window)
