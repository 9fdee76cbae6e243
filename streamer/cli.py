"""The command `streamer`."""

import asyncio
import contextlib
import gc
import json
import logging
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from device_adapters.adapter import DeviceAdapter
from device_adapters.errors import DeviceAdapterError
from device_adapters.mqtt.connection import BrokerAddress, split_url
from device_adapters.mqtt.payloads import payload_class
from device_adapters.mqtt.simulation import Simulation, SimulationOptions
from device_adapters.mqtt.subscriber import MqttOptions
from device_adapters.replay import ReplayAdapter, ReplayOptions
from streamer import __version__
from streamer.broker import EmbeddedBroker
from streamer.config import GatewayConfig, read_gateway_config, read_mqtt_options
from streamer.config_file import first_fault, read_config
from streamer.demo import run_demo
from streamer.errors import LabelSetError, StreamerError, TrainingError
from streamer.gateway import Gateway, GatewayStatistics
from streamer.inspection import describe_bundle, list_bundles
from streamer.listen import listen as listen_to
from streamer.listen import wearable_named
from streamer.publishers import Publisher
from streamer.publishers.console import ConsolePublisher, as_json, as_text
from streamer.publishers.mqtt import MqttPublisher, root_topic
from streamer.recognizer import LONGEST_HOP_SECONDS, Recognizer, RecognizerStatistics
from streamer.recorder import Recorder
from streamer.scan import print_wearables, show_wearables
from streamer.share.packaged import DEFAULT_BUNDLE, find_bundle, packaged_bundles
from streamer.share.runtime import ShareModel
from streamer.subscription import subscribe
from streamer.watch import watch as watch_labels
from streamer.wearers import JoinedDeviceStatistics

if TYPE_CHECKING:
    from streamer.training.config import TrainingConfig

_log = logging.getLogger(__name__)

app = typer.Typer(
    help="Streaming human-activity recognition: wearables in, activity words out over MQTT.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

labels_app = typer.Typer(help="Names of labels, and what they share.", no_args_is_help=True)
app.add_typer(labels_app, name="labels")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The gateway's configuration (TOML).")
]
BundleOption = Annotated[
    str, typer.Option(help="The bundle: a file, or one that `streamer bundles` lists.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Also write the figures to this file.")
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(help="Names to use instead (TOML with a table [labels])."),
]
BluetoothOption = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        help="The Bluetooth adapter's name (hci0) or address; the first switched on if unset.",
    ),
]
T = TypeVar("T")

INTERRUPTED = 128 + signal.SIGINT
"""The exit code by which shells tell that a command was interrupted."""

GARBAGE_OBJECTS = 50_000
"""More objects than before let Python look for cyclic garbage, of which a gateway makes hardly any.
At its usual 700 it goes through all that is known of thousands of wearables again and again, and
labels wait meanwhile."""


def _a_number(value: float | None) -> float | None:
    # Not a number is in every range.
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is not a number")
    return value


