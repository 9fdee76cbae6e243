"""Starting from what another network has learnt: filters channel by channel, words one by one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from streamer.errors import TrainingError
from streamer.training.config import TrainingConfig
from streamer.training.network import ShareNetwork

OF_CHANNELS = {"encoder.mean": 0, "encoder.deviation": 0, "encoder.stages.0.dense.weight": 1}
"""Which axis of these weights is that of the channels."""

OF_WORDS = ("decoder.embedding.weight", "decoder.output.weight", "decoder.output.bias")
"""Weights with a row for each word."""

OF_TRAINING_ALONE = {"dropout", "encoder_dropout", "feature_dropout"}
"""What the shape of a network does not depend on."""


def check_start(config: TrainingConfig, start: TrainingConfig) -> None:
    """Check that a network of `config` can begin with the weights of one of `start`.

    Raises:
        TrainingError: its shape or rate is another, or it has no channel in common.
    """
    refusal = f"{config.start} can't be started from: "
    network, other = (c.network.model_dump(exclude=OF_TRAINING_ALONE) for c in (config, start))
    for name, here in network.items():
        if here != other[name]:
            raise TrainingError(
                f"{refusal}its network.{name} is {other[name]}, and here it is {here}"
            )
    if config.data.rate_hz != start.data.rate_hz:
        raise TrainingError(
            f"{refusal}it was trained at {start.data.rate_hz:g} Hz, "
            f"and data.rate_hz is {config.data.rate_hz:g}"
        )
    if not _shared(config.data.quantities, start.data.quantities):
        raise TrainingError(
            f"{refusal}it knows {', '.join(start.data.quantities)}, "
            f"and none of {', '.join(config.data.quantities)}"
        )


def take_over(
    network: ShareNetwork, channels: Sequence[str], other: ShareNetwork, others: Sequence[str]
) -> None:
    """Begin with the weights of another network of the same shape.

    A channel's filters and its scale are those of the same channel there, and a word's vectors
    those of the same word; filters of channels that the other does not have begin with nothing,
    words that it does not know as they are.

    Args:
        network: which begins.
        channels: what its channels are.
        other: a trained network.
        others: what the other's channels are.
    """
    rows = _shared(channels, others)
    words = _shared(network.label_set.vocabulary, other.label_set.vocabulary)
    learnt = other.state_dict()
    with torch.no_grad():
        for name, weight in network.state_dict().items():
            if name in OF_WORDS:
                _copy(weight, learnt[name], words)
            elif name in OF_CHANNELS:
                axis = OF_CHANNELS[name]
                if axis:
                    weight.zero_()
                _copy(weight.transpose(0, axis), learnt[name].transpose(0, axis), rows)
            else:
                weight.copy_(learnt[name])


def _copy(weight: Tensor, other: Tensor, rows: Sequence[tuple[int, int]]) -> None:
    for here, there in rows:
        weight[here] = other[there]


def _shared(names: Sequence[str], others: Sequence[str]) -> list[tuple[int, int]]:
    """Return where the names stand that both have, here and there."""
    return [(names.index(name), others.index(name)) for name in names if name in others]
