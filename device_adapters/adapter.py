"""The contract that every source of samples keeps, and the registry that finds them by name."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from device_adapters.registry import registered
from device_adapters.samples import SampleBatch, StreamInfo

ENTRY_POINT_GROUP = "share_streamer.adapters"


class AdapterOptions(BaseModel):
    """What a user may set in an adapter's section of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class AdapterStatistics:
    """What an adapter has seen since it was entered.

    Attributes:
        samples: samples yielded.
        lost: samples that the devices are known to have sent, or taken, in vain.
        dropped: samples thrown away because the gateway did not keep up.
        queued: batches waiting, of at most `capacity`.
        capacity: how many batches may wait; 0 where the adapter is read on demand.
        rejected: messages that were not what their format says, came late or came twice, or were
            more than could be kept until they were read.
    """

    samples: int
    lost: int
    dropped: int
    queued: int = 0
    capacity: int = 0
    rejected: int = 0


class DeviceAdapter(ABC):
    """A source of samples: an async context manager that is iterated for batches.

    An adapter reconnects by itself, places samples in time by the device's own clock or counter,
    bounds its queue and counts what it drops, and never blocks the event loop. The iteration ends
    only where the source does (a recording); a live adapter goes on until the context is left.
    """

    Options: ClassVar[type[AdapterOptions]]
    alone: ClassVar[bool] = False
    """Whether a gateway can have only one of this kind, for what it reads can't be shared."""

    @abstractmethod
    def __init__(self, options: Any) -> None:  # noqa: ANN401 - an instance of this class's Options
        """Take the validated options; nothing is opened before the context is entered."""

    @property
    @abstractmethod
    def streams(self) -> Mapping[str, StreamInfo]:
        """The devices: each is here before its first batch is yielded, and until it has left."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *exc_info: object) -> None: ...

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[SampleBatch]: ...

    @abstractmethod
    def statistics(self) -> AdapterStatistics:
        """Return the counts so far."""


def adapter_class(name: str) -> type[DeviceAdapter]:
    """Return the adapter that an installed package registered as `name`.

    Raises:
        UnknownPartError: no installed package has registered one.
    """
    loaded: type[DeviceAdapter] = registered(ENTRY_POINT_GROUP, "adapter", name)
    return loaded