def main() -> None:
    """Run the command line; what can go wrong is told in a line, with exit code 1."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    # The adapter `ble` tells of every fault itself, and what to do.
    logging.getLogger("bleak").setLevel(logging.ERROR)
    try:
        app()
    except (StreamerError, DeviceAdapterError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def run(config: ConfigOption) -> None:
    """Run a gateway until it is stopped, or its recordings end."""
    settings, adapters = read_gateway_config(config)
    _run(_serve(settings, adapters))


@app.command()
def record(
    file: Annotated[Path, typer.Argument(help="The new session.")],
    config: ConfigOption,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so long.")] = None,
) -> None:
    """Run a gateway and record its samples and labels to a session."""
    settings, adapters = read_gateway_config(config)
    _run(_serve(settings, adapters, Recorder(file), seconds))


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="The session.")],
    speed: Annotated[str, typer.Option(help="A multiple of real time, or max.")] = "max",
    device: Annotated[str | None, typer.Option(help="Only this device.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Cut the samples into batches of this many.")
    ] = None,
    bundle: BundleOption = DEFAULT_BUNDLE,
    hop: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=LONGEST_HOP_SECONDS,
            callback=_a_number,
            help="Seconds between two labels.",
        ),
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option(help="Publish to this broker too, mqtt://host[:port].")
    ] = None,
    name: Annotated[str, typer.Option(help="The gateway's name in the topics.")] = "gateway",
    as_messages: Annotated[
        bool, typer.Option("--json", help="Print the messages' JSON, not lines for people.")
    ] = False,
) -> None:
    """Recognise a recorded session; prints a line for each label."""
    options = ReplayOptions(file=file, speed=_speed(speed), device=device, batch=batch)
    recognizer = Recognizer.load(bundle, hop)
    publishers: list[Publisher] = [ConsolePublisher(as_json if as_messages else as_text)]
    if mqtt is not None:
        publishers.append(MqttPublisher(_broker(mqtt), name))
    gateway = Gateway([ReplayAdapter(options)], recognizer, publishers)
    _run(gateway.run())
    counts = gateway.statistics()
    if counts.refused and not counts.recognizer.streams:
        raise next(iter(counts.refused.values()))
    if _undelivered(counts):
        raise typer.Exit(1)  # the publisher has told how many


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="Tell all of this one.")] = None,
) -> None:
    """List the public data sets that can be imported."""
    from streamer.datasets import DATASETS, find_dataset  # noqa: PLC0415
    from streamer.datasets.listing import describe_dataset, list_datasets  # noqa: PLC0415

    shown = describe_dataset(find_dataset(name)) if name else list_datasets(DATASETS.values())
    Console().print(shown, highlight=False)


@app.command(name="import")
def import_dataset(
    name: Annotated[str, typer.Argument(help="The data set; `streamer datasets` lists them.")],
    data: Annotated[
        Path, typer.Option(help="Its folder as published, or a compact file of it (.npz).")
    ],
    out: Annotated[Path, typer.Option(help="Folder for what is made of it.")],
    labels: LabelsOption = None,
) -> None:
    """Make sessions of a public data set; a file of windows where it was published as windows."""
    from streamer.datasets import find_dataset  # noqa: PLC0415
    from streamer.datasets.importing import import_data  # noqa: PLC0415
    from streamer.datasets.names import read_names  # noqa: PLC0415

    dataset = find_dataset(name)
    names = read_names(labels, dataset.labels) if labels else {}
    survey = import_data(dataset, data, out, names)
    typer.echo(f"{out}: {survey}")
    for line in survey.missing(dataset):
        typer.echo(f"not the whole data set: {line}", err=True)


@app.command()
def train(
    source: Annotated[
        Path, typer.Argument(help="A training configuration (TOML), or a folder to learn from.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Where the configuration's data set lies: imported, as published, or compact."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the run.")] = Path("runs/latest"),
    start: Annotated[
        Path | None,
        typer.Option(help="A finished run's folder: begin with what it has learnt."),
    ] = None,
    labels: LabelsOption = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Write the bundle here, too; it lies in the run's folder.")
    ] = None,
) -> None:
    """Train SHARE on annotated recordings (needs the extra `train`)."""
    with _training_installed():
        from streamer.training.compiler import compile_run  # noqa: PLC0415
        from streamer.training.trainer import BUNDLE_FILE  # noqa: PLC0415
        from streamer.training.trainer import train as train_network  # noqa: PLC0415

    if source.is_dir() and data is not None:
        raise typer.BadParameter(
            "goes with a configuration; a folder is its own", param_hint="data"
        )
    if bundle is not None:
        _check_writable(bundle)
    with Console().status(Text(f"reading {source}")):
        config = _training_config(source, data, start, labels)
    _tell_of(config)
    try:
        result = train_network(config, out)
    except KeyboardInterrupt:
        typer.echo(
            "interrupted; the same command goes on from the last whole epoch, if there was one",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    measured = ", ".join(f"{name} {value:.3f}" for name, value in result.accuracy.items())
    typer.echo(f"{out}: best epoch {result.best_epoch + 1}; on test people: {measured or 'none'}")
    compiled = out / BUNDLE_FILE
    manifest = compile_run(out, compiled, bundle.stem if bundle else out.resolve().name)
    Console().print(describe_bundle(manifest, compiled.stat().st_size), highlight=False)
    if bundle is not None and bundle.resolve() != compiled.resolve():
        shutil.copyfile(compiled, bundle)


def _training_config(
    source: Path, data: Path | None, start: Path | None, labels: Path | None
) -> "TrainingConfig":
    """Return a file's configuration, or that of a folder, with what is to be otherwise."""
    from streamer.datasets.names import read_names  # noqa: PLC0415
    from streamer.training.config import TrainingConfig  # noqa: PLC0415
    from streamer.training.defaults import configure, move_data, rename_labels  # noqa: PLC0415

    if source.is_dir():
        config = configure(source, start)
    else:
        config = read_config(source, TrainingConfig)
        if start is not None:
            config = config.model_copy(update={"start": start})
    if data is not None:
        config = move_data(config, data)
    if labels is not None:
        config = rename_labels(config, read_names(labels, config.data.labels))
    return config


