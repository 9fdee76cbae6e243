"""SHARE as a torch module: a convolutional encoder and an LSTM decoder that writes label words.

Source: Zhang et al., CIKM 2023, arXiv 2301.03462. The encoder here is unpadded throughout and its
pooling's statistics can be merged, so that a stream can be encoded hop by hop.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from streamer.share.labels import LabelSet, Node
from streamer.training.moments import moments

DEVIATION_EPSILON = 1e-5
"""Keeps the square root of a variance differentiable at zero."""

LARGEST_LOGIT = 50.0
"""Attention logits are clamped to it, so that sums of their exponentials fit float64."""

LARGEST_GAIN = 50.0
"""Companded outputs start with gains from 1 to it."""

PoolingName = Literal["mean", "maximum", "deviation", "attention", "positives"]
StageKind = Literal["dense", "separable"]


@dataclass(frozen=True, slots=True)
class StageShape:
    """One stage of an encoder: an unpadded convolution over time, batch normalisation, ReLU.

    Attributes:
        kind: `dense` mixes time and channels in one convolution; `separable` convolves each channel
            over time, then mixes channels.
        width: channels out.
        kernel: taps over time.
        dilation: samples between taps.
        residual: whether the cropped input is added before the ReLU; one more weight of the middle
            tap, so that such a stage has an odd kernel. It compands nothing.
        companded: how many outputs, the first ones, of a dense stage see changes alone, on a
            scale that is linear for small ones and logarithmic for large ones. What sways a
            sitting person is a hundredth of a step; on the common scale it is lost.
        scales: how many of the kernel's middle taps the outputs of a dense stage have, in turn; all
            have all if empty. Shorter filters lie beside longer ones so, in one convolution.
    """

    kind: StageKind
    width: int
    kernel: int
    dilation: int = 1
    residual: bool = False
    companded: int = 0
    scales: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.residual and (self.kernel % 2 == 0 or self.companded):
            raise ValueError(f"{self} is residual: its kernel must be odd, and companded 0")
        if self.scales and self.kind != "dense":
            raise ValueError(f"{self} is separable: it has no scales")
        if not all(1 <= scale <= self.kernel for scale in self.scales):
            raise ValueError(f"{self}: scales must be 1 to {self.kernel}, the kernel")

    @property
    def reach(self) -> int:
        """Samples before the newest that one output of the stage sees."""
        return (self.kernel - 1) * self.dilation


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """What an encoder is made of: stages, then statistics over time, side by side.

    Attributes:
        stages: one after another.
        pooling: statistics of the last stage's outputs.
        stem_thresholds: how many proportions of positives are taken of each of the first stage's
            outputs, beside those statistics. They tell how often something small happens, whatever
            its size, which statistics of the last stage don't.
        normalised: whether features are brought to one scale (batch normalisation).
    """

    stages: tuple[StageShape, ...]
    pooling: tuple[PoolingName, ...]
    stem_thresholds: int = 0
    normalised: bool = False

    @classmethod
    def paper(cls) -> "EncoderShape":
        """Return the paper's encoder, without its padding."""
        return cls((StageShape("dense", 128, 3), StageShape("dense", 128, 3)), ("mean",))

    @classmethod
    def dilated(
        cls,
        kind: StageKind,
        width: int,
        stem_kernel: int,
        dilations: tuple[int, ...],
        pooling: tuple[PoolingName, ...],
        companded: int = 0,
        stem_thresholds: int = 0,
        stem_scales: tuple[int, ...] = (),
    ) -> "EncoderShape":
        """Return a dense stem and a residual stage of three taps for each dilation."""
        stem = StageShape("dense", width, stem_kernel, companded=companded, scales=stem_scales)
        blocks = (StageShape(kind, width, 3, dilation, residual=True) for dilation in dilations)
        return cls((stem, *blocks), pooling, stem_thresholds, normalised=True)

    @property
    def receptive_field(self) -> int:
        """Samples that one output of the encoder sees."""
        return 1 + sum(stage.reach for stage in self.stages)


