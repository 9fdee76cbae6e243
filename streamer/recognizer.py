"""Samples become labels: resampling, windows and the compiled model, for any number of streams."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from device_adapters.samples import SampleBatch, StreamInfo
from streamer.errors import HopError
from streamer.host_times import HostOffset
from streamer.messages import Alternative, Label, TimeSpan
from streamer.resample import GridRuns, Resampler
from streamer.share.runtime import ShareModel
from streamer.share.streaming import LARGEST_BATCH, StreamStates
from streamer.slots import Slots, grown
from streamer.stream_fit import channel_order, check_batch, check_rate
from streamer.windows import HopBuffers, Hops

LONGEST_HOP_SECONDS = 60.0
ALTERNATIVES = 3
PROBABILITY_DIGITS = 4
TIME_DIGITS = 6
"""Microseconds: finer than any wearable's clock, coarser than float64's error in today's epoch."""


@dataclass(frozen=True, slots=True)
class RecognizerStatistics:
    """What has gone through a recogniser since it was made.

    Attributes:
        streams: streams that are open now.
        samples: samples taken in.
        labels: labels given out.
        lost: samples that the streams are known to lack.
        out_of_order: samples rejected because they were not later than the one before.
        impossible: samples rejected for a value that is not a number, or that no sensor reads.
    """

    streams: int
    samples: int
    labels: int
    lost: int
    out_of_order: int
    impossible: int


@dataclass(frozen=True, slots=True)
class _Stream:
    info: StreamInfo
    slot: int
    order: list[int] | None
    """Where the stream has each of the model's channels; None if it has just them, in order."""

    def reordered(self, batch: SampleBatch) -> SampleBatch:
        """Return a batch with the model's channels."""
        if self.order is None:
            return batch
        return replace(batch, values=batch.values[:, self.order])