def _tell_of(config: "TrainingConfig") -> None:
    """Tell what is learnt from and on whom it is measured, and warn of what is not as it should."""
    from streamer.training.defaults import unnamed  # noqa: PLC0415
    from streamer.training.examination import examine  # noqa: PLC0415

    if unnamed(config.data.labels):
        typer.echo(
            "warning: the labels are plain numbers, so nothing of what they mean can be shared; "
            "--labels gives them names",
            err=True,
        )
    with Console().status(Text(f"looking through {config.data.sessions}")):
        examination = examine(config.data)
    typer.echo(f"{config.data.sessions}: {examination.survey}")
    for warning in examination.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(
        f"the best epoch is chosen by {', '.join(config.data.validation)}; "
        f"measured on {', '.join(config.data.test) or 'nobody'}"
    )
    if places := config.augmentation.turned_apart:
        typer.echo(f"worn apart, so turned apart at random: {', '.join(places)}")
    if config.optimisation.refit:
        typer.echo("in the end whoever chooses the epoch is learnt from too")


def _check_writable(bundle: Path) -> None:
    """Check that a bundle can be written, before hours are spent on what it is to hold."""
    if bundle.is_dir():
        raise TrainingError(
            f"--bundle {bundle} is a folder; give a file, such as {bundle / 'model.onnx'}"
        )
    try:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=bundle.parent):
            pass
    except OSError as error:
        raise TrainingError(f"--bundle {bundle} can't be written: {error.strerror}") from error


LabelSource = Annotated[
    str,
    typer.Argument(help="A data set's name, a folder to learn from, or a training configuration."),
]


@labels_app.command(name="show")
def show_labels(source: LabelSource, labels: LabelsOption = None) -> None:
    """Show labels and what they share, before and after names are replaced."""
    with _training_installed():
        from streamer.datasets.names import read_names  # noqa: PLC0415

        published = _published_labels(source)
        _show_names(published, read_names(labels, published) if labels else {})


