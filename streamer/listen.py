"""What one wearable sends, live: the first thing to look at with a new one."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from device_adapters import host_clock
from device_adapters.ble.adapter import BleAdapter, BleOptions
from device_adapters.ble.link import LinkState, LinkStatus
from device_adapters.ble.wearable import ADDRESS, WearableOptions
from device_adapters.samples import ACCELERATION, SampleBatch, StreamInfo

REFRESH_SECONDS = 0.2
LINE_SECONDS = 1.0
JITTER_SECONDS = 10.0
"""What the jitter is the spread of."""

REST_SECONDS = 1.0
"""What gravity is averaged over."""

STILL = 0.3
"""m/s2: a wearable whose acceleration spreads less than this lies still."""


async def listen(wearable: WearableOptions, seconds: float | None, console: Console) -> None:
    """Show what a wearable sends: a table that lives in a terminal, a line each second elsewhere.

    Args:
        wearable: which one.
        seconds: stop so long after the first sample; never by default.
        console: where it is shown.

    Raises:
        ExceptionGroup: of the `DeviceAdapterError` that kept the wearable from streaming at all;
            one that has streamed is waited for.
    """
    # Faults are part of the view.
    logging.getLogger("device_adapters").setLevel(logging.ERROR)
    async with (
        BleAdapter(BleOptions(wearables=(wearable,))) as adapter,
        asyncio.TaskGroup() as tasks,
    ):
        view = _View(adapter, wearable.name)
        measuring = tasks.create_task(view.measure(), name="listen")
        try:
            with console.status(Text(f"looking for {wearable.description}")):
                await view.first_sample()
            async with asyncio.timeout(seconds):
                await (view.live(console) if console.is_terminal else view.lines(console))
        except TimeoutError:
            pass
        finally:
            measuring.cancel()
            if view.info is not None:
                console.print(view.summary(), highlight=False, soft_wrap=True)


def wearable_named(
    device: str, adapter: str | None, format_name: str | None, description: Path | None
) -> WearableOptions:
    """Return the options that mean a wearable given by its address or its advertised name.

    Args:
        device: the address or name.
        adapter: name or address of the Bluetooth adapter, if not any.
        format_name: the format, if not the one that it advertises.
        description: a file that describes it, for the format `generic`.

    Raises:
        ValidationError: no format has this name, or the device is not named.
        FormatDescriptionError: the file does not describe a wearable.
    """
    is_address = ADDRESS.fullmatch(device.upper()) is not None
    marks: dict[str, Any] = {"address" if is_address else "advertised": device}
    if description is not None:
        marks |= {"format": "generic", "description": description}
    elif format_name is not None:
        marks["format"] = format_name
    return WearableOptions(name="wearable", adapter=adapter, **marks)


@dataclass(frozen=True, slots=True)
class Orientation:
    """How gravity lies in a wearable's axes.

    Attributes:
        up: the axis that points up best, such as `+z`.
        off_degrees: how far it is off.
        magnitude: of the mean acceleration, m/s2; 9.81 for a sound sensor at rest.
        still: whether the wearable hardly moves, so that the rest can be relied on.
    """

    up: str
    off_degrees: float
    magnitude: float
    still: bool


def orientation(acceleration: NDArray[np.float32]) -> Orientation:
    """Return how gravity lies in samples of acceleration, m/s2 [n, 3], n > 0.

    At rest an accelerometer shows what holds it up: gravity's size, upwards.
    """
    mean = acceleration.mean(axis=0, dtype=np.float64)
    magnitude = float(np.linalg.norm(mean))
    axis = int(np.argmax(np.abs(mean)))
    cosine = abs(float(mean[axis])) / magnitude if magnitude else 0.0
    return Orientation(
        up=("-" if mean[axis] < 0 else "+") + "xyz"[axis],
        off_degrees=float(np.degrees(np.arccos(min(1.0, cosine)))),
        magnitude=magnitude,
        still=bool(acceleration.std(axis=0).max() < STILL),
    )


class _View:
    """Measures a stream and tells of it."""

    def __init__(self, adapter: BleAdapter, wearable: str) -> None:
        self.info: StreamInfo | None = None
        self._adapter = adapter
        self._wearable = wearable
        self._began = 0.0
        self._latencies: deque[tuple[float, float]] = deque()
        self._recent: deque[SampleBatch] = deque()

    async def measure(self) -> None:
        """Take in what comes."""
        async for batch in self._adapter:
            now = host_clock.now()
            if self.info is None:
                self._began = now
                self.info = self._adapter.streams[self._wearable]
            newest = batch.end
            self._latencies.append((now, now - newest))
            while self._latencies[0][0] < now - JITTER_SECONDS:
                self._latencies.popleft()
            self._recent.append(batch)
            while self._recent[0].times[-1] < newest - REST_SECONDS:
                self._recent.popleft()

    async def first_sample(self) -> None:
        """Wait for it.

        Raises:
            DeviceAdapterError: why none can be had.
        """
        while self.info is None:
            fault = self._link.fault
            if fault is not None:
                raise fault
            await asyncio.sleep(REFRESH_SECONDS)

    async def live(self, console: Console) -> NoReturn:
        """Show a table until cancelled."""
        with Live(self._table(), console=console, auto_refresh=False) as shown:
            while True:
                shown.update(self._table(), refresh=True)
                await asyncio.sleep(REFRESH_SECONDS)

    async def lines(self, console: Console) -> NoReturn:
        """Print a line each second until cancelled."""
        while True:
            await asyncio.sleep(LINE_SECONDS)
            facts = "  ".join(f"{name} {fact}" for name, fact in self._facts().items())
            console.print(facts, highlight=False, markup=False, soft_wrap=True)

    def summary(self) -> str:
        """Return what came, in a line."""
        link = self._link
        return (
            f"{link.samples} samples in {host_clock.now() - self._began:.1f} s, {link.lost} lost, "
            f"{link.malformed} malformed notifications, {link.reconnects} reconnects"
        )

    @property
    def _link(self) -> LinkStatus:
        (link,) = self._adapter.links()
        return link

    def _facts(self) -> dict[str, str]:
        link, info = self._link, self.info
        assert info is not None  # noqa: S101 - it is shown after the first sample
        facts = {"link": str(link.state)}
        if link.state is not LinkState.STREAMING:
            return facts | {"because": str(link.fault)}
        facts["rate"] = f"{link.rate_hz:.1f} Hz (nominal {info.rate_hz:g})"
        facts["lost"] = f"{link.lost} of {link.samples + link.lost}"
        facts["jitter"] = f"{np.std([late for _, late in self._latencies]) * 1e3:.1f} ms"
        recent = np.concatenate([batch.values for batch in self._recent])
        acceleration = [n for n, unit in enumerate(info.units) if unit == ACCELERATION][:3]
        if len(acceleration) == 3:
            lies = orientation(recent[:, acceleration])
            facts["gravity"] = (
                f"{lies.magnitude:.2f} m/s2, up is {lies.up} ({lies.off_degrees:.0f} deg off"
                f"{'' if lies.still else ', moving'})"
            )
        for channel, value in zip(info.channels, recent[-1], strict=True):
            facts[channel] = f"{value:+.2f}"
        return facts

    def _table(self) -> Table:
        link = self._link
        table = Table(
            title=Text(f"{link.advertised or link.address} through {link.adapter}"),
            title_justify="left",
            show_header=False,
            box=None,
        )
        table.add_column(style="bold")
        table.add_column()
        for name, fact in self._facts().items():
            table.add_row(name, Text(fact))
        return table
