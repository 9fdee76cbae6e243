"""How SHARE learns: a label's words one after another, or the label among the valid ones."""

import torch
from torch import Tensor
from torch.nn import functional

from streamer.share.labels import END, START
from streamer.training.augmentation import IGNORED, draw_own_words, teacher_forcing
from streamer.training.config import AugmentationConfig, OptimisationConfig
from streamer.training.fitting import Learner
from streamer.training.network import ShareNetwork
from streamer.training.teacher import Teacher


class ShareLearner(Learner):
    """SHARE, whatever it minimises.

    Args:
        network: the network that learns.
    """

    def __init__(self, network: ShareNetwork) -> None:
        super().__init__()
        self.network = network

    def scores(self, windows: Tensor) -> Tensor:
        """Return the log-probability of each label, [batch, labels]."""
        return self.network.scores(windows)


class WordLearner(ShareLearner):
    """The paper's loss: cross-entropy over the words, each among all that there are.

    Args:
        network: the network that learns.
        token: probability of a label to be replaced by one of its own words.
    """

    def __init__(self, network: ShareNetwork, token: float) -> None:
        super().__init__(network)
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


class LabelLearner(ShareLearner):
    """Cross-entropy over the valid labels, between which constrained decoding chooses.

    Args:
        network: the network that learns.
        smoothing: share of the truth that is spread over all labels (Szegedy et al., CVPR 2016).
        teacher: who says how likely the labels are; nobody if there is none.
        teaching: share of the loss that is towards what the teacher says.
    """

    def __init__(
        self,
        network: ShareNetwork,
        smoothing: float,
        teacher: Teacher | None = None,
        teaching: float = 0.0,
    ) -> None:
        super().__init__(network)
        self._smoothing = smoothing
        self._teacher = teacher
        self._teaching = teaching

    def losses(self, windows: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002 - nothing is drawn
        """Return the cross-entropy of each window's label among the valid ones, [batch]."""
        scores = self.scores(windows)
        losses = functional.cross_entropy(
            scores, labels, reduction="none", label_smoothing=self._smoothing
        )
        if self._teacher is None:
            return losses
        taught = functional.cross_entropy(scores, self._teacher(windows), reduction="none")
        return losses.lerp(taught, self._teaching)


def share_learner(
    network: ShareNetwork,
    augmentation: AugmentationConfig,
    optimisation: OptimisationConfig,
    teacher: Teacher | None,
) -> ShareLearner:
    """Return what minimises the loss that is asked for."""
    if optimisation.loss == "words":
        return WordLearner(network, augmentation.token)
    return LabelLearner(network, optimisation.smoothing, teacher, optimisation.teaching)
