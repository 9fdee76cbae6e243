"""Samples become labels: resampling, windows and the compiled model, for any number of streams."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Self

import numpy as np

from device_adapters.samples import SampleBatch, StreamInfo
from streamer.errors import StreamMismatchError
from streamer.messages import Alternative, Label, TimeSpan
from streamer.resample import Resampler
from streamer.share.runtime import ShareModel
from streamer.share.streaming import StreamStates
from streamer.stream_fit import channel_order, check_rate
from streamer.windows import Hop, HopBuffers

ALTERNATIVES = 3
LARGEST_BATCH = 64
"""Streams in one call; beyond it a call's arrays no longer fit a core's cache."""

PROBABILITY_DIGITS = 4
TIME_DIGITS = 6
"""Microseconds: finer than any wearable's clock, coarser than float64's error in today's epoch."""


def default_bundle() -> Path:
    """Return the bundle that comes with the package."""
    return Path(str(files("streamer") / "resources" / "hapt.onnx"))


@dataclass(frozen=True, slots=True)
class RecognizerStatistics:
    """What has gone through a recogniser.

    Attributes:
        streams: open streams.
        samples: samples taken in.
        labels: labels given out.
        lost: samples that the streams are known to lack.
        out_of_order: samples rejected because they were not later than the one before.
        not_finite: samples rejected because a value was not a number.
    """

    streams: int
    samples: int
    labels: int
    lost: int
    out_of_order: int
    not_finite: int


class _Stream:
    def __init__(self, info: StreamInfo, order: list[int], rate_hz: float) -> None:
        self.order = np.array(order)
        self.resampler = Resampler(info.rate_hz, rate_hz, len(order))
        self.channels = len(info.channels)
        self.samples = 0
        self.lost = 0
        self.labels = 0


