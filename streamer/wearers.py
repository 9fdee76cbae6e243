"""Whose labels there are: a lone device is its own wearer, several may be joined into one.

A wearer of several devices says which of their channels are the bundle's. Where a device is missing
its points count as not observed; a second bundle that needs fewer channels may speak instead.
"""

import difflib
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec import structs
from pydantic import Field, field_validator

from device_adapters.samples import SampleBatch, StreamInfo
from streamer.config_file import Section
from streamer.errors import StreamMismatchError, WearerError
from streamer.host_times import HostOffset
from streamer.joining import Joined, Joiner
from streamer.messages import Label, TimeSpan
from streamer.recognizer import Recognizer
from streamer.resample import MAX_GAP_SECONDS, GridRuns, Resampler
from streamer.share.bundle import Manifest
from streamer.stream_fit import channel_order, check_batch, check_rate

REST_SECONDS = 1.0
"""A missing device is taken to read the mean of so much before."""

ABSENT_SECONDS = 30.0
"""By then every device has been found and linked; one that has never come is told."""

FALLBACK_SHARE = 0.1
"""The fallback speaks where it has observed at least so much more of the window: a device that is
gone for a quarter of a second of 2.5 s. For less, all devices still know more."""

_log = logging.getLogger(__name__)


class WearerConfig(Section):
    """One wearer of several devices.

    Attributes:
        channels: for each of the bundle's channels, the device's that it is, as `device/channel`.
        wait_s: how far a device may be behind the others before they go on without it.
        fallback: a bundle that needs fewer of the channels, for when a device is missing; by its
            path or a packaged one's name.
    """

    channels: dict[str, str] = Field(min_length=1)
    wait_s: float = Field(default=1.0, ge=0, le=60)
    fallback: Path | None = None

    @field_validator("channels")
    @classmethod
    def _name_device_and_channel(cls, channels: dict[str, str]) -> dict[str, str]:
        used: dict[str, str] = {}
        for channel, source in channels.items():
            device, slash, own = source.partition("/")
            if not (device and slash and own):
                raise ValueError(f"{channel} is {source!r}; expected 'device/channel'")
            if source in used:
                raise ValueError(f"{source!r} is both {used[source]} and {channel}")
            used[source] = channel
        return channels

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that are joined, each once."""
        return tuple(dict.fromkeys(split_source(source)[0] for source in self.channels.values()))


def split_source(source: str) -> tuple[str, str]:
    """Return device and channel of `device/channel`."""
    device, _, channel = source.partition("/")
    return device, channel


@dataclass(frozen=True, slots=True)
class JoinedDeviceStatistics:
    """What has come from one of a wearer's devices.

    Attributes:
        device: its name.
        samples: samples taken in.
        lost: samples that its stream is known to lack.
        out_of_order: samples rejected because they were not later than the one before.
        impossible: samples rejected for a value that is not a number, or that no sensor reads.
        late: points of the model's grid that came after the others had gone on, or a second time.
        missing: points of the model's grid that it was missing from.
    """

    device: str
    samples: int
    lost: int
    out_of_order: int
    impossible: int
    late: int
    missing: int


@dataclass(frozen=True, slots=True)
class WearerStatistics:
    """What has become of one wearer of several devices.

    Attributes:
        wearer: the name.
        devices: of each device.
        fallback_labels: labels that came from the fallback.
    """

    wearer: str
    devices: tuple[JoinedDeviceStatistics, ...]
    fallback_labels: int


class Wearers:
    """Recognises lone devices and wearers of several, by one recogniser.

    Args:
        recognizer: of the bundle that everyone is read by.
        configs: the wearers of several devices, by name; no device may be in two.

    Raises:
        WearerError: channels or fallback are not what the bundle needs.
        BundleError: a fallback is missing, damaged or no bundle.
    """

    def __init__(self, recognizer: Recognizer, configs: Mapping[str, WearerConfig]) -> None:
        self._recognizer = recognizer
        self._fallbacks: dict[Path, Recognizer] = {}
        self._wearers = {name: self._wearer(name, config) for name, config in configs.items()}
        self._of = {
            device: wearer for wearer in self._wearers.values() for device in wearer.devices
        }

    def open(self, info: StreamInfo) -> None:
        """Announce a device's stream; its batches may then be pushed.

        Raises:
            StreamMismatchError: it is not what the bundle, or its wearer's channels, need.
            WearerError: a lone device bears the name of a wearer of several.
        """
        if info.device in self._of:
            self._of[info.device].open(info)
        elif info.device in self._wearers:
            joined = ", ".join(self._wearers[info.device].devices)
            raise WearerError(
                info.device,
                f"a device has this name too, which is none of its own ({joined}); rename either",
            )
        else:
            self._recognizer.open(info)

    @property
    def manifest(self) -> Manifest:
        """Of the bundle that everyone is read by."""
        return self._recognizer.manifest

    def channels_of(self, device: str) -> tuple[str, ...]:
        """Return which of a device's channels are read."""
        if device in self._of:
            return self._of[device].channels_of(device)
        return self.manifest.channels

    def is_lone(self, device: str) -> bool:
        """Return whether labels of this name are this device's alone."""
        return device not in self._of and device not in self._wearers

    def close(self, device: str) -> None:
        """Forget a device's stream; a wearer of several goes on without it."""
        if device in self._of:
            self._of[device].close(device)
        elif self.is_lone(device):
            self._recognizer.close(device)

    def push_all(self, batches: Iterable[SampleBatch]) -> list[Label]:
        """Take batches of open streams, in the order in which they came, and return the labels.

        Each wearer's labels come oldest first.

        Raises:
            StreamMismatchError: a batch has another number of channels than its stream.
        """
        if not self._wearers:
            return self._recognizer.push_all(batches)
        alone = []
        joined: dict[str, list[Joined]] = {}
        for batch in batches:
            if batch.device in self._of:
                wearer = self._of[batch.device]
                joined.setdefault(wearer.name, []).append(wearer.push(batch))
            else:
                alone.append(batch)
        return self._recognizer.push_all(alone) + self._labels(joined)

    def flush(self) -> list[Label]:
        """Return the labels of what still waits for devices; at the end of all streams."""
        return self._labels({name: [own.flush()] for name, own in self._wearers.items()})

    def statistics(self) -> tuple[WearerStatistics, ...]:
        """Return the counts of the wearers of several devices."""
        return tuple(wearer.statistics() for wearer in self._wearers.values())

    def _wearer(self, name: str, config: WearerConfig) -> "_Wearer":
        fallback = None
        if config.fallback is not None:
            hop_s = self._recognizer.hop / self._recognizer.manifest.rate_hz
            if config.fallback not in self._fallbacks:
                self._fallbacks[config.fallback] = Recognizer.load(config.fallback, hop_s)
            fallback = self._fallbacks[config.fallback]
        return _Wearer(name, config, self._recognizer, fallback)

    def _labels(self, joined: Mapping[str, list[Joined]]) -> list[Label]:
        """Return the labels that each wearer's new points complete."""
        new = {name: [part for part in own if len(part.points)] for name, own in joined.items()}
        wearers = [self._wearers[name] for name, own in new.items() if own]
        labels = _recognized(self._recognizer, [own.full for own in wearers], new)
        instead = {
            (label.wearer, label.seq): label
            for recognizer in self._fallbacks.values()
            for label in _recognized(
                recognizer,
                [own.less for own in wearers if own.less and own.less.recognizer is recognizer],
                new,
            )
        }
        told = [
            self._wearers[label.wearer].told(label, instead.get((label.wearer, label.seq)))
            for label in labels
        ]
        for wearer in wearers:
            wearer.forget()
        return told