@labels_app.command(name="suggest")
def suggest_labels(
    source: LabelSource,
    out: Annotated[Path, typer.Option(help="The new file of names (TOML).")],
    url: Annotated[
        str | None,
        typer.Option(
            envvar="STREAMER_CHAT_URL",
            help="Ask this server, such as http://127.0.0.1:11434/v1; word vectors serve without.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(envvar="STREAMER_CHAT_MODEL", help="The server's model.")
    ] = "default",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for an answer.")] = 120.0,
    vectors: Annotated[
        Path | None, typer.Option(help="Word vectors (text); all-MiniLM-L6-v2's by default.")
    ] = None,
) -> None:
    """Suggest names that share words (needs the extra `words`).

    Without a server the names come from word vectors and a small vocabulary of motions. A server's
    key is read from the environment, STREAMER_CHAT_KEY.
    """
    if out.exists():
        raise typer.BadParameter(f"{out} is there already; give another file, or remove it")
    with _training_installed():
        from streamer.training.chat import ChatEndpoint, suggest_by_chat  # noqa: PLC0415
        from streamer.training.defaults import unnamed  # noqa: PLC0415
        from streamer.training.renaming import suggest_by_vectors, write_names  # noqa: PLC0415
        from streamer.training.word_vectors import file_vectors, minilm_vectors  # noqa: PLC0415

        published = _published_labels(source)
        if unnamed(published):
            told = "is a plain number, as all of them are: nothing tells what to call it"
            raise LabelSetError(published[0], told)
    if url is not None:
        key = os.environ.get("STREAMER_CHAT_KEY")
        names = suggest_by_chat(published, ChatEndpoint(url, model, key, timeout))
        origin = f"{model} at {url}"
    elif vectors is not None:
        names = suggest_by_vectors(published, lambda words: file_vectors(vectors, words))
        origin = f"the word vectors {vectors}"
    else:
        names = suggest_by_vectors(published, minilm_vectors)
        origin = "the word vectors of all-MiniLM-L6-v2"
    write_names(out, names, origin)
    _show_names(published, names)
    typer.echo(f"{out}: review it, then: streamer train ... --labels {out}")


def _published_labels(source: str) -> tuple[str, ...]:
    from streamer.datasets import find_dataset  # noqa: PLC0415
    from streamer.datasets.names import plain_words  # noqa: PLC0415
    from streamer.share.labels import LabelSet  # noqa: PLC0415
    from streamer.training.config import TrainingConfig  # noqa: PLC0415
    from streamer.training.defaults import find_labels  # noqa: PLC0415

    path = Path(source)
    if path.is_dir():
        return find_labels(path)
    if path.is_file():
        configured = read_config(path, TrainingConfig).data.labels
        return tuple(map(plain_words, LabelSet.from_names(configured).names))
    return find_dataset(source).labels


def _show_names(published: Sequence[str], names: Mapping[str, str]) -> None:
    from streamer.datasets.names import renamed  # noqa: PLC0415
    from streamer.training.renaming import Structure  # noqa: PLC0415

    for label in published:
        typer.echo(f"{label} -> {names[label]}" if label in names else label)
    typer.echo(f"as published: {Structure.of(published)}")
    if names:
        typer.echo(f"as named:     {Structure.of(renamed(published, names))}")


@app.command(name="compile")
def compile_bundle(
    folder: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    out: Annotated[Path, typer.Option(help="The new bundle.")] = Path("model.onnx"),
    name: Annotated[
        str | None, typer.Option(help="The model's name; the folder's if unset.")
    ] = None,
) -> None:
    """Compile a run into a bundle (needs the extra `train`)."""
    with _training_installed():
        from streamer.training.compiler import compile_run  # noqa: PLC0415

    manifest = compile_run(folder, out, name or folder.resolve().name)
    Console().print(describe_bundle(manifest, out.stat().st_size), highlight=False)


@app.command()
def inspect(
    bundle: Annotated[
        str, typer.Argument(help="A bundle's file, or one that `streamer bundles` lists.")
    ] = DEFAULT_BUNDLE,
) -> None:
    """Show what a bundle recognises and what it needs."""
    manifest = ShareModel.load(bundle).manifest
    Console().print(describe_bundle(manifest, find_bundle(bundle).stat().st_size), highlight=False)


@app.command()
def bundles() -> None:
    """List the packaged bundles; wherever a bundle is asked for, such a name will do."""
    found = [
        (ShareModel.load(path).manifest, path.stat().st_size)
        for path in packaged_bundles().values()
    ]
    Console().print(list_bundles(found), highlight=False)


@app.command()
def watch(
    url: Annotated[
        str, typer.Argument(help="Broker and topic: mqtt://host[:port][/topic].")
    ] = "mqtt://127.0.0.1:1883",
    username: Annotated[str | None, typer.Option(help="If the broker asks for one.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="A file that holds the password.")
    ] = None,
    password_env: Annotated[
        str | None, typer.Option(help="Or the environment variable that does.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Who vouches for the broker, if not the system's own.")
    ] = None,
    cert_file: Annotated[
        Path | None, typer.Option(help="Our certificate, if the broker asks for one.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Its private key, if not in the same file.")
    ] = None,
) -> None:
    """Show live what every wearer does."""
    broker = _broker(
        url,
        username=username,
        password_file=password_file,
        password_env=password_env,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )
    _run(watch_labels(subscribe(broker), Console()))


@app.command()
def simulate(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Send what this gateway's MQTT adapter expects."),
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option(help="The broker, if not the configuration's.")
    ] = None,
    payload: Annotated[
        str | None, typer.Option(help="The format of the messages, if not the configuration's.")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="How many wearables.")] = 1,
    session: Annotated[
        Path | None, typer.Option(help="The recording that they send; synthetic if unset.")
    ] = None,
    rate: Annotated[float, typer.Option(min=1, max=1000, help="Synthetic samples a second.")] = 50,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Samples in a message.")] = 10,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long.")] = None,
    speed: Annotated[str, typer.Option(help="A multiple of real time, or max: for load.")] = "1",
    loss: Annotated[float, typer.Option(min=0, max=1, help="Share of messages lost.")] = 0,
    reorder: Annotated[float, typer.Option(min=0, max=1, help="Share that is overtaken.")] = 0,
    jitter: Annotated[float, typer.Option(min=0, max=60, help="Longest latency, seconds.")] = 0,
    drift: Annotated[float, typer.Option(min=0, max=10_000, help="Of the clocks, ppm.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
) -> None:
    """Publish what wearables that are not there would send, over a network as bad as you like."""
    pace = _speed(speed)
    simulation = Simulation(
        _mqtt_options(config, mqtt, payload),
        SimulationOptions(
            devices=devices,
            session=session,
            rate_hz=rate,
            batch=batch,
            seconds=seconds,
            speed=None if pace == "max" else pace,
            loss=loss,
            reorder=reorder,
            jitter_s=jitter,
            drift_ppm=drift,
            seed=seed,
        ),
    )
    try:
        _run(simulation.run())
    finally:
        sent = simulation.statistics()
        typer.echo(
            f"{sent.messages} messages sent, {sent.overtaken} of them overtaken; "
            f"{sent.lost_messages} lost on purpose, with {sent.lost_samples} samples"
        )


@app.command()
def scan(
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to listen.")] = 5.0,
    adapter: BluetoothOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show devices of no known format too.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line for every device.")
    ] = False,
) -> None:
    """Show which BLE wearables are in range, and which format each speaks."""
    if as_json:
        _run(print_wearables(adapter, seconds))
    else:
        _run(show_wearables(Console(), adapter, seconds, everything=everything))