class Recognizer:
    """Turns batches of samples into labels.

    Labels depend on the samples alone: not on how they are cut into batches, when they come, or
    what other streams there are.

    Args:
        model: the compiled model.
        hop_s: seconds between two labels of a stream; the bundle's default if None.

    Example:
        >>> recognizer = Recognizer.load(default_bundle())
        >>> recognizer.manifest.label_set.names[:3]
        ('walk', 'walk up stairs', 'walk down stairs')
    """

    def __init__(self, model: ShareModel, hop_s: float | None = None) -> None:
        self.manifest = model.manifest
        rate = self.manifest.rate_hz
        self.hop = self.manifest.hop if hop_s is None else max(1, round(hop_s * rate))
        self._model_id = self.manifest.model_id
        self._names = self.manifest.label_set.names
        self._streams: dict[str, _Stream] = {}
        self._buffers = HopBuffers(self.manifest.window, self.hop, len(self.manifest.channels))
        self._states = StreamStates(model, self.hop, self._buffers.capacity)

    @classmethod
    def load(cls, bundle: Path | str, hop_s: float | None = None) -> Self:
        """Load a bundle.

        Raises:
            BundleError: it is missing, damaged or no bundle.
        """
        return cls(ShareModel.load(Path(bundle)), hop_s)

    def open(self, info: StreamInfo) -> None:
        """Announce a stream; its batches are then taken by `push`.

        Raises:
            StreamMismatchError: the bundle needs channels, units or a rate that it does not have.
        """
        order = channel_order(info, self.manifest.channels, self.manifest.units)
        check_rate(info, self.manifest.rate_hz)
        self.close(info.device)
        self._streams[info.device] = _Stream(info, order, self.manifest.rate_hz)
        self._buffers.add(info.device)
        if self._buffers.capacity > self._states.capacity:
            self._states.grow(self._buffers.capacity)

    def close(self, device: str) -> None:
        """Forget a stream."""
        if self._streams.pop(device, None) is not None:
            self._buffers.remove(device)

    def push(self, batch: SampleBatch) -> list[Label]:
        """Take a batch and return the labels of the windows that it completes, oldest first.

        A device that was not opened is taken to have the bundle's own channels, units and rate.

        Raises:
            StreamMismatchError: the batch has another number of channels than its stream.
        """
        return self.push_all([batch])

    def push_all(self, batches: Iterable[SampleBatch]) -> list[Label]:
        """Take batches of any streams, and run whichever have a hop ready in one call; see `push`.

        Each stream's labels come oldest first.
        """
        waiting = [hop for batch in batches for hop in self._hops(batch)]
        labels = []
        while waiting:
            ready, waiting = _first_of_each(waiting)
            labels += self._step(ready)
        return labels

    def statistics(self) -> RecognizerStatistics:
        """Return the counts of the open streams."""
        streams = self._streams.values()
        rejected = [stream.resampler.statistics() for stream in streams]
        return RecognizerStatistics(
            streams=len(streams),
            samples=sum(stream.samples for stream in streams),
            labels=sum(stream.labels for stream in streams),
            lost=sum(stream.lost for stream in streams),
            out_of_order=sum(counts.out_of_order for counts in rejected),
            not_finite=sum(counts.not_finite for counts in rejected),
        )

    def _own_kind(self, device: str) -> StreamInfo:
        manifest = self.manifest
        return StreamInfo(
            device, manifest.channels, manifest.units, manifest.rate_hz, "push", "device"
        )

    def _hops(self, batch: SampleBatch) -> Iterator[Hop]:
        if batch.device not in self._streams:
            self.open(self._own_kind(batch.device))
        stream = self._streams[batch.device]
        if batch.values.shape[1] != stream.channels:
            raise StreamMismatchError(
                batch.device, "a batch has", f"{batch.values.shape[1]} channels", stream.channels
            )
        stream.samples += len(batch)
        ordered = SampleBatch(batch.device, batch.times, batch.values[:, stream.order], batch.lost)
        for run in stream.resampler.push(ordered):
            stream.lost += int(run.lost.sum())
            yield from self._buffers.push(batch.device, run)

    def _step(self, hops: list[Hop]) -> list[Label]:
        """Run one hop of each of these streams; only whole windows get a label."""
        self._states.reset(np.array([hop.slot for hop in hops if hop.fresh], dtype=np.intp))
        scores = self._states.step(
            np.array([hop.slot for hop in hops]), np.stack([hop.samples for hop in hops])
        )
        shares = scores.probabilities.astype(np.float64).round(PROBABILITY_DIGITS).tolist()
        return [
            self._label(hop, own) for hop, own in zip(hops, shares, strict=True) if hop.complete
        ]

    def _label(self, hop: Hop, shares: list[float]) -> Label:
        # By what is published: so ties fall to the first label, whatever the last digits were.
        ranked = sorted(range(len(shares)), key=lambda label: -shares[label])
        best, *others = ranked[: ALTERNATIVES + 1]
        rate = self.manifest.rate_hz
        start, end = hop.first / rate, (hop.first + self.manifest.window - 1) / rate
        stream = self._streams[hop.stream]
        seq, stream.labels = stream.labels, stream.labels + 1
        return Label(
            wearer=hop.stream,
            devices=(hop.stream,),
            label=self._names[best],
            words=self.manifest.labels[best],
            p=shares[best],
            alternatives=tuple(Alternative(self._names[i], shares[i]) for i in others),
            window=TimeSpan(round(start, TIME_DIGITS), round(end, TIME_DIGITS)),
            observed=round(hop.observed, PROBABILITY_DIGITS),
            lost=hop.lost,
            model=self._model_id,
            seq=seq,
        )


def _first_of_each(hops: list[Hop]) -> tuple[list[Hop], list[Hop]]:
    """Return the oldest hop of each stream, of at most `LARGEST_BATCH` streams, and the rest."""
    ready: dict[int, Hop] = {}
    rest = []
    for hop in hops:
        if hop.slot in ready or len(ready) == LARGEST_BATCH:
            rest.append(hop)
        else:
            ready[hop.slot] = hop
    return list(ready.values()), rest