class _Reading:
    """What one bundle reads of a wearer."""

    def __init__(
        self, wearer: str, recognizer: Recognizer, columns: list[int], of: list[int]
    ) -> None:
        self.wearer = wearer
        self.recognizer = recognizer
        self.devices = sorted(set(of))
        self._slot = recognizer.open(recognizer.own_kind(wearer))
        self._columns = columns

    def runs(self, joined: Iterable[Joined]) -> list[GridRuns]:
        return [part.runs(self._slot, self._columns, self.devices) for part in joined]


class _Wearer:
    """One wearer of several devices."""

    def __init__(
        self, name: str, config: WearerConfig, recognizer: Recognizer, fallback: Recognizer | None
    ) -> None:
        manifest = recognizer.manifest
        _check_channels(name, config, manifest)
        self.name = name
        self.devices = config.devices
        sources = [split_source(config.channels[channel]) for channel in manifest.channels]
        of = [self.devices.index(device) for device, _ in sources]
        columns = [
            [column for column, owner in enumerate(of) if owner == device]
            for device in range(len(self.devices))
        ]
        rate = manifest.rate_hz
        self._joiner = Joiner(
            columns,
            wait=round(config.wait_s * rate),
            rest=round(REST_SECONDS * rate),
            gap=int(MAX_GAP_SECONDS * rate),
        )
        self._inputs = [
            _Input(
                manifest,
                tuple(sources[column][1] for column in own),
                tuple(manifest.units[column] for column in own),
            )
            for own in columns
        ]
        self.full = _Reading(name, recognizer, list(range(len(of))), of)
        self.less = None
        if fallback is not None:
            _check_fallback(name, manifest, fallback.manifest)
            chosen = [manifest.channels.index(own) for own in fallback.manifest.channels]
            self.less = _Reading(name, fallback, chosen, [of[column] for column in chosen])
        self._fallback_labels = 0
        self._window = manifest.window
        self._rate = rate
        self._set = HostOffset()
        self._newest = -math.inf
        self._points = np.empty(0, dtype=np.intp)
        self._present = np.empty((0, len(self.devices)), dtype=np.bool_)
        self._awaited = set(self.devices)
        self._awaited_since = math.inf

    def channels_of(self, device: str) -> tuple[str, ...]:
        return self._inputs[self.devices.index(device)].channels

    def open(self, info: StreamInfo) -> None:
        self._awaited.discard(info.device)
        self._inputs[self.devices.index(info.device)].open(info)

    def close(self, device: str) -> None:
        self._joiner.forget(self.devices.index(device))

    def push(self, batch: SampleBatch) -> Joined:
        device = self.devices.index(batch.device)
        if len(batch):
            self._newest = max(self._newest, batch.end + batch.clock_offset_s)
            self._set.note(self._newest, batch.clock_set_s)
        return self._remembered(self._joiner.push(device, self._inputs[device].push(batch)))

    def flush(self) -> Joined:
        return self._remembered(self._joiner.flush())

    def told(self, label: Label, instead: Label | None) -> Label:
        """Return what is told of a window, given what either bundle says of it."""
        if self._awaited:
            self._tell_awaited(label.window.end)
        reading = self.full
        if (
            self.less is not None
            and instead is not None
            and instead.observed - label.observed >= FALLBACK_SHARE
        ):
            label, reading = instead, self.less
            self._fallback_labels += 1
        first = round(label.window.start * self._rate)
        begin, end = np.searchsorted(self._points, [first, first + self._window])
        present = self._present[begin:end]
        devices = tuple(
            self.devices[device] for device in reading.devices if present[:, device].any()
        )
        set_by = self._set.at(label.window.end)
        window = TimeSpan(label.window.start + set_by, label.window.end + set_by)
        return structs.replace(label, devices=devices, window=window)

    def forget(self) -> None:
        """Forget who was there before the newest window."""
        self._points = self._points[-self._window :].copy()
        self._present = self._present[-self._window :].copy()

    def statistics(self) -> WearerStatistics:
        return WearerStatistics(
            self.name,
            tuple(
                own.statistics(device, int(late), int(missing))
                for device, own, late, missing in zip(
                    self.devices,
                    self._inputs,
                    self._joiner.late,
                    self._joiner.missing,
                    strict=True,
                )
            ),
            self._fallback_labels,
        )

    def _tell_awaited(self, now: float) -> None:
        """Tell once which devices have not come, when they had their time to."""
        self._awaited_since = min(self._awaited_since, now)
        if now - self._awaited_since < ABSENT_SECONDS:
            return
        _log.warning(
            "wearer %r is labelled without %s, of which nothing came; switch it on, or correct its "
            "name in the wearer's channels",
            self.name,
            " and ".join(device for device in self.devices if device in self._awaited),
        )
        self._awaited.clear()

    def _remembered(self, joined: Joined) -> Joined:
        if len(joined.points):
            self._points = np.concatenate([self._points, joined.points])
            self._present = np.concatenate([self._present, joined.present])
        return joined


