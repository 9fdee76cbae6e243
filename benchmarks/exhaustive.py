"""The yardstick: SHARE's constrained decoding as the paper tells it, one label after the other."""

import torch
from torch import Tensor

from streamer.share.labels import END, START
from streamer.training.network import ShareNetwork


def exhaustive_scores(network: ShareNetwork, windows: Tensor) -> Tensor:
    """Return the log-probability of every label's words and `end`, [batch, labels].

    Every label is decoded on its own from `start` on, whatever words it shares with others.
    """
    label_set, features = network.label_set, network.encoder(windows)
    scores = []
    for words in label_set.labels:
        inputs = torch.tensor(label_set.tokens([START, *words]))
        targets = torch.tensor(label_set.tokens([*words, END]))
        steps = network.decoder(features, inputs.expand(len(features), -1))
        scores.append(steps[:, torch.arange(len(targets)), targets].sum(dim=1))
    return torch.stack(scores, dim=1)
