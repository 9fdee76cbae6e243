"""The command `streamer`."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console

from device_adapters.adapter import DeviceAdapter
from device_adapters.errors import DeviceAdapterError
from device_adapters.mqtt.connection import BrokerAddress, split_url
from device_adapters.replay import ReplayAdapter, ReplayOptions
from streamer import __version__
from streamer.broker import EmbeddedBroker
from streamer.config import GatewayConfig, read_gateway_config
from streamer.demo import run_demo
from streamer.errors import StreamerError, TrainingError
from streamer.gateway import Gateway, GatewayStatistics
from streamer.inspection import describe_bundle
from streamer.listen import listen as listen_to
from streamer.listen import wearable_named
from streamer.publishers import Publisher
from streamer.publishers.console import ConsolePublisher, as_json, as_text
from streamer.publishers.mqtt import MqttPublisher
from streamer.recognizer import Recognizer, default_bundle
from streamer.recorder import Recorder
from streamer.scan import print_wearables, show_wearables
from streamer.share.runtime import ShareModel
from streamer.subscription import subscribe
from streamer.watch import watch as watch_labels

app = typer.Typer(
    help="Streaming human-activity recognition: wearables in, activity words out over MQTT.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
import_app = typer.Typer(help="Make sessions of public data sets.", no_args_is_help=True)
app.add_typer(import_app, name="import")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The gateway's configuration (TOML).")
]
BundleOption = Annotated[
    Path | None, typer.Option(help="The bundle; the packaged one by default.", show_default=False)
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Also write the figures to this file.")
]
BluetoothOption = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        help="The Bluetooth adapter's name (hci0) or address; the first switched on if unset.",
    ),
]
T = TypeVar("T")


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
    bundle: BundleOption = None,
    hop: Annotated[float | None, typer.Option(min=0.01, help="Seconds between two labels.")] = None,
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
    recognizer = Recognizer.load(bundle or default_bundle(), hop)
    publishers: list[Publisher] = [ConsolePublisher(as_json if as_messages else as_text)]
    if mqtt is not None:
        publishers.append(MqttPublisher(_broker(mqtt), name))
    gateway = Gateway([ReplayAdapter(options)], recognizer, publishers)
    _run(gateway.run())
    refused = gateway.statistics().refused
    if refused and not recognizer.statistics().streams:
        raise next(iter(refused.values()))


@import_app.command()
def hapt(
    folder: Annotated[Path, typer.Argument(help="The data set's folder, with RawData in it.")],
    out: Annotated[Path, typer.Option(help="Folder for the sessions.")] = Path("sessions/hapt"),
) -> None:
    """Make sessions of HAPT's recordings."""
    from streamer.datasets.hapt import read_recordings, write_session  # noqa: PLC0415

    out.mkdir(parents=True, exist_ok=True)
    for recording in read_recordings(folder):
        path = out / f"{recording.session_name}.mcap"
        write_session(recording, path)
        typer.echo(f"{path}: {len(recording.values)} samples, {len(recording.spans)} annotations")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="The training configuration (TOML).")],
    out: Annotated[Path, typer.Option(help="Folder for the run.")] = Path("runs/latest"),
) -> None:
    """Train SHARE on annotated sessions (needs the extra `train`)."""
    with _training_installed():
        from streamer.config_file import read_config  # noqa: PLC0415
        from streamer.training.config import TrainingConfig  # noqa: PLC0415
        from streamer.training.trainer import train as train_network  # noqa: PLC0415

    result = train_network(read_config(config, TrainingConfig), out)
    measured = ", ".join(f"{name} {value:.3f}" for name, value in result.accuracy.items())
    typer.echo(f"{out}: best epoch {result.best_epoch + 1}; on test people: {measured or 'none'}")


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

    manifest = compile_run(folder, out, name or folder.name)
    Console().print(describe_bundle(manifest, out.stat().st_size), highlight=False)


@app.command()
def inspect(
    bundle: Annotated[
        Path | None, typer.Argument(help="The bundle; the packaged one by default.")
    ] = None,
) -> None:
    """Show what a bundle recognises and what it needs."""
    path = bundle or default_bundle()
    manifest = ShareModel.load(path).manifest
    Console().print(describe_bundle(manifest, path.stat().st_size), highlight=False)


@app.command()
def watch(
    url: Annotated[
        str, typer.Argument(help="Broker and topic: mqtt://host[:port][/topic].")
    ] = "mqtt://127.0.0.1:1883",
) -> None:
    """Show live what every wearer does."""
    _run(watch_labels(subscribe(url), Console()))


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
        fault = error.errors()[0]
        raise typer.BadParameter(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error
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
    recognizer = Recognizer.load(settings.model.bundle or default_bundle(), settings.model.hop_s)
    broker = settings.mqtt.broker
    gateway = Gateway(adapters, recognizer, [MqttPublisher(broker, settings.name)], recorder)
    async with contextlib.AsyncExitStack() as stack:
        if settings.mqtt.embedded:
            await stack.enter_async_context(EmbeddedBroker(broker.host, broker.port))
        try:
            async with asyncio.timeout(seconds):
                await gateway.run()
        except TimeoutError:
            pass
        finally:
            typer.echo(_account(gateway.statistics()))


def _account(counts: GatewayStatistics) -> str:
    """Return what became of everything, in a line."""
    taken = counts.recognizer
    rejected = taken.out_of_order + taken.not_finite
    dropped = sum(adapter.dropped for adapter in counts.adapters)
    undelivered = sum(publisher.dropped + publisher.queued for publisher in counts.publishers)
    return (
        f"{taken.samples} samples of {taken.streams} wearables ({taken.lost} lost, "
        f"{dropped} dropped, {rejected} rejected), {taken.labels} labels, "
        f"{undelivered} messages undelivered"
    )


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
        return asyncio.run(stoppable())
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Python 3.11 reports a cancelled server connection as an exception in its callback.
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _broker(url: str) -> BrokerAddress:
    split_url(url)  # raises the plain error that pydantic would wrap
    return BrokerAddress(url=url)


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