class _Input:
    """The way of one device's samples to the grid.

    Args:
        manifest: of the bundle.
        channels: of the device, that are read.
        units: which they must be in.
    """

    def __init__(
        self, manifest: Manifest, channels: tuple[str, ...], units: tuple[str, ...]
    ) -> None:
        self._rate = manifest.rate_hz
        self.channels = channels
        self._units = units
        self._resampler = Resampler(self._rate, len(channels))
        self._info: StreamInfo | None = None
        self._order: list[int] = []
        self._samples = 0
        self._lost = 0

    def open(self, info: StreamInfo) -> None:
        self._order = channel_order(info, self.channels, self._units)
        check_rate(info, self._rate)
        self._info = info
        self._resampler.start(0, info.rate_hz)

    def push(self, batch: SampleBatch) -> GridRuns:
        if self._info is None:
            raise StreamMismatchError(
                batch.device, "it has", "no description", "one before its first batch"
            )
        check_batch(batch, self._info)
        self._samples += len(batch)
        values = batch.values[:, self._order]
        runs = self._resampler.push(
            [0], [SampleBatch(batch.device, batch.shared_times, values, batch.lost)]
        )
        self._lost += int(runs.lost.sum())
        return runs

    def statistics(self, device: str, late: int, missing: int) -> JoinedDeviceStatistics:
        return JoinedDeviceStatistics(
            device,
            self._samples,
            self._lost + self._resampler.untold,
            self._resampler.out_of_order,
            self._resampler.impossible,
            late,
            missing,
        )


