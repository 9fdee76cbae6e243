"""Training SHARE on annotated sessions; leaves a run folder that the compiler reads."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamer.config_file import first_fault
from streamer.errors import TrainingError
from streamer.evaluation.figures import draw_calibration, draw_confusion, draw_curves
from streamer.evaluation.windows import fit_temperature, measure_windows
from streamer.share.labels import LabelSet
from streamer.training.arrays import load_arrays
from streamer.training.config import TrainingConfig
from streamer.training.data import (
    Stretch,
    WindowSet,
    cut_windows,
    has_window,
    read_stretches,
    rejoin,
    transition_matrix,
)
from streamer.training.fitting import History, fit, label_scores, work_deterministically
from streamer.training.network import ShareNetwork
from streamer.training.sampling import WindowSampler
from streamer.training.teacher import teach
from streamer.training.transfer import check_start, take_over
from streamer.training.word_sequences import ShareLearner, share_learner
from streamer.training.word_vectors import WordsConfig, initial_vectors

WEIGHTS_FILE = "weights.npz"
CONFIG_FILE = "config.json"
RESULT_FILE = "result.json"
CHECKPOINT_FILE = "checkpoint.npz"
REFIT_CHECKPOINT_FILE = "checkpoint-refit.npz"
BUNDLE_FILE = "bundle.onnx"
"""What the run is compiled into, unless another name is asked for."""

CURVES_FILE = "curves.png"
CONFUSION_FILE = "confusion.png"
CALIBRATION_FILE = "calibration.png"
PICTURES = (CURVES_FILE, CONFUSION_FILE, CALIBRATION_FILE)


@dataclass(slots=True)
class TrainingResult:
    """What a run came to.

    Attributes:
        history: loss and, on held-out people, accuracy and macro-F1 of each epoch.
        best_epoch: the epoch whose weights were kept, counted from 0.
        temperature: by which scores are divided so that probabilities are honest.
        transitions: probability of each label a hop after each other, [labels, labels].
        accuracy: accuracy, macro-F1 and expected calibration error, with and without the
            temperature, on the test people.
        confusion: counts on the test people, [labels, labels]; rows are truth.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    temperature: float = 1.0
    transitions: list[list[float]] = field(default_factory=list)
    accuracy: dict[str, float] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)


def build_network(config: TrainingConfig) -> ShareNetwork:
    """Return the untrained network of a configuration.

    Raises:
        TrainingError: its encoder sees more than a window.
    """
    shape = config.network.shape
    if shape.receptive_field >= config.data.window:
        raise TrainingError(
            f"the encoder sees {shape.receptive_field} samples but the window has "
            f"{config.data.window}; use fewer dilations or a longer window"
        )
    labels = LabelSet.from_names(config.data.labels)
    return config.network.build(labels, len(config.data.channels))


def initialise_words(network: ShareNetwork, words: WordsConfig, seed: int) -> None:
    """Begin with the word vectors of a source.

    Raises:
        TrainingError: a package is missing, or a file can't be read.
    """
    table = network.decoder.embedding.weight
    vectors = initial_vectors(words, network.label_set.vocabulary, table.shape[1], seed)
    with torch.no_grad():
        for token, vector in vectors.items():
            table[token] = torch.from_numpy(vector)


def read_run_config(folder: Path) -> TrainingConfig:
    """Return the configuration of a run.

    Raises:
        TrainingError: it is not a run's folder.
    """
    path = folder / CONFIG_FILE
    try:
        return TrainingConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise _unfinished(folder, error) from error
    except ValidationError as error:
        raise TrainingError(f"{path} is damaged: {first_fault(error)}") from error


def _unfinished(folder: Path, error: OSError) -> TrainingError:
    return TrainingError(f"{folder} is not a finished run: no {error.filename}")


def load_run(folder: Path) -> tuple[TrainingConfig, ShareNetwork, TrainingResult]:
    """Return what `train` left in its run folder.

    Raises:
        TrainingError: it is not a finished run.
    """
    config = read_run_config(folder)
    network = build_network(config)
    try:
        result = TypeAdapter(TrainingResult).validate_json((folder / RESULT_FILE).read_bytes())
        arrays = load_arrays(folder / WEIGHTS_FILE)
        network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays})
    except OSError as error:
        raise _unfinished(folder, error) from error
    except ValidationError as error:
        told = f"{folder / RESULT_FILE} is damaged: {first_fault(error)}"
        raise TrainingError(told) from error
    except RuntimeError as error:
        raise TrainingError(
            f"{folder / WEIGHTS_FILE} does not fit the network that {CONFIG_FILE} describes"
        ) from error
    return config, network.eval(), result


