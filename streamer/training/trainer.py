"""Training SHARE on annotated sessions; leaves a run folder that the compiler reads."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional

from streamer.errors import TrainingError
from streamer.share.labels import END, START, LabelSet
from streamer.training.augmentation import (
    IGNORED,
    draw_own_words,
    jitter,
    scale,
    teacher_forcing,
    turn_sensors,
)
from streamer.training.config import TrainingConfig
from streamer.training.data import (
    Stretch,
    WindowSet,
    cut_windows,
    read_stretches,
    transition_matrix,
)
from streamer.training.network import ShareNetwork
from streamer.training.word_vectors import initial_vectors

WEIGHTS_FILE = "weights.npz"
CONFIG_FILE = "config.json"
RESULT_FILE = "result.json"
EVALUATION_BATCH = 512
TEMPERATURES = torch.linspace(0.5, 4.0, 71)


@dataclass(slots=True)
class TrainingResult:
    """What a run came to.

    Attributes:
        history: loss and validation accuracy of each epoch.
        best_epoch: the epoch whose weights were kept, counted from 0.
        temperature: by which scores are divided so that probabilities are honest.
        transitions: probability of each label a hop after each other, [labels, labels].
        accuracy: share of right windows, and macro-F1, on the test people.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    temperature: float = 1.0
    transitions: list[list[float]] = field(default_factory=list)
    accuracy: dict[str, float] = field(default_factory=dict)


def build_network(config: TrainingConfig) -> ShareNetwork:
    """Return the untrained network of a configuration."""
    network = config.network
    shape = network.shape
    if shape.receptive_field >= config.data.window:
        raise TrainingError(
            f"the encoder sees {shape.receptive_field} samples but the window has "
            f"{config.data.window}; use fewer dilations or a longer window"
        )
    return ShareNetwork(
        LabelSet.from_names(config.data.labels),
        len(config.data.channels),
        shape,
        hidden=network.hidden,
        embedding=network.embedding,
        dropout=network.dropout,
        encoder_dropout=network.encoder_dropout,
    )


def load_run(folder: Path) -> tuple[TrainingConfig, ShareNetwork, TrainingResult]:
    """Return what `train` left in its run folder.

    Raises:
        TrainingError: it is not a finished run.
    """
    try:
        config = TrainingConfig.model_validate_json((folder / CONFIG_FILE).read_bytes())
        result = TrainingResult(**json.loads((folder / RESULT_FILE).read_bytes()))
        with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as arrays:
            weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except OSError as error:
        raise TrainingError(f"{folder} is not a finished run: no {error.filename}") from error
    network = build_network(config)
    network.load_state_dict(weights)
    return config, network.eval(), result


def train(config: TrainingConfig, folder: Path) -> TrainingResult:
    """Train, choose the epoch that is best on held-out wearers, calibrate, measure, save.

    Raises:
        TrainingError: the sessions can't be learnt from as configured.
    """
    torch.set_num_threads(config.optimisation.threads)
    torch.use_deterministic_algorithms(mode=True)
    label_set = LabelSet.from_names(config.data.labels)
    people = _People.read(config, label_set)
    with _progress_bar() as bar:
        trainer = _Trainer(config, label_set, people.learn, people.validation)
        result = trainer.run(bar)
    network = trainer.network
    result.temperature = _temperature(network, people.validation)
    result.transitions = transition_matrix(
        people.learn, len(label_set.labels), config.data.hop
    ).tolist()
    if people.test is not None:
        result.accuracy = _accuracy(network, people.test)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / WEIGHTS_FILE,
        allow_pickle=False,
        **{name: weight.numpy() for name, weight in network.state_dict().items()},
    )
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2))
    (folder / RESULT_FILE).write_text(json.dumps(asdict(result), indent=2))
    return result


@dataclass(frozen=True, slots=True)
class _People:
    learn: list[Stretch]
    validation: WindowSet
    test: WindowSet | None

    @classmethod
    def read(cls, config: TrainingConfig, label_set: LabelSet) -> "_People":
        data = config.data
        if both := set(data.validation) & set(data.test):
            raise TrainingError(f"{sorted(both)} are in both data.validation and data.test")
        stretches = [
            stretch
            for stretch in read_stretches(data, label_set.names)
            if len(stretch.values) >= data.window
        ]
        found = {stretch.wearer for stretch in stretches}
        if missing := {*data.validation, *data.test} - found:
            raise TrainingError(f"no session of {sorted(missing)} in {data.sessions}")
        held_out = {*data.validation, *data.test}
        learn = [stretch for stretch in stretches if stretch.wearer not in held_out]
        if not learn:
            raise TrainingError(f"every wearer in {data.sessions} is held out; none is left")

        def windows(wearers: tuple[str, ...]) -> WindowSet:
            own = [stretch for stretch in stretches if stretch.wearer in wearers]
            cut = cut_windows(own, data.window, data.hop, 0)
            if not len(cut):
                raise TrainingError(
                    f"no annotation of {', '.join(data.labels)} in the sessions of "
                    f"{', '.join(wearers)} in {data.sessions}"
                )
            return cut

        return cls(learn, windows(data.validation), windows(data.test) if data.test else None)