def _recognized(
    recognizer: Recognizer, readings: Iterable[_Reading], new: Mapping[str, list[Joined]]
) -> list[Label]:
    runs = [run for reading in readings for run in reading.runs(new[reading.wearer])]
    return recognizer.push_grid(GridRuns.concatenated(runs)) if runs else []


def _check_channels(name: str, config: WearerConfig, manifest: Manifest) -> None:
    needed = ", ".join(manifest.channels)
    for channel, source in config.channels.items():
        if channel not in manifest.channels:
            near = difflib.get_close_matches(channel, manifest.channels, n=1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise WearerError(
                name,
                f"channel {channel!r} (mapped to {source!r}) is none of bundle {manifest.name}; "
                f"{meant}It needs {needed}",
            )
    missing = [channel for channel in manifest.channels if channel not in config.channels]
    if missing:
        raise WearerError(
            name,
            f"nothing is mapped to {', '.join(missing)}; bundle {manifest.name} needs {needed}",
        )


def _check_fallback(name: str, full: Manifest, less: Manifest) -> None:
    """Check that the fallback's windows and labels can stand for the bundle's."""
    compared = {
        "rate_hz": (less.rate_hz, full.rate_hz),
        "window": (less.window, full.window),
        "gravity": (less.gravity, full.gravity),
        "labels": (sorted(less.label_set.names), sorted(full.label_set.names)),
    }
    for what, (own, needed) in compared.items():
        if own != needed:
            raise WearerError(
                name, f"fallback {less.name} has {what} {own}; bundle {full.name} has {needed}"
            )
    units = dict(zip(full.channels, full.units, strict=True))
    for channel, unit in zip(less.channels, less.units, strict=True):
        if channel not in units:
            raise WearerError(
                name,
                f"fallback {less.name} needs channel {channel!r}; "
                f"bundle {full.name} has {', '.join(full.channels)}",
            )
        if unit != units[channel]:
            raise WearerError(
                name,
                f"fallback {less.name} needs channel {channel} in {unit}; "
                f"bundle {full.name} has it in {units[channel]}",
            )
