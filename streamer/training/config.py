"""What `streamer train` can be told, as tables of a TOML file."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamer.config_file import Section
from streamer.datasets.dataset import HIGHEST_RATE_HZ, SHORTEST_WINDOW
from streamer.datasets.names import GivenNames
from streamer.sensors import Device, devices_of, triaxial_sensors
from streamer.share.labels import LabelSet
from streamer.training.network import EncoderShape, PoolingName, ShareNetwork
from streamer.training.word_vectors import WordsConfig

LossName = Literal["words", "labels"]
Signs = tuple[Literal[-1, 1], ...]


class DataConfig(Section):
    """Which sessions are learnt from.

    Attributes:
        name: the data set's name, for the bundle's manifest.
        licence: its terms, for the manifest.
        worn: where the device was worn, for the manifest.
        sessions: folder of sessions with annotations, or whatever else can be learnt from.
        dataset: the public data set that `sessions` may also be as it was published.
        validation: wearers held out to choose the best epoch and to calibrate.
        test: wearers never learnt from, on whom the accuracy is measured.
        channels: the channels that the model reads, in this order.
        units: their units.
        rate_hz: the model's rate; sessions of other rates are resampled.
        window: samples in a window.
        hop: samples between two labels, by default.
        labels: the names of the activities; annotations of others are passed over.
        rename: other names for annotations.
    """

    name: str
    licence: str
    worn: str = ""
    sessions: Path
    dataset: str | None = None
    validation: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...] = ()
    channels: tuple[str, ...] = Field(min_length=1)
    units: tuple[str, ...] = Field(min_length=1)
    rate_hz: float = Field(gt=0, le=HIGHEST_RATE_HZ)
    window: int = Field(ge=SHORTEST_WINDOW)
    hop: int = Field(ge=1)
    labels: tuple[str, ...] = Field(min_length=1)
    rename: GivenNames = Field(default_factory=dict)

    @model_validator(mode="after")
    def _each_channel_has_a_unit(self) -> Self:
        if len(self.units) != len(self.channels):
            raise ValueError(
                f"units has {len(self.units)} entries {list(self.units)}; it takes one for each "
                f"of the {len(self.channels)} channels {list(self.channels)}"
            )
        return self

    @property
    def quantities(self) -> tuple[str, ...]:
        """The channels with their units."""
        return tuple(f"{c} [{u}]" for c, u in zip(self.channels, self.units, strict=True))


class NetworkConfig(Section):
    """The network's shape; see `streamer.training.network`.

    Attributes:
        encoder: `paper` for the paper's two convolutions, which fixes the next seven; `separable`
            or `dense` for a stem and residual stages of that kind.
        width: channels inside.
        stem_kernel: samples that the first convolution sees.
        stem_scales: how many of these, in the middle, its outputs see, in turn; all see all if
            empty.
        companded: how many of its outputs see changes alone, small ones as well as large ones.
        dilations: of each residual stage.
        pooling: the statistics over time that the decoder is given.
        stem_thresholds: how many proportions of each of the stem's outputs it is given as well.
        hidden: of the LSTM.
        embedding: length of a word's vector.
        dropout: of the decoder.
        encoder_dropout: of the residual stages' channels.
        feature_dropout: of what the decoder is given.
    """

    encoder: Literal["paper", "separable", "dense"] = "dense"
    width: int = Field(default=64, ge=1)
    stem_kernel: int = Field(default=7, ge=1)
    stem_scales: tuple[Annotated[int, Field(ge=1)], ...] = ()
    companded: int = Field(default=32, ge=0)
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 4, 8)
    pooling: tuple[PoolingName, ...] = Field(default=("mean", "maximum", "deviation"), min_length=1)
    stem_thresholds: int = Field(default=2, ge=0)
    hidden: int = Field(default=128, ge=1)
    embedding: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    encoder_dropout: float = Field(default=0.1, ge=0, lt=1)
    feature_dropout: float = Field(default=0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _compands_no_more_than_it_has(self) -> Self:
        if self.companded > self.width:
            raise ValueError(f"companded is {self.companded}, of a width of {self.width}")
        if self.companded and min(self.stem_kernel, *self.stem_scales, 2) < 2:
            raise ValueError("companded outputs need a stem_kernel and stem_scales of 2 or more")
        return self

    @model_validator(mode="after")
    def _has_the_taps_of_its_scales(self) -> Self:
        if max(self.stem_scales, default=0) > self.stem_kernel:
            longest = max(self.stem_scales)
            raise ValueError(f"stem_scales has {longest}; stem_kernel has {self.stem_kernel} only")
        return self

    def build(self, label_set: LabelSet, channels: int) -> ShareNetwork:
        """Return the untrained network."""
        return ShareNetwork(
            label_set,
            channels,
            self.shape,
            hidden=self.hidden,
            embedding=self.embedding,
            dropout=self.dropout,
            encoder_dropout=self.encoder_dropout,
            feature_dropout=self.feature_dropout,
        )

    @property
    def shape(self) -> EncoderShape:
        """The encoder's shape."""
        if self.encoder == "paper":
            return EncoderShape.paper()
        return EncoderShape.dilated(
            self.encoder,
            self.width,
            self.stem_kernel,
            self.dilations,
            self.pooling,
            self.companded,
            self.stem_thresholds,
            self.stem_scales,
        )


