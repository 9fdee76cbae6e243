"""Which streams the recogniser takes: those that fit the bundle, by description and by samples."""

import logging
import math
from collections.abc import Container, Iterable
from dataclasses import dataclass

from device_adapters.samples import SampleBatch, StreamInfo
from streamer.errors import (
    ImplausibleStreamError,
    NameInUseError,
    StreamerError,
    StreamMismatchError,
    WearerError,
)
from streamer.messages import Label, StreamStatus
from streamer.stream_check import Severity, StreamCheck
from streamer.wearers import Wearers

RESTART_SECONDS = 5.0
"""A refused stream that was silent for longer may have been mended meanwhile, the name of one that
was may pass to another source, and one that claimed another's name claims it no more."""

HAS_LEFT = "nothing has come of it for long; it is forgotten until it comes back"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stream:
    info: StreamInfo
    check: StreamCheck | None = None
    """Until it is done."""

    refusal: StreamerError | None = None
    rival: NameInUseError | None = None
    """Why another source's samples under this name are turned away."""

    rival_came: float = -math.inf
    """What `newest` was when that source's newest batch came."""

    findings: tuple[str, ...] = ()
    newest: float = -math.inf
    """Time of the newest sample on the gateway's clock."""

    def status(self) -> StreamStatus:
        """Return what is to be told of it."""
        told = self.findings if self.refusal is None else (str(self.refusal),)
        if self.rival is not None:
            told = (*told, str(self.rival))
        return StreamStatus(self.info.device, self.refusal is None, told)