class Recognizer:
    """Turns batches of samples into labels.

    Labels depend on the samples alone: not on how they are cut into batches, when they come, or
    what other streams there are. Only where a label's window lies for the host is as the batches
    say.

    Args:
        model: the compiled model.
        hop_s: seconds between two labels of a stream; the bundle's default if None. It becomes a
            whole number of samples, one at least.

    Raises:
        HopError: so many seconds can't be between two labels.

    Example:
        >>> recognizer = Recognizer.load("waist")
        >>> recognizer.manifest.label_set.names[:3]
        ('walk', 'walk up stairs', 'walk down stairs')
    """

    def __init__(self, model: ShareModel, hop_s: float | None = None) -> None:
        if hop_s is not None and not 0 < hop_s <= LONGEST_HOP_SECONDS:
            raise HopError(hop_s, LONGEST_HOP_SECONDS)
        self.manifest = model.manifest
        rate = self.manifest.rate_hz
        self.hop = self.manifest.hop if hop_s is None else max(1, round(hop_s * rate))
        self._names = self.manifest.label_set.names
        self._model_id = self.manifest.model_id
        channels = len(self.manifest.channels)
        self._slots = Slots()
        self._streams: dict[str, _Stream] = {}
        self._devices = [""] * self._slots.capacity
        self._offsets = [HostOffset() for _ in self._devices]
        self._resampler = Resampler(rate, channels)
        self._buffers = HopBuffers(self.manifest.window, self.hop, channels)
        self._states = StreamStates(model, self.hop, self._slots.capacity)
        self._seqs = np.zeros(self._slots.capacity, dtype=np.int64)
        self._seqs_of_closed: dict[str, int] = {}
        self._samples = 0
        self._lost = 0
        self._labels = 0

    @classmethod
    def load(cls, bundle: Path | str, hop_s: float | None = None) -> Self:
        """Load a bundle, by its path or a packaged one's name.

        Raises:
            BundleError: it is missing, damaged or no bundle.
            HopError: so many seconds can't be between two labels.
        """
        return cls(ShareModel.load(bundle), hop_s)

    def open(self, info: StreamInfo) -> int:
        """Announce a stream; its batches are then taken by `push`.

        Returns:
            The stream's slot, by which `push_grid` knows it.

        Raises:
            StreamMismatchError: the bundle needs channels, units or a rate that it does not have.
        """
        order = channel_order(info, self.manifest.channels, self.manifest.units)
        same = order == list(range(len(info.channels)))
        check_rate(info, self.manifest.rate_hz)
        self.close(info.device)
        slot = self._slots.add(info.device)
        if self._slots.capacity > len(self._devices):
            self._grow(self._slots.capacity)
        self._devices[slot] = info.device
        self._offsets[slot] = HostOffset()
        self._resampler.start(slot, info.rate_hz)
        self._seqs[slot] = self._seqs_of_closed.pop(info.device, 0)
        self._streams[info.device] = _Stream(info, slot, None if same else order)
        return slot

    def close(self, device: str) -> None:
        """Forget a stream; if it is opened again its labels are counted on."""
        if self._streams.pop(device, None) is not None:
            slot = self._slots.remove(device)
            self._seqs_of_closed[device] = int(self._seqs[slot])
            self._resampler.end(slot)

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
        slots, ordered = [], []
        for batch in batches:
            stream = self._stream(batch)
            slots.append(stream.slot)
            ordered.append(stream.reordered(batch))
        if not slots:
            return []
        runs = self._resampler.push(slots, ordered)
        if runs.lost.any():
            self._lost += int(runs.lost.sum())
        return self.push_grid(runs)

    def push_grid(self, runs: GridRuns) -> list[Label]:
        """Take grid points of the bundle's rate and channels, instead of batches; see `push_all`.

        Args:
            runs: by the slots of open streams; their lost samples are told and not counted.
        """
        return [
            label
            for hops in self._buffers.push(runs)
            for begin in range(0, len(hops), LARGEST_BATCH)
            for label in self._step(hops.of(slice(begin, begin + LARGEST_BATCH)))
        ]

    def own_kind(self, device: str) -> StreamInfo:
        """Return the description of a stream that has just what the bundle needs."""
        manifest = self.manifest
        return StreamInfo(
            device, manifest.channels, manifest.units, manifest.rate_hz, "push", "device"
        )

    def statistics(self) -> RecognizerStatistics:
        """Return the counts of all streams; also while another thread pushes."""
        return RecognizerStatistics(
            streams=len(self._streams),
            samples=self._samples,
            labels=self._labels,
            lost=self._lost + self._resampler.untold,
            out_of_order=self._resampler.out_of_order,
            impossible=self._resampler.impossible,
        )

    def _grow(self, capacity: int) -> None:
        self._devices += [""] * (capacity - len(self._devices))
        self._offsets += [HostOffset() for _ in range(capacity - len(self._offsets))]
        self._states.grow(capacity)
        self._seqs = grown(self._seqs, capacity)

    def _stream(self, batch: SampleBatch) -> _Stream:
        """Return whose batch it is, and count its samples."""
        if batch.device not in self._streams:
            self.open(self.own_kind(batch.device))
        stream = self._streams[batch.device]
        check_batch(batch, stream.info)
        self._samples += len(batch)
        if len(batch):
            self._offsets[stream.slot].note(batch.end, batch.host_offset_s)
        return stream

    def _step(self, hops: Hops) -> list[Label]:
        """Run one hop of each of these streams; only whole windows get a label."""
        self._states.reset(hops.slots[hops.fresh])
        scores = self._states.step(hops.slots, hops.samples)
        shares = scores.probabilities.astype(np.float64).round(PROBABILITY_DIGITS)
        if hops.complete.all():
            return self._tell(hops, shares)
        return self._tell(hops.of(hops.complete), shares[hops.complete])

    def _tell(self, hops: Hops, shares: NDArray[np.float64]) -> list[Label]:
        # By what is published: so ties fall to the first label, whatever the last digits were.
        ranked = np.argsort(-shares, axis=1, kind="stable")[:, : ALTERNATIVES + 1]
        rate, slots = self.manifest.rate_hz, hops.slots.tolist()
        starts = hops.first / rate
        ends = (hops.first + self.manifest.window - 1) / rate
        offsets = [
            self._offsets[slot].at(end) for slot, end in zip(slots, ends.tolist(), strict=True)
        ]
        seqs = self._seqs[hops.slots]
        self._seqs[hops.slots] += 1
        self._labels += len(seqs)
        columns = (
            ranked,
            shares,
            (starts + offsets).round(TIME_DIGITS),
            (ends + offsets).round(TIME_DIGITS),
            hops.observed.round(PROBABILITY_DIGITS),
            hops.lost,
            seqs,
        )
        rows = zip(slots, *(column.tolist() for column in columns), strict=True)
        return [self._label(*row) for row in rows]

    def _label(
        self,
        slot: int,
        ranked: list[int],
        shares: list[float],
        start: float,
        end: float,
        observed: float,
        lost: int,
        seq: int,
    ) -> Label:
        device = self._devices[slot]
        names = self._names
        best, *others = ranked
        return Label(
            wearer=device,
            devices=(device,),
            label=names[best],
            words=self.manifest.labels[best],
            p=shares[best],
            alternatives=tuple(Alternative(names[other], shares[other]) for other in others),
            window=TimeSpan(start, end),
            observed=observed,
            lost=lost,
            model=self._model_id,
            seq=seq,
        )