class Stage(nn.Module):
    """See `StageShape`."""

    taps: Tensor

    def __init__(self, inputs: int, shape: StageShape, dropout: float) -> None:
        super().__init__()
        self.shape = shape
        kernel, dilation = shape.kernel, shape.dilation
        if shape.kind == "separable":
            self.depthwise = nn.Conv1d(
                inputs, inputs, kernel, dilation=dilation, groups=inputs, bias=False
            )
            self.pointwise = nn.Conv1d(inputs, shape.width, 1, bias=False)
        else:
            self.dense = nn.Conv1d(inputs, shape.width, kernel, dilation=dilation, bias=False)
            self.register_buffer("taps", _taps(shape), persistent=False)
        if shape.companded:
            self.whitening = nn.BatchNorm1d(shape.companded, affine=False)
            gains = torch.linspace(0, math.log(LARGEST_GAIN), shape.companded)
            self.log_gain = nn.Parameter(gains)
        self.norm = nn.BatchNorm1d(shape.width)
        self.dropout = nn.Dropout1d(dropout if shape.residual else 0.0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [batch, time, channels] to [batch, time - reach, width]."""
        change = _each_sample(self.norm, self._mixed(inputs))
        change = self.dropout(change.transpose(1, 2)).transpose(1, 2)
        if self.shape.residual:
            before = self.shape.reach // 2
            change = change + inputs[:, before : before + change.shape[1]]
        return functional.relu(change)

    @property
    def dense_weight(self) -> Tensor:
        """The dense convolution's weight; companded filters sum to zero over time."""
        count, weight = self.shape.companded, self.dense.weight * self.taps
        if not count:
            return weight
        taps = self.taps[:count]
        means = weight[:count].sum(dim=2, keepdim=True) / taps.sum(dim=2, keepdim=True)
        return torch.cat([weight[:count] - means * taps, weight[count:]])

    def _mixed(self, inputs: Tensor) -> Tensor:
        dilation = self.shape.dilation
        if self.shape.kind == "separable":
            filters = self.depthwise.weight
            filtered = _convolved(inputs, filters, dilation, groups=len(filters))
            return _convolved(filtered, self.pointwise.weight)
        mixed = _convolved(inputs, self.dense_weight, dilation)
        if not self.shape.companded:
            return mixed
        changes, plain = mixed.tensor_split([self.shape.companded], dim=2)
        gained = _each_sample(self.whitening, changes) * self.log_gain.exp()
        return torch.cat([_asinh(gained), plain], dim=2)


def _taps(shape: StageShape) -> Tensor:
    """Return 1 where an output has a tap and 0 elsewhere, [width, 1, kernel]."""
    taps = torch.zeros(shape.width, 1, shape.kernel)
    for output in range(shape.width):
        scale = shape.scales[output % len(shape.scales)] if shape.scales else shape.kernel
        first = (shape.kernel - scale) // 2
        taps[output, :, first : first + scale] = 1
    return taps


class _Asinh(torch.autograd.Function):
    """The inverse hyperbolic sine by operators that torch vectorises, as it doesn't its own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401 - torch's own context
        root = values.square().add_(1).sqrt_()
        ctx.save_for_backward(root)
        return root.add(values.abs()).log_().copysign_(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        (root,) = ctx.saved_tensors
        slope: Tensor = gradient / root
        return slope


def _asinh(values: Tensor) -> Tensor:
    result: Tensor = _Asinh.apply(values)  # type: ignore[no-untyped-call]
    return result


def _convolved(inputs: Tensor, weight: Tensor, dilation: int = 1, groups: int = 1) -> Tensor:
    """Convolve [batch, time, channels] over time, unpadded.

    Pictures of one row whose channels lie together take half of the time of `conv1d`.
    """
    pictures, filters = inputs.transpose(1, 2)[:, :, None], weight[:, :, None]
    outputs: Tensor = functional.conv2d(pictures, filters, None, 1, 0, (1, dilation), groups)
    return outputs.squeeze(2).transpose(1, 2)


def _each_sample(norm: nn.BatchNorm1d, inputs: Tensor) -> Tensor:
    """Normalise the channels of [batch, time, channels]."""
    samples = inputs.flatten(0, 1).contiguous()  # some lie among others that are not normalised
    normalised: Tensor = norm(samples).view_as(inputs)
    return normalised


class Positives(nn.Module):
    """Soft proportions of values above learnt thresholds (after MiniRocket's PPV)."""

    def __init__(self, width: int, thresholds: int) -> None:
        super().__init__()
        # Outputs of a stage, normalised and cut off at zero, are mostly between 0 and 2.
        levels = torch.arange(1, 2 * thresholds, 2) / thresholds
        self.threshold = nn.Parameter(levels[:, None].repeat(1, width))
        self.slope = nn.Parameter(torch.full((thresholds, width), 4.0))
        self.features = thresholds * width

    def forward(self, hidden: Tensor) -> Tensor:
        """Map [batch, time, width] to proportions [batch, thresholds * width]."""
        above = (hidden[:, None] - self.threshold[:, None]) * self.slope[:, None]
        return above.sigmoid().mean(dim=2).flatten(1)


def _deviation(hidden: Tensor) -> Tensor:
    """Return the deviations over time of [batch, time, width]."""
    centred = hidden - hidden.mean(dim=1, keepdim=True)
    return (centred.square().mean(dim=1) + DEVIATION_EPSILON).sqrt()


class Pooling(nn.Module):
    """Statistics over time of [batch, time, width]; each can be merged from parts of the time."""

    def __init__(self, names: tuple[PoolingName, ...], width: int) -> None:
        super().__init__()
        self.names = names
        self.width = width
        if "attention" in names:
            self.attention = nn.Conv1d(width, 1, 1)
        if "positives" in names:
            self.positives = Positives(width, 1)
        self.features = len(names) * width

    def forward(self, hidden: Tensor) -> Tensor:
        """Map [batch, time, width] to features [batch, features], in the order of the names."""
        statistics: dict[PoolingName, Callable[[Tensor], Tensor]] = {
            "mean": lambda h: h.mean(dim=1),
            "maximum": lambda h: h.amax(dim=1),
            "deviation": _deviation,
            "attention": self._attend,
            "positives": self._count_positives,
        }
        return torch.cat([statistics[name](hidden) for name in self.names], dim=1)

    def _attend(self, hidden: Tensor) -> Tensor:
        """Mean weighted by a learnt softmax over time."""
        logits = self.attention(hidden.transpose(1, 2)).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        attended: Tensor = (hidden * logits.softmax(dim=2).transpose(1, 2)).sum(dim=1)
        return attended

    def _count_positives(self, hidden: Tensor) -> Tensor:
        proportions: Tensor = self.positives(hidden)
        return proportions


class Encoder(nn.Module):
    """Windows to features.

    Args:
        channels: of the windows.
        shape: what it is made of.
        dropout: of the residual stages' channels.
        feature_dropout: of the features.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, channels: int, shape: EncoderShape, dropout: float, feature_dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.shape = shape
        widths = [channels, *(stage.width for stage in shape.stages)]
        stages = zip(widths, shape.stages, strict=False)
        self.stages = nn.ModuleList(Stage(inputs, stage, dropout) for inputs, stage in stages)
        self.pooling = Pooling(shape.pooling, widths[-1])
        self.features = self.pooling.features
        if shape.stem_thresholds:
            self.stem_positives = Positives(widths[1], shape.stem_thresholds)
            self.features += self.stem_positives.features
        if shape.normalised:
            self.norm = nn.BatchNorm1d(self.features)
        self.dropout = nn.Dropout(feature_dropout)

    def standardise(self, samples: NDArray[np.float32]) -> None:
        """Take the mean and deviation of each channel from samples [n, channels]."""
        mean, deviation = moments(samples)
        self.mean.copy_(torch.from_numpy(mean))
        # A channel that never changes tells nothing, and must not be divided by zero.
        self.deviation.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1)))

    def forward(self, windows: Tensor) -> Tensor:
        """Map windows [batch, time, channels] in SI units to features [batch, features]."""
        return self.pooled(self.encoded(windows))

    def encoded(self, windows: Tensor) -> list[Tensor]:
        """Return what is pooled, [batch, time, width] each.

        These are the last stage's outputs, and the first's where those are pooled as well.
        """
        hidden = (windows - self.mean) / self.deviation
        outputs = []
        for stage in self.stages:
            hidden = stage(hidden)
            outputs.append(hidden)
        if not self.shape.stem_thresholds:
            return [hidden]
        # A stream has the newest ones at hand, as many as the last stage gives.
        return [hidden, outputs[0][:, -hidden.shape[1] :]]

    def pooled(self, encoded: list[Tensor]) -> Tensor:
        """Map what `encoded` returns to features [batch, features]."""
        features: Tensor = self.pooling(encoded[0])
        if self.shape.stem_thresholds:
            features = torch.cat([features, self.stem_positives(encoded[1])], dim=1)
        if self.shape.normalised:
            features = self.norm(features)
        dropped: Tensor = self.dropout(features)
        return dropped


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

    def written(self, features: Tensor, nodes: Sequence[Node]) -> Tensor:
        """Return the log-probability of every next word at each node of a prefix tree.

        Args:
            features: [batch, features].
            nodes: level by level, as `LabelSet.nodes` has them.

        Returns:
            Log-probabilities [batch, nodes, words].
        """
        hidden = self.initial_hidden(features)[:, None]
        cell = self.initial_cell(features)[:, None]
        levels, before = [], [-1]
        for _, level in groupby(range(len(nodes)), lambda index: nodes[index].depth):
            own = list(level)
            parents = [before.index(nodes[index].parent) for index in own]
            tokens = torch.tensor([nodes[index].token for index in own], device=features.device)
            words = self.embedding(tokens).expand(len(features), -1, -1)
            state = (hidden[:, parents].flatten(0, 1), cell[:, parents].flatten(0, 1))
            hidden, cell = (
                new.unflatten(0, (-1, len(own))) for new in self.cell(words.flatten(0, 1), state)
            )
            levels.append(hidden)
            before = own
        logits: Tensor = self.output(self.dropout(torch.cat(levels, dim=1)))
        return logits.log_softmax(dim=2)


class ShareNetwork(nn.Module):
    """SHARE: encoder, decoder, and exhaustive scoring of the valid labels."""

    def __init__(
        self,
        label_set: LabelSet,
        channels: int,
        shape: EncoderShape,
        *,
        hidden: int,
        embedding: int,
        dropout: float = 0.0,
        encoder_dropout: float = 0.0,
        feature_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.label_set = label_set
        self.encoder = Encoder(channels, shape, encoder_dropout, feature_dropout)
        words = len(label_set.vocabulary)
        self.decoder = Decoder(self.encoder.features, words, hidden, embedding, dropout)

    def forward(self, windows: Tensor, tokens: Tensor) -> Tensor:
        """Return the next words' log-probabilities [batch, steps, words]; see `Decoder`."""
        result: Tensor = self.decoder(self.encoder(windows), tokens)
        return result

    def scores(self, windows: Tensor) -> Tensor:
        """Return the log-probability of every label's words and `end`, [batch, labels].

        This is the paper's constrained decoding; a word that labels share is written once.
        """
        written = self.decoder.written(self.encoder(windows), self.label_set.nodes).flatten(1)
        vocabulary = len(self.label_set.vocabulary)
        scores = [
            written[:, [node * vocabulary + token for node, token in path]].sum(dim=1)
            for path in self.label_set.steps
        ]
        return torch.stack(scores, dim=1)