@app.command()
def listen(
    device: Annotated[str, typer.Argument(help="The wearable's address, or its advertised name.")],
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Stop so long after the first sample.")
    ] = None,
    adapter: BluetoothOption = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="What it speaks; known from its advertisement if unset."),
    ] = None,
    description: Annotated[
        Path | None,
        typer.Option(help="A file that describes the wearable, for the format generic."),
    ] = None,
) -> None:
    """Show live what a BLE wearable sends: samples, rate, jitter, loss, how gravity lies."""
    try:
        wearable = wearable_named(device, adapter, format_name, description)
    except ValidationError as error:
        raise typer.BadParameter(first_fault(error)) from error
    _run(listen_to(wearable, seconds, Console()))


@app.command()
def demo(
    json_file: JsonOption = None,
    speed: Annotated[float, typer.Option(min=1, max=100, help="Multiple of real time.")] = 10.0,
) -> None:
    """See a recorded session being recognised, through a real broker, in under a minute."""
    figures = _run(run_demo(Console(), speed))
    if json_file is not None and figures is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


async def _serve(
    settings: GatewayConfig,
    adapters: list[DeviceAdapter],
    recorder: Recorder | None = None,
    seconds: float | None = None,
) -> None:
    gc.set_threshold(GARBAGE_OBJECTS)
    recognizer = Recognizer.load(settings.model.bundle, settings.model.hop_s)
    broker = settings.mqtt.broker
    gateway = Gateway(
        adapters,
        recognizer,
        [MqttPublisher(broker, settings.name)],
        recorder,
        settings.wearers,
        check_streams=settings.model.check_streams,
    )
    async with contextlib.AsyncExitStack() as stack:
        if settings.mqtt.embedded:
            await stack.enter_async_context(EmbeddedBroker(broker.host, broker.port))
        typer.echo(
            f"gateway {settings.name!r}: labels go to {broker.url}/{root_topic(settings.name)}"
        )
        try:
            async with asyncio.timeout(seconds):
                await gateway.run()
        except TimeoutError:
            pass
        finally:
            typer.echo(_account(gateway.statistics()))


