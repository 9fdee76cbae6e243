"""SHARE as a torch module: a convolutional encoder and an LSTM decoder that writes label words.

Source: Zhang et al., CIKM 2023, arXiv 2301.03462. The encoder here is unpadded throughout and its
pooling's statistics can be merged, so that a stream can be encoded hop by hop.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamer.share.labels import END, START, LabelSet

DEVIATION_EPSILON = 1e-5
"""Keeps the square root of a variance differentiable at zero."""


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """What the encoder is made of.

    Attributes:
        width: channels inside.
        stem_kernel: samples that the first convolution sees.
        dilations: one residual block each.
    """

    width: int = 64
    stem_kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4, 8)

    @property
    def receptive_field(self) -> int:
        """Samples that one output of the encoder sees."""
        return self.stem_kernel + 2 * sum(self.dilations)


class Residual(nn.Module):
    """A depthwise convolution over time, a pointwise one over channels, and the cropped input."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.depthwise = nn.Conv1d(width, width, 3, dilation=dilation, groups=width, bias=False)
        self.pointwise = nn.Conv1d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [batch, width, time] to [batch, width, time - 2 * dilation]."""
        change = self.norm(self.pointwise(self.depthwise(inputs)))
        kept = inputs[:, :, self.dilation : -self.dilation]
        result: Tensor = functional.relu(kept + self.dropout(change))
        return result


class Encoder(nn.Module):
    """Windows to features: unpadded convolutions, then mean, maximum and standard deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, shape: EncoderShape, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.stem = nn.Conv1d(channels, shape.width, shape.stem_kernel, bias=False)
        self.norm = nn.BatchNorm1d(shape.width)
        self.blocks = nn.ModuleList(
            Residual(shape.width, dilation, dropout) for dilation in shape.dilations
        )
        self.features = 3 * shape.width

    def forward(self, windows: Tensor) -> Tensor:
        """Map windows [batch, time, channels] in SI units to features [batch, features]."""
        scaled = ((windows - self.mean) / self.deviation).transpose(1, 2)
        hidden: Tensor = functional.relu(self.norm(self.stem(scaled)))
        for block in self.blocks:
            hidden = block(hidden)
        variance = hidden.var(dim=2, correction=0)
        return torch.cat(
            [hidden.mean(dim=2), hidden.amax(dim=2), (variance + DEVIATION_EPSILON).sqrt()], dim=1
        )


class Decoder(nn.Module):
    """Features to word sequences, one LSTM step a word."""

    def __init__(
        self, features: int, words: int, hidden: int, embedding: int, dropout: float
    ) -> None:
        super().__init__()
        self.initial_hidden = nn.Linear(features, hidden)
        self.initial_cell = nn.Linear(features, hidden)
        self.embedding = nn.Embedding(words, embedding)
        self.cell = nn.LSTMCell(embedding, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, words)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return the log-probability of every next word after each of these tokens.

        Args:
            features: [batch, features].
            tokens: `start` and the words so far, int64 [batch, steps].

        Returns:
            Log-probabilities [batch, steps, words].
        """
        hidden, cell = self.initial_hidden(features), self.initial_cell(features)
        steps = []
        for step in range(tokens.shape[1]):
            hidden, cell = self.cell(self.embedding(tokens[:, step]), (hidden, cell))
            steps.append(self.output(self.dropout(hidden)))
        return torch.stack(steps, dim=1).log_softmax(dim=2)


class ShareNetwork(nn.Module):
    """SHARE: encoder, decoder, and exhaustive scoring of the valid labels."""

    def __init__(
        self,
        label_set: LabelSet,
        channels: int,
        shape: EncoderShape,
        *,
        hidden: int = 128,
        embedding: int = 64,
        dropout: float = 0.5,
        encoder_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.label_set = label_set
        self.encoder = Encoder(channels, shape, encoder_dropout)
        words = len(label_set.vocabulary)
        self.decoder = Decoder(self.encoder.features, words, hidden, embedding, dropout)

    def forward(self, windows: Tensor, tokens: Tensor) -> Tensor:
        """Return the next words' log-probabilities [batch, steps, words]; see `Decoder`."""
        result: Tensor = self.decoder(self.encoder(windows), tokens)
        return result

    def scores(self, windows: Tensor) -> Tensor:
        """Return the log-probability of every label's words and `end`, [batch, labels].

        This is the paper's constrained decoding, label by label, as the compiled graph's yardstick.
        """
        features = self.encoder(windows)
        scores = []
        for words in self.label_set.labels:
            inputs = torch.tensor(self.label_set.tokens([START, *words]))
            targets = torch.tensor(self.label_set.tokens([*words, END]))
            steps = self.decoder(features, inputs.expand(len(features), -1))
            chosen = steps[:, torch.arange(len(targets)), targets]
            scores.append(chosen.sum(dim=1))
        return torch.stack(scores, dim=1)
