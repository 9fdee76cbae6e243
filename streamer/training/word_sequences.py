"""How SHARE learns: the words of a label, one after another, as targets of its windows."""

import torch
from torch import Tensor
from torch.nn import functional

from streamer.share.labels import END, START
from streamer.training.augmentation import IGNORED, draw_own_words, teacher_forcing
from streamer.training.fitting import Learner
from streamer.training.network import ShareNetwork


class WordLearner(Learner):
    """SHARE with its cross-entropy over words.

    Args:
        network: the network that learns.
        token: probability of a label to be replaced by one of its own words.
    """

    def __init__(self, network: ShareNetwork, token: float) -> None:
        super().__init__()
        self.network = network
        self._token = token

    def losses(self, windows: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return minus the log-probability of each window's words and `end`, [batch]."""
        label_set = self.network.label_set
        sequences = [label_set.tokens(label_set.labels[label]) for label in labels.tolist()]
        sequences = draw_own_words(sequences, self._token, generator)
        start, end = label_set.tokens([START, END])
        inputs, targets = teacher_forcing(sequences, start, end)
        steps: Tensor = self.network(windows, inputs.to(windows.device))
        targets = targets.to(windows.device)
        words = functional.nll_loss(
            steps.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return words.view(targets.shape).sum(dim=1)

    def scores(self, windows: Tensor) -> Tensor:
        """Return the log-probability of each label, [batch, labels]."""
        return self.network.scores(windows)