def _account(counts: GatewayStatistics) -> str:
    """Return what became of everything, in a line."""
    joined = [device for wearer in counts.wearers for device in wearer.devices]
    taken: list[RecognizerStatistics | JoinedDeviceStatistics] = [counts.recognizer, *joined]
    samples = sum(own.samples for own in taken)
    rejected = sum(own.out_of_order + own.impossible for own in taken)
    # The recogniser misses most of what the adapters know to be lost, and some that they do not.
    lost = max(sum(own.lost for own in taken), sum(adapter.lost for adapter in counts.adapters))
    no_samples = sum(adapter.rejected for adapter in counts.adapters)
    dropped = sum(adapter.dropped for adapter in counts.adapters)
    return (
        f"{samples} samples of {counts.devices} wearables ({lost} lost, {dropped} dropped, "
        f"{rejected} rejected, {counts.turned_away} turned away), {no_samples} messages rejected, "
        f"{counts.recognizer.labels} labels, {_undelivered(counts)} messages undelivered"
    )


def _undelivered(counts: GatewayStatistics) -> int:
    return sum(publisher.undelivered for publisher in counts.publishers)


def _run(main_task: Coroutine[Any, Any, T]) -> T | None:
    """Run until done; a signal to stop is obeyed tidily and is no error."""

    async def stoppable() -> T | None:
        task = asyncio.ensure_future(main_task)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_report)
        for stop in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(stop, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return None

    try:
        with asyncio.Runner(loop_factory=_fast_event_loop()) as runner:
            return runner.run(stoppable())
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _fast_event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, which comes with the extra `fast`: it sends in one go what is ready."""
    try:
        import uvloop  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    # Python 3.11 reports a cancelled server connection as an exception in its callback.
    if isinstance(error, asyncio.CancelledError):
        return
    # As of a client that hangs up on the gateway's own broker, which speaks MQTT 3.1.1 alone.
    if isinstance(error, OSError):
        _log.warning("%s: %s", context["message"], error)
        return
    loop.default_exception_handler(context)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _broker(url: str, **options: str | Path | None) -> BrokerAddress:
    split_url(url)  # raises the plain error that pydantic would wrap
    try:
        return BrokerAddress.model_validate({"url": url} | options)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(reason) from error


def _mqtt_options(config: Path | None, url: str | None, payload: str | None) -> MqttOptions:
    """Return the adapter's options that a configuration has, with what is to be otherwise."""
    chosen: dict[str, Any] = {}
    if url is not None:
        chosen["url"] = _broker(url).url
    if payload is not None:
        payload_class(payload)  # as for the URL
        chosen["payload"] = payload
    if config is not None:
        return read_mqtt_options(config, chosen)
    return MqttOptions.model_validate(chosen)


def _speed(text: str) -> float | Literal["max"]:
    if text == "max":
        return "max"
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise typer.BadParameter(f"{text!r} is neither a positive number nor max")
    return speed


@contextlib.contextmanager
def _training_installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"{error.name} is not installed; run: pip install 'share-streamer[train]'"
        ) from error