class Admission:
    """Opens streams for the recogniser, checks their first samples, and closes what does not fit.

    A stream is labelled from its first sample on; when the check finds its labels nonsense they
    end with the check's last sample. It is held to the bundle again when its description changes,
    and checked again, without labels meanwhile, when it comes back after a silence. A batch that
    came before its stream's description changed, and has other channels, is turned away. So is a
    stream of another adapter under a name that is in use.

    Args:
        wearers: what turns admitted samples into labels.
        check_streams: whether to check samples, and not only descriptions.
    """

    def __init__(self, wearers: Wearers, *, check_streams: bool) -> None:
        self._wearers = wearers
        self._check_streams = check_streams
        self._streams: dict[str, _Stream] = {}
        self._admitted: list[SampleBatch] = []
        self._closing: list[str] = []
        self._labels: list[Label] = []
        self._logged: dict[str, str] = {}
        self._seen: set[str] = set()
        self._told: dict[str, StreamStatus] = {}
        self._news: list[StreamStatus] = []
        self._turned_away = 0

    @property
    def refused(self) -> dict[str, StreamerError]:
        """The devices of which a stream is refused now, with the reason."""
        streams = self._streams.copy().items()
        found = {device: stream.refusal or stream.rival for device, stream in streams}
        return {device: error for device, error in found.items() if error is not None}

    @property
    def devices(self) -> int:
        """Devices seen so far."""
        return len(self._seen)

    @property
    def turned_away(self) -> int:
        """Samples that the recogniser was not given."""
        return self._turned_away

    def news(self) -> list[StreamStatus]:
        """Return what became of streams since this was asked before; no more than has changed."""
        news, self._news = self._news, []
        return news

    def push_all(self, arrivals: Iterable[tuple[StreamInfo, SampleBatch]]) -> list[Label]:
        """Take batches of any streams and return the labels of those admitted."""
        for info, batch in arrivals:
            stream = self._streams.get(info.device)
            # Adapters hand out the same description each time; comparing all its fields is dear.
            if stream is None or (stream.info is not info and stream.info != info):
                stream = self._described_anew(stream, info, batch)
            if stream is None or not has_channels_of(info, batch):
                self._turned_away += len(batch)
                continue
            if stream.check is None and stream.refusal is None:
                self._admitted.append(batch)
            elif len(batch):
                self._take(stream, batch)
            if len(batch):
                self._forget_silent_rival(stream, batch)
                stream.newest = batch.end + batch.clock_offset_s
        self._flush()
        labels, self._labels = self._labels, []
        return labels

    def forget_all_but(self, present: Container[str]) -> None:
        """Close the streams of lone devices that have left; one that comes back begins anew.

        Those of a wearer of several are kept: how they lay counts for the others' labels.
        """
        for device in [name for name in self._streams if name not in present]:
            if self._wearers.is_lone(device):
                self._wearers.close(device)
                del self._streams[device]
                self._logged.pop(device, None)
                self._told.pop(device, None)
                self._news.append(StreamStatus(device, recognised=False, findings=(HAS_LEFT,)))

    def _described_anew(
        self, known: _Stream | None, info: StreamInfo, batch: SampleBatch
    ) -> _Stream | None:
        """Return the stream that a description begins; None if another source has its name."""
        if (
            known is None
            or known.info.adapter == info.adapter
            or _silence(known.newest, batch) > RESTART_SECONDS
        ):
            return self._start(info)
        known.rival_came = known.newest
        if known.rival is None:
            known.rival = NameInUseError(info.device, info.adapter, known.info.adapter)
            self._tell(known)
            self._log_once(info.device, known.rival)
        return None

    def _forget_silent_rival(self, stream: _Stream, batch: SampleBatch) -> None:
        if stream.rival is not None and _silence(stream.rival_came, batch) > RESTART_SECONDS:
            stream.rival = None
            self._tell(stream)

    def _start(self, info: StreamInfo) -> _Stream:
        stream = _Stream(info)
        try:
            self._open(info)
        except (StreamMismatchError, WearerError) as error:
            self._refuse(stream, error)
        else:
            if self._check_streams:
                stream.check = self._new_check(info)
            else:
                self._tell(stream)
        self._streams[info.device] = stream
        self._seen.add(info.device)
        return stream

    def _take(self, stream: _Stream, batch: SampleBatch) -> None:
        """Take a batch of a stream that is being checked, or refused."""
        passed = self._passed(stream, batch)
        self._turned_away += len(batch) - len(passed)
        if len(passed):
            self._admitted.append(passed)
        if self._closing:
            self._flush()  # the other devices of its wearer go on without it from here

    def _passed(self, stream: _Stream, batch: SampleBatch) -> SampleBatch:
        """Return the part of a batch that is recognised, and judge the stream when it is time."""
        if _may_be_mended(stream, batch):
            stream.check = self._new_check(stream.info)
        if stream.check is None:
            return batch.part(0, 0)
        used = stream.check.push(batch)
        before = stream.refusal
        if stream.check.findings is not None:
            self._judge(stream, stream.check)
        if before is None:
            return batch if stream.refusal is None else batch.part(0, used)
        return batch.part(used if stream.refusal is None else len(batch), len(batch))

    def _judge(self, stream: _Stream, check: StreamCheck) -> None:
        stream.check = None
        device, findings = stream.info.device, check.findings or ()
        for finding in findings:
            if finding.severity is Severity.WARN:
                _log.warning("stream of %r: %s", device, finding.text)
        nonsense = [f.text for f in findings if f.severity is Severity.REFUSE]
        if nonsense:
            self._refuse(stream, ImplausibleStreamError(device, tuple(nonsense)))
            return
        refused, stream.refusal = stream.refusal, None
        stream.findings = tuple(finding.text for finding in findings)
        self._tell(stream)
        if refused is not None:
            self._open(stream.info)

    def _open(self, info: StreamInfo) -> None:
        if info.device in self._streams:
            self._flush()  # what waits belongs to the stream as it was
        self._wearers.open(info)

    def _refuse(self, stream: _Stream, error: StreamerError) -> None:
        stream.refusal = error
        self._closing.append(stream.info.device)
        self._tell(stream)
        self._log_once(stream.info.device, error)

    def _tell(self, stream: _Stream) -> None:
        status = stream.status()
        if self._told.get(status.device) != status:
            self._told[status.device] = status
            self._news.append(status)

    def _log_once(self, device: str, error: StreamerError) -> None:
        # Two adapters of a kind may claim one name and change the description with every batch.
        if self._logged.get(device) != str(error):
            self._logged[device] = str(error)
            _log.error("%s; its samples are not recognised", error)

    def _flush(self) -> None:
        self._labels += self._wearers.push_all(self._admitted)
        self._admitted.clear()
        for device in self._closing:
            self._wearers.close(device)
        self._closing.clear()

    def _new_check(self, info: StreamInfo) -> StreamCheck:
        channels = self._wearers.channels_of(info.device)
        return StreamCheck(info, channels, gravity=self._wearers.manifest.gravity)


def has_channels_of(info: StreamInfo, batch: SampleBatch) -> bool:
    """Return whether a batch is this stream's; one that waited may be of what it was before."""
    channels: int = batch.values.shape[1]
    return channels == len(info.channels)


def _silence(since: float, batch: SampleBatch) -> float:
    """Return the seconds from a time to a batch's first sample; 0 if it is empty."""
    if not len(batch):
        return 0.0
    return float(batch.times[0]) + batch.clock_offset_s - since


def _may_be_mended(stream: _Stream, batch: SampleBatch) -> bool:
    # Time that goes far back is a restart; a little it goes back where the clock's offset moves.
    silence = abs(_silence(stream.newest, batch))
    return isinstance(stream.refusal, ImplausibleStreamError) and silence > RESTART_SECONDS