class AugmentationConfig(Section):
    """What is changed at random; see `streamer.training.augmentation`.

    Attributes:
        token: probability of a label to be replaced by one of its own words.
        warp: how much a window's speed wanders, and the largest share of it that is left out.
        symmetries: other ways to wear the device, each as the signs (-1 or 1) that it gives the
            channels. On the other wrist the body is mirrored: one axis of the acceleration turns
            its sign, and of the rotation, whose vectors are axial, the other two.
        symmetry_share: probability with which each of them is applied to a window, and with which
            one of `turned_freely` is.
        rotation_degrees: largest angle by which sensors of three axes are turned.
        turned_apart: places where devices are worn, as their sensors' names begin; each device is
            turned on its own, by another angle. Sensors of no such name are one device more.
        turned_freely: labels of those who may lie any way; their sensors are turned by any angle.
        scale: standard deviation of each channel's factor.
        jitter: standard deviation of the noise, as a share of each channel's own.
        mixup: strength with which windows are blended in pairs, and their losses with them.
    """

    token: float = Field(default=0.2, ge=0, le=1)
    warp: float = Field(default=0.0, ge=0, lt=1)
    symmetries: tuple[Signs, ...] = ()
    symmetry_share: float = Field(default=0.25, ge=0, le=1)
    rotation_degrees: float = Field(default=45.0, ge=0, le=180)
    turned_apart: tuple[str, ...] = ()
    turned_freely: tuple[str, ...] = ()
    scale: float = Field(default=0.05, ge=0)
    jitter: float = Field(default=0.02, ge=0)
    mixup: float = Field(default=0.0, ge=0)


class OptimisationConfig(Section):
    """How the weights are found.

    Attributes:
        seed: of everything random.
        loss: over a label's `words`, as the paper has it, or over the valid `labels`.
        smoothing: share of the truth that the loss over labels spreads over all of them.
        teaching: share of the loss over labels by which the network learns what a teacher says of a
            window, in place of its label; see `streamer.training.teacher`.
        epochs: at most this many.
        patience: epochs without a better validation score after which training stops.
        refit: whether the network is taught once more in the end, from the validation people too
            and for all epochs. It pays most where people are few; the temperature stays as it was.
        batch: windows in a step.
        stride: samples between two training windows, which each epoch moves by up to as many.
        schedule: `one-cycle`, up and down to nothing, or `constant`, as the paper trains.
        learning_rate: the schedule's highest.
        weight_decay: AdamW's.
        averaging: share of the averaged weights that each step keeps; the average is what is used.
        balance: 0 lets each window count alike, 1 each label.
        threads: of torch.
    """

    seed: int = Field(default=1, ge=0, lt=2**63)
    loss: LossName = "words"
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    teaching: float = Field(default=0.0, ge=0, lt=1)
    epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=12, ge=1)
    refit: bool = False
    batch: int = Field(default=64, ge=2)
    stride: int = Field(default=32, ge=1)
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    averaging: float = Field(default=0.99, ge=0, lt=1)
    balance: float = Field(default=0.0, ge=0, le=1)
    threads: int = Field(default=1, ge=1, le=1024)

    @model_validator(mode="after")
    def _only_labels_have_probabilities(self) -> Self:
        for name in ("smoothing", "teaching"):
            if self.loss == "words" and (value := getattr(self, name)):
                raise ValueError(
                    f"{name} is {value}; it must be 0 where loss is 'words', since it tells how "
                    "likely each of the valid labels is"
                )
        return self


class TrainingConfig(Section):
    """A training configuration file.

    Attributes:
        start: a finished run's folder, with whose weights training begins; see
            `streamer.training.transfer`.
    """

    start: Path | None = None
    data: DataConfig
    network: NetworkConfig = NetworkConfig()
    words: WordsConfig = WordsConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimisation: OptimisationConfig = OptimisationConfig()

    @model_validator(mode="after")
    def _only_sensors_of_three_axes_are_turned(self) -> Self:
        sensors = triaxial_sensors(self.data.channels)
        for name, nothing in (("rotation_degrees", "0"), ("turned_freely", "empty")):
            if getattr(self.augmentation, name) and not sensors:
                raise ValueError(
                    f"augmentation.{name} must be {nothing}: data.channels have no sensor with "
                    "three axes named _x, _y, _z, which could be turned"
                )
        places = {sensor.place for sensor in sensors}
        for place in self.augmentation.turned_apart:
            if place not in places:
                known = ", ".join(sorted(filter(None, places))) or "no place"
                raise ValueError(
                    f"augmentation.turned_apart has {place!r}, but the sensors in data.channels "
                    f"begin with {known}"
                )
        return self

    @model_validator(mode="after")
    def _turned_freely_are_labels(self) -> Self:
        for name in self.augmentation.turned_freely:
            if name not in self.data.labels:
                known = ", ".join(self.data.labels)
                raise ValueError(
                    f"augmentation.turned_freely has {name!r}, none of data.labels: {known}"
                )
        return self

    @model_validator(mode="after")
    def _own_words_are_learnt_as_words(self) -> Self:
        if self.optimisation.loss == "labels" and self.augmentation.token:
            raise ValueError(
                f"augmentation.token is {self.augmentation.token}; it must be 0 where "
                "optimisation.loss is 'labels', since a label's own words are no valid labels"
            )
        return self

    @model_validator(mode="after")
    def _symmetries_have_a_sign_for_each_channel(self) -> Self:
        for signs in self.augmentation.symmetries:
            if len(signs) != len(self.data.channels):
                raise ValueError(
                    f"augmentation.symmetries has {len(signs)} signs {list(signs)}, "
                    f"of {len(self.data.channels)} data.channels"
                )
        return self

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that are turned, each on its own."""
        return devices_of(triaxial_sensors(self.data.channels), self.augmentation.turned_apart)
