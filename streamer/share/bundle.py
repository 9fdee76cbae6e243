"""The bundle's manifest: what the one ONNX file says of itself, in its metadata."""

import hashlib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamer.config_file import first_fault
from streamer.errors import BundleError, LabelSetError
from streamer.share.labels import LabelSet

FORMAT_VERSION = 4
MANIFEST_KEY = "share_streamer_manifest"
"""The metadata property that holds the manifest."""

UNSEALED = "0" * 64
"""What stands in the place of the hash while the hash is computed."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Version(BaseModel):
    format_version: int


class Calibration(_Part):
    """What turns scores into honest probabilities.

    Attributes:
        temperature: scores are divided by it before the softmax over the labels.
    """

    temperature: float = Field(gt=0)


class Streaming(_Part):
    """What the graph keeps of a stream between hops.

    Attributes:
        receptive_field: samples that one output of the encoder sees.
        context: samples before the new ones that the first of their outputs still see.
        kept: shapes of the encoder's caches, [1, time, channels].
        sums: sums over time in a partial result; merged by adding.
        maxima: maxima over time in a partial result, after the sums; merged by the larger.
    """

    receptive_field: int = Field(gt=0)
    context: int = Field(ge=0)
    kept: tuple[tuple[int, ...], ...]
    sums: int = Field(ge=0)
    maxima: int = Field(ge=0)

    @property
    def partial(self) -> int:
        """Numbers in a partial result."""
        return self.sums + self.maxima


class TrainingData(_Part):
    """What the model has learnt from.

    Attributes:
        name: the data set.
        licence: its terms.
        held_out: wearers by whom the best epoch was chosen.
        seed: of the training.
    """

    name: str
    licence: str
    held_out: tuple[str, ...]
    seed: int


class MeasuredAccuracy(_Part):
    """How right the model is for people that it has never seen, window by window.

    Attributes:
        accuracy: share of windows whose label is that of their middle.
        macro_f1: mean of the labels' F1 scores.
        calibration_error: how far probabilities and accuracy lie apart on the average (Guo et al.,
            ICML 2017), between 0 and 1.
        uncalibrated_error: the same with a temperature of 1.
        people: the wearers on whom it was measured.
    """

    accuracy: float
    macro_f1: float
    calibration_error: float
    uncalibrated_error: float
    people: tuple[str, ...]


class TreeNode(_Part):
    """A prefix of labels: its last word, and the index of the prefix before it (-1: none)."""

    word: str
    parent: int


class Manifest(_Part):
    """What a bundle is and what it needs.

    Attributes:
        format_version: of this manifest.
        name: of the model.
        worn: where the device is worn; empty if nobody said.
        labels: the words of every label.
        display_names: how each label is shown to people.
        vocabulary: all words in the order of their tokens.
        tree: the labels' prefix tree, level by level.
        channels: the channels of the input, in order.
        units: their units.
        gravity: True if acceleration includes gravity.
        rate_hz: samples a second.
        window: samples that a label speaks of.
        hop: samples between two labels, by default.
        streaming: what the graph keeps of a stream between hops.
        calibration: what turns scores into probabilities.
        transitions: probability of each label `hop` samples after each other.
        training: what the model has learnt from.
        measured: its accuracy, where it was measured.
        sha256: of the file, with 64 zeros in this place.
    """

    format_version: int
    name: str
    worn: str
    labels: tuple[tuple[str, ...], ...]
    display_names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    tree: tuple[TreeNode, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    gravity: bool
    rate_hz: float = Field(gt=0)
    window: int = Field(gt=0)
    hop: int = Field(gt=0)
    streaming: Streaming
    calibration: Calibration
    transitions: tuple[tuple[float, ...], ...]
    training: TrainingData
    measured: MeasuredAccuracy | None
    sha256: str = Field(default=UNSEALED, pattern="[0-9a-f]{64}")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        label_set = self.label_set
        count = len(label_set.labels)
        if self.vocabulary != label_set.vocabulary or self.tree != describe_tree(label_set):
            raise ValueError("vocabulary or prefix tree is not that of the labels")
        if len(self.display_names) != count:
            raise ValueError("display_names are not one for each label")
        if len(self.transitions) != count or {len(row) for row in self.transitions} != {count}:
            raise ValueError("transitions are not one row and column for each label")
        if self.window <= self.streaming.receptive_field:
            raise ValueError("the window is not longer than the receptive field")
        if len(self.units) != len(self.channels):
            raise ValueError("units are not one for each channel")
        return self

    @property
    def outputs(self) -> int:
        """Outputs of the encoder in a window."""
        return self.window - self.streaming.receptive_field + 1

    @property
    def label_set(self) -> LabelSet:
        """The labels with their vocabulary and prefix tree."""
        return LabelSet(self.labels)

    @property
    def model_id(self) -> str:
        """What labels say of the model that made them: its name and the start of its hash."""
        return f"{self.name}-{self.sha256[:8]}"


def describe_tree(label_set: LabelSet) -> tuple[TreeNode, ...]:
    """Return the manifest's form of a label set's prefix tree."""
    return tuple(
        TreeNode(word=label_set.vocabulary[node.token], parent=node.parent)
        for node in label_set.nodes
    )


def parse_manifest(path: Path, metadata: dict[str, str]) -> Manifest:
    """Return the manifest in an ONNX file's metadata.

    Raises:
        BundleError: there is none, it is of another format version, or contradicts itself.
    """
    if MANIFEST_KEY not in metadata:
        raise BundleError(path, "is an ONNX file without a manifest; `streamer compile` makes one")
    try:
        version = _Version.model_validate_json(metadata[MANIFEST_KEY]).format_version
        if version != FORMAT_VERSION:
            raise BundleError(
                path,
                f"has format version {version}; this version reads {FORMAT_VERSION}: "
                "compile its training run again",
            )
        manifest = Manifest.model_validate_json(metadata[MANIFEST_KEY])
    except ValidationError as error:
        raise BundleError(
            path, f"has a manifest that can't be used: {first_fault(error)}"
        ) from error
    except LabelSetError as error:
        raise BundleError(path, f"has labels that can't be used: {error}") from error
    return manifest


def digest(data: bytes, sealed: str) -> str:
    """Return the SHA-256 of a bundle with zeros in the place of its hash."""
    return hashlib.sha256(data.replace(sealed.encode(), UNSEALED.encode())).hexdigest()
