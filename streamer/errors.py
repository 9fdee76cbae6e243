"""Every error that `streamer` raises; the root is `StreamerError`."""

import difflib
from collections.abc import Sequence
from pathlib import Path


def nearest(name: str, known: Sequence[str]) -> str:
    """Return which of the known names is meant, or all of them, in words for a message."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"


class StreamerError(Exception):
    """Root of the tree."""


class ConfigError(StreamerError):
    """A configuration that can't be used."""

    def __init__(self, path: Path, key: str, reason: str) -> None:
        self.path = path
        self.key = key
        self.reason = reason
        super().__init__(f"{path}: {key}: {reason}" if key else f"{path}: {reason}")


class BundleError(StreamerError):
    """A file that is no bundle, or not one that this version can run."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"bundle {path}: {reason}")


class HopError(StreamerError, ValueError):
    """Seconds between two labels that are none."""

    def __init__(self, hop_s: float, longest_s: float) -> None:
        self.hop_s = hop_s
        super().__init__(f"hop_s is {hop_s:g}; it must be above 0 and at most {longest_s:g} s")


class RefusedStreamError(StreamerError):
    """A stream whose labels would be nonsense."""

    def __init__(self, device: str, message: str) -> None:
        self.device = device
        super().__init__(f"stream of {device!r} {message}")


class StreamMismatchError(RefusedStreamError):
    """A stream that the bundle was not made for, by its description."""

    def __init__(self, device: str, what: str, stream: object, bundle: object) -> None:
        self.what = what
        self.stream = stream
        self.bundle = bundle
        super().__init__(device, f"does not fit the bundle: {what} {stream}, needed {bundle}")


class ImplausibleStreamError(RefusedStreamError):
    """A stream whose samples are not what its description says."""

    def __init__(self, device: str, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        super().__init__(device, f"is not what it is said to be: {'; '.join(reasons)}")


class NameInUseError(RefusedStreamError):
    """A stream from one adapter under the name of a stream from another."""

    def __init__(self, device: str, adapter: str, known: str) -> None:
        self.adapter = adapter
        self.known = known
        super().__init__(
            device,
            f"comes from the adapter {adapter!r} too, while one from the adapter {known!r} has "
            "this name; rename either device",
        )


class WearerError(StreamerError):
    """A wearer that can't be made of its devices."""

    def __init__(self, wearer: str, reason: str) -> None:
        self.wearer = wearer
        self.reason = reason
        super().__init__(f"wearer {wearer!r}: {reason}")


class LabelSetError(StreamerError):
    """A label set that can't be decoded."""

    def __init__(self, label: str, reason: str) -> None:
        self.label = label
        self.reason = reason
        super().__init__(f"label {label!r} {reason}")


class DatasetError(StreamerError):
    """A data set that is not laid out as published."""

    def __init__(self, dataset: str, path: Path, reason: str) -> None:
        self.dataset = dataset
        self.path = path
        self.reason = reason
        super().__init__(f"data set {dataset}: {path} {reason}")


class UnknownDatasetError(StreamerError):
    """A data set that there is no loader of."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        super().__init__(f"there is no data set {name!r}; {nearest(name, known)}")


class TrainingError(StreamerError):
    """Training that can't begin or go on."""


class TooFewWindowsError(TrainingError):
    """Recordings that nothing can be learnt from."""

    def __init__(self, windows: int) -> None:
        self.windows = windows
        super().__init__(
            f"the sessions have {windows} labelled window(s) to learn from, and it takes two at "
            "least: record more, or annotate more"
        )


class ChatError(StreamerError):
    """A language model's server that can't be reached, or gives no usable answer."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"{url} {reason}")


class MessageError(StreamerError):
    """A payload on an activity topic that is no label message."""

    def __init__(self, topic: str, reason: str) -> None:
        self.topic = topic
        self.reason = reason
        super().__init__(f"message on {topic}: {reason}")


class BrokerError(StreamerError):
    """The embedded broker can't start."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"embedded broker can't listen on {address}: {reason}")
