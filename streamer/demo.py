"""The whole way in one process: a recorded session, a gateway, a broker, a subscriber."""

import asyncio
import contextlib
import math
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.replay import ReplayAdapter, ReplayOptions
from device_adapters.session_file import Annotation, read_annotations
from streamer.broker import EmbeddedBroker
from streamer.evaluation.frames import truth_at
from streamer.gateway import Gateway
from streamer.messages import Label
from streamer.publishers.console import as_text
from streamer.publishers.mqtt import MqttPublisher
from streamer.recognizer import Recognizer
from streamer.share.packaged import DEFAULT_BUNDLE
from streamer.subscription import subscribe
from streamer.watch import REFRESHES_PER_SECOND, probability_bar

GATEWAY_NAME = "demo"
HOST = "127.0.0.1"
LAST_LABELS_SECONDS = 5.0
"""How long the subscriber may take for the last labels once the session is over."""


def demo_session() -> Path:
    """Return the recorded session that comes with the package."""
    return Path(str(files("streamer") / "resources" / "demo.mcap"))


@dataclass(slots=True)
class Score:
    """What the subscriber has seen, held against the annotations.

    Attributes:
        annotations: what the wearer truly did.
        labels: labels that arrived.
        right: for each activity, how many labels agreed with it, where it was annotated.
        judged: for each activity, how many labels were about an annotated moment.
        latencies_ms: from when a window's last sample was due to when its label arrived.
    """

    annotations: list[Annotation]
    labels: int = 0
    right: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, label: Label, latency_ms: float) -> str | None:
        """Count a label and return what was true at the middle of its window, if annotated."""
        truth = truth_at(self.annotations, label.window.middle)
        self.labels += 1
        self._arrived.set()
        self.latencies_ms.append(latency_ms)
        if truth is not None:
            self.judged[truth] += 1
            self.right[truth] += label.label == truth
        return truth

    async def reached(self, labels: int) -> None:
        """Wait until so many labels have arrived."""
        while self.labels < labels:
            self._arrived.clear()
            await self._arrived.wait()

    @property
    def agreement(self) -> float:
        """Share of the judged labels that were right; not a number before the first."""
        judged = self.judged.total()
        return self.right.total() / judged if judged else math.nan

    def summary(self, seconds: float) -> dict[str, Any]:
        """Return the figures that the demo ends with."""
        p50, p99 = np.percentile(self.latencies_ms, [50, 99]) if self.labels else (0.0, 0.0)
        return {
            "labels": self.labels,
            "agreement": round(self.agreement, 4),
            "latency_ms": {"p50": round(float(p50), 2), "p99": round(float(p99), 2)},
            "seconds": round(seconds, 2),
        }


async def run_demo(console: Console, speed: float) -> dict[str, Any]:
    """Replay the packaged session through a gateway and show what a subscriber gets.

    Returns:
        `labels`, `agreement`, `latency_ms` (`p50`, `p99`) and `seconds`.
    """
    session = demo_session()
    began = asyncio.get_running_loop().time()
    score = Score(await asyncio.to_thread(read_annotations, session))
    view = _View(console, score, speed)
    address = BrokerAddress(url=f"mqtt://{HOST}:{_free_port()}")
    adapter = ReplayAdapter(ReplayOptions(file=session, speed=speed))
    recognizer = await asyncio.to_thread(Recognizer.load, DEFAULT_BUNDLE)
    gateway = Gateway([adapter], recognizer, [MqttPublisher(address, GATEWAY_NAME)])
    ready = asyncio.Event()
    labels = subscribe(f"{address.url}/har/{GATEWAY_NAME}/+/activity", ready=ready)
    view.open(address.url)
    async with EmbeddedBroker(HOST, address.port), asyncio.TaskGroup() as tasks:
        subscriber = tasks.create_task(
            _follow(labels, adapter, score, view), name="demo subscriber"
        )
        await ready.wait()
        await gateway.run()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_LABELS_SECONDS):
                await score.reached(recognizer.statistics().labels)
        subscriber.cancel()
    figures = score.summary(asyncio.get_running_loop().time() - began)
    view.close(figures)
    return figures


async def _follow(
    labels: AsyncIterator[Label],
    adapter: ReplayAdapter,
    score: Score,
    view: "_View",
) -> None:
    async for label in labels:
        now = asyncio.get_running_loop().time()
        latency = now - adapter.pacer.due(label.window.end)
        truth = score.add(label, latency * 1000)
        view.show(label, truth)


class _View:
    """The subscriber's screen: alive in a terminal, a line for each change elsewhere."""

    def __init__(self, console: Console, score: Score, speed: float) -> None:
        self._console = console
        self._score = score
        self._speed = speed
        self._said: tuple[str, str | None] | None = None
        self._strip = Text()
        self._live = Live(console=console, refresh_per_second=REFRESHES_PER_SECOND)

    def open(self, url: str) -> None:
        self._console.print(
            f"A recorded session at {self._speed:g}x, a gateway with a broker at {url}, and a "
            f"subscriber to har/{GATEWAY_NAME}/+/activity, which shows what arrives:\n",
            highlight=False,
        )
        if self._console.is_terminal:
            self._live.start()

    def show(self, label: Label, truth: str | None) -> None:
        self._strip.append("█", style=_colour(label, truth))
        if self._console.is_terminal:
            self._live.update(self._panel(label, truth))
        elif self._said != (label.label, truth):
            self._said = (label.label, truth)
            said = f"{as_text(label)}  {_verdict(label, truth)}"
            self._console.print(said, highlight=False, soft_wrap=True)

    def close(self, figures: dict[str, Any]) -> None:
        self._live.stop()
        latency = figures["latency_ms"]
        self._console.print()
        self._console.print(self._table())
        self._console.print(
            f"{figures['labels']} labels in {figures['seconds']:.1f} s, "
            f"{figures['agreement']:.1%} of those about annotated moments agree; from a window's "
            f"last sample to its label at the subscriber {latency['p50']:.1f} ms (p50), "
            f"{latency['p99']:.1f} ms (p99).",
            highlight=False,
        )

    def _panel(self, label: Label, truth: str | None) -> RenderableType:
        facts = Table.grid(padding=(0, 2))
        facts.add_row("says", Text(label.label, style=f"bold {_colour(label, truth)}"))
        facts.add_row("probability", probability_bar(label.p))
        facts.add_row("truth", truth or Text("not annotated", style="dim"))
        facts.add_row("so far", f"{self._score.labels} labels, {self._score.agreement:.1%} agree")
        strip = self._strip[-(self._console.width - 6) :]
        return Panel(Group(facts, Text(), strip), title=label.wearer, title_align="left")

    def _table(self) -> Table:
        table = Table(title="agreement with the annotations", title_justify="left")
        for heading in ("activity", "labels", "agree"):
            table.add_column(heading, justify="left" if heading == "activity" else "right")
        for activity, judged in self._score.judged.most_common():
            table.add_row(activity, str(judged), f"{self._score.right[activity] / judged:.0%}")
        return table


def _colour(label: Label, truth: str | None) -> str:
    if truth is None:
        return "bright_black"
    return "green" if label.label == truth else "red"


def _verdict(label: Label, truth: str | None) -> str:
    if truth is None:
        return "(not annotated)"
    return "right" if label.label == truth else f"wrong: {truth}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