def train(config: TrainingConfig, folder: Path) -> TrainingResult:
    """Train, choose the epoch that is best on held-out wearers, calibrate, measure, save.

    An interrupted run of the same configuration goes on from its last whole epoch.

    Raises:
        TrainingError: the sessions can't be learnt from as configured, or the folder holds an
            unfinished run of another configuration, or the one to start from.
        StreamerError: others that `read_stretches` raises of what is learnt from.
    """
    work_deterministically(config.optimisation.threads)
    label_set = LabelSet.from_names(config.data.labels)
    people = _People.read(config, label_set)
    _check_network(config)
    _claim(folder, config)
    checkpoints = folder / CHECKPOINT_FILE, folder / REFIT_CHECKPOINT_FILE
    with _progress_bar() as bar:
        learner, history = _fitted(config, people.learn, people.validation, checkpoints[0], bar)
        result = TrainingResult(history.epochs, history.best_epoch)
        held_out_scores = label_scores(learner, people.validation)
        result.temperature = fit_temperature(held_out_scores, people.validation.labels)
        if config.optimisation.refit:
            learner, _ = _fitted(config, rejoin(people.everyone), None, checkpoints[1], bar)
    result.transitions = transition_matrix(
        people.learn, len(label_set.labels), config.data.hop
    ).tolist()
    draw_curves(result.history, folder / CURVES_FILE)
    if people.test is not None:
        scores = label_scores(learner, people.test)
        truth = people.test.labels
        metrics = measure_windows(scores, truth, result.temperature)
        result.accuracy = {
            "accuracy": metrics.accuracy,
            "macro_f1": metrics.macro_f1,
            "calibration_error": metrics.calibration_error,
            "uncalibrated_error": measure_windows(scores, truth).calibration_error,
        }
        result.confusion = metrics.confusion.tolist()
        draw_confusion(metrics.confusion, label_set.names, folder / CONFUSION_FILE)
        draw_calibration(scores, truth, result.temperature, folder / CALIBRATION_FILE)
    np.savez(
        folder / WEIGHTS_FILE,
        allow_pickle=False,
        **{name: weight.numpy() for name, weight in learner.network.state_dict().items()},
    )
    (folder / RESULT_FILE).write_text(json.dumps(asdict(result), indent=2))
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    return result


def _fitted(
    config: TrainingConfig,
    stretches: list[Stretch],
    validation: WindowSet | None,
    checkpoint: Path,
    bar: Progress,
) -> tuple[ShareLearner, History]:
    """Return a network that has learnt from these stretches."""
    options = config.optimisation
    torch.manual_seed(options.seed)
    network, data = build_network(config), config.data
    teacher = teach(stretches, data.window, data.hop, len(data.labels), options)
    learner = share_learner(network, config.augmentation, options, teacher)
    sampler = WindowSampler(stretches, data.window, options.stride)
    learner.network.encoder.standardise(sampler.values)
    initialise_words(learner.network, config.words, options.seed)
    if config.start is not None:
        start, begun, _ = load_run(config.start)
        take_over(learner.network, config.data.quantities, begun, start.data.quantities)
    history = fit(
        learner,
        sampler,
        validation,
        config.augmentation,
        options,
        labels=config.data.labels,
        devices=config.devices,
        checkpoint=checkpoint,
        watch=_Watch(bar, options.epochs, "once more" if validation is None else "training"),
    )
    return learner, history


def _check_network(config: TrainingConfig) -> None:
    """Check that there will be a network, before what a finished run left is removed."""
    build_network(config)
    if config.start is not None:
        check_start(config, load_run(config.start)[0])


def _claim(folder: Path, config: TrainingConfig) -> None:
    """Write the configuration into the run's folder, unless another's unfinished run is there.

    What a finished run left doesn't outlast its configuration.
    """
    if config.start is not None and config.start.resolve() == folder.resolve():
        raise TrainingError(
            f"{folder} is what training starts from; give another folder for the run with --out"
        )
    text = config.model_dump_json(indent=2)
    path = folder / CONFIG_FILE
    if (folder / CHECKPOINT_FILE).exists() and not (path.exists() and path.read_text() == text):
        raise TrainingError(
            f"{folder} holds an unfinished run of another configuration; "
            "remove it, or give another folder with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS_FILE, RESULT_FILE, BUNDLE_FILE, *PICTURES):
        (folder / name).unlink(missing_ok=True)
    path.write_text(text)


@dataclass(frozen=True, slots=True)
class _People:
    """Whose windows are for what.

    Attributes:
        learn: stretches to learn from.
        everyone: those of the validation people too, as they were published.
        validation: windows by which the best epoch is chosen.
        test: windows by which accuracy is measured.
    """

    learn: list[Stretch]
    everyone: list[Stretch]
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
        others = [stretch for stretch in stretches if stretch.wearer not in data.test]
        learn = rejoin(stretch for stretch in others if stretch.wearer not in data.validation)
        if not learn:
            raise TrainingError(f"every wearer in {data.sessions} is held out; none is left")

        def unlabelled(wearers: Iterable[str]) -> TrainingError:
            return TrainingError(
                f"no annotation of {', '.join(data.labels)} in the sessions of "
                f"{', '.join(wearers)} in {data.sessions}"
            )

        def windows(wearers: tuple[str, ...]) -> WindowSet:
            own = [stretch for stretch in stretches if stretch.wearer in wearers]
            cut = cut_windows(own, data.window, data.hop, 0)
            if not len(cut):
                raise unlabelled(wearers)
            return cut

        if not any(has_window(stretch, data.window, data.hop) for stretch in learn):
            raise unlabelled(sorted({stretch.wearer for stretch in learn}))
        test = windows(data.test) if data.test else None
        return cls(learn, others, windows(data.validation), test)


class _Watch:
    """Tells of every epoch in the progress bar, and in a line where there is no terminal."""

    def __init__(self, bar: Progress, epochs: int, what: str) -> None:
        self._bar = bar
        self._epochs = epochs
        self._what = what
        self._task = bar.add_task(what, total=epochs, figures="")

    def __call__(self, history: History) -> None:
        done, figures = len(history.epochs), history.epochs[-1]
        told = f"loss {figures['loss']:.3f}"
        if "accuracy" in figures:
            told += f", held-out accuracy {figures['accuracy']:.3f}"
        self._bar.update(self._task, completed=done, figures=told)
        if not self._bar.console.is_terminal:
            self._bar.console.print(f"{self._what}, epoch {done} of {self._epochs}: {told}")


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