class _Trainer:
    def __init__(
        self,
        config: TrainingConfig,
        label_set: LabelSet,
        learn: list[Stretch],
        validation: WindowSet,
    ) -> None:
        self._config = config
        self._label_set = label_set
        self._learn = learn
        self._validation = validation
        seed = config.optimisation.seed
        torch.manual_seed(seed)
        self._random = torch.Generator().manual_seed(seed)
        self.network = build_network(config)
        self._deviation = self._standardise()
        self._initialise_words()
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), weight_decay=config.optimisation.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            max_lr=config.optimisation.learning_rate,
            epochs=config.optimisation.epochs,
            # Offset 0 cuts the most windows; the others may need a step less.
            steps_per_epoch=math.ceil(len(self._windows(0)) / config.optimisation.batch) + 1,
        )

    def run(self, bar: Progress) -> TrainingResult:
        """Train until the last epoch or until patience ends; keep the best epoch's weights."""
        options = self._config.optimisation
        result = TrainingResult()
        best = -1.0
        weights: dict[str, Tensor] = {}
        task = bar.add_task("training", total=options.epochs, loss=math.nan, accuracy=math.nan)
        for epoch in range(options.epochs):
            loss = self._epoch()
            scores = label_scores(self.network, self._validation)
            accuracy = _share_right(scores, self._validation.labels)
            result.history.append({"loss": loss, "validation_accuracy": accuracy})
            bar.update(task, advance=1, loss=loss, accuracy=accuracy)
            if not bar.console.is_terminal:
                bar.console.print(
                    f"epoch {epoch + 1} of {options.epochs}: loss {loss:.3f}, "
                    f"held-out accuracy {accuracy:.3f}"
                )
            if accuracy > best:
                best, result.best_epoch = accuracy, epoch
                weights = {k: v.clone() for k, v in self.network.state_dict().items()}
            elif epoch - result.best_epoch >= options.patience:
                break
        self.network.load_state_dict(weights)
        return result

    def _initialise_words(self) -> None:
        config, table = self._config, self.network.decoder.embedding.weight
        vectors = initial_vectors(
            config.words, self._label_set.vocabulary, table.shape[1], config.optimisation.seed
        )
        with torch.no_grad():
            for token, vector in vectors.items():
                table[token] = torch.from_numpy(vector)

    def _standardise(self) -> Tensor:
        samples = np.concatenate([stretch.values for stretch in self._learn])
        spread = samples.std(axis=0)
        # A channel that never changes tells nothing, and must not be divided by zero.
        deviation = torch.from_numpy(np.where(spread > 0, spread, 1).astype(np.float32))
        self.network.encoder.mean.copy_(torch.from_numpy(samples.mean(axis=0)))
        self.network.encoder.deviation.copy_(deviation)
        return deviation

    def _windows(self, offset: int) -> WindowSet:
        data, stride = self._config.data, self._config.optimisation.stride
        return cut_windows(self._learn, data.window, stride, offset)

    def _epoch(self) -> float:
        self.network.train()
        options = self._config.optimisation
        offset = int(torch.randint(options.stride, (1,), generator=self._random))
        windows = self._windows(offset)
        order = torch.randperm(len(windows), generator=self._random)
        losses = [
            self._step(torch.from_numpy(windows.gather(rows.numpy())), windows.labels[rows.numpy()])
            for rows in order.split(options.batch)
            if len(rows) > 1  # batch normalisation needs two
        ]
        return float(np.mean(losses))

    def _step(self, windows: Tensor, labels: NDArray[np.int64]) -> float:
        augmentation = self._config.augmentation
        windows = turn_sensors(windows, augmentation.rotation_degrees, self._random)
        windows = scale(windows, augmentation.scale, self._random)
        windows = jitter(windows, augmentation.jitter * self._deviation, self._random)
        sequences = [self._label_set.tokens(self._label_set.labels[label]) for label in labels]
        sequences = draw_own_words(sequences, augmentation.token, self._random)
        start, end = self._label_set.tokens([START, END])
        inputs, targets = teacher_forcing(sequences, start, end)
        steps = self.network(windows, inputs)
        loss = functional.nll_loss(steps.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._schedule.step()
        return loss.item()


@torch.no_grad()
def label_scores(network: ShareNetwork, windows: WindowSet) -> Tensor:
    """Return the score of every label for every window, [windows, labels]."""
    network.eval()
    parts = [
        network.scores(torch.from_numpy(windows.gather(slice(first, first + EVALUATION_BATCH))))
        for first in range(0, len(windows), EVALUATION_BATCH)
    ]
    return torch.cat(parts)


def _share_right(scores: Tensor, labels: NDArray[np.int64]) -> float:
    return float((scores.argmax(dim=1).numpy() == labels).mean())


def _temperature(network: ShareNetwork, windows: WindowSet) -> float:
    """Return the temperature under which the true labels are likeliest (Guo et al., ICML 2017)."""
    scores = label_scores(network, windows)
    labels = torch.from_numpy(windows.labels)
    losses = torch.stack([functional.cross_entropy(scores / t, labels) for t in TEMPERATURES])
    return float(TEMPERATURES[losses.argmin()])


def _accuracy(network: ShareNetwork, windows: WindowSet) -> dict[str, float]:
    scores = label_scores(network, windows)
    macro_f1 = f1_score(windows.labels, scores.argmax(dim=1).numpy(), average="macro")
    return {"accuracy": _share_right(scores, windows.labels), "macro_f1": float(macro_f1)}


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}, held-out accuracy {task.fields[accuracy]:.3f}"),
        TimeRemainingColumn(),
    )
