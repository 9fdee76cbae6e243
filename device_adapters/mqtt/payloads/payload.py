"""The contract that every payload format keeps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

MAX_PAYLOAD_BYTES = 256 * 1024
"""Ten seconds of a phone that sends JSON at 100 Hz; a longer message is nobody's intent."""


class PayloadOptions(BaseModel):
    """What a user may set of a payload format."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """The samples of one message, as the device tells them.

    Attributes:
        times: when each sample was taken by the device's own clock, seconds, float64 [n].
        values: the samples, float32 [n, channels]; NaN where `PayloadFormat.sensors` send apart.
        counter: the number of the first sample, or of the message; None if the device has none.
        period_s: nominal time between two samples.
        device: who sent it, where the payload tells it and not the topic.
        laid_out: whether the message tells one time, from which the others are laid out by the
            nominal period.
        units: of each channel, in which the payload tells it; None where it does not.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float32]
    counter: int | None
    period_s: float
    device: str | None = None
    laid_out: bool = False
    units: Sequence[str | None] = ()


class PayloadFormat(ABC):
    """Turns payloads into packets and back; keeps nothing between two of them.

    Attributes:
        counts: what the counter counts; None if there is none, and times alone tell of losses.
        counter_bits: the counter starts again at 0 after 2 to the power of this.
        clock_turn_s: the device's clock starts again at 0 after this; infinite if it never does.
        names_devices: whether a payload tells which device it is of, so that the topic need not.
        channels: how many a packet has once its sensors are merged, where the options tell it.
        sensors: by name how many channels each sensor has, where sensors of one device are sampled
            apart: a row of a packet's values then holds the channels of one or several, and NaN.
        conversion: what `merge` does, for `StreamInfo.conversion`.
    """

    Options: ClassVar[type[PayloadOptions]] = PayloadOptions
    counts: Literal["samples", "messages"] | None
    counter_bits: int = 32
    clock_turn_s: float = float("inf")
    names_devices: bool = False
    channels: int | None = None
    sensors: Mapping[str, int] | None = None
    conversion: str = ""

    @abstractmethod
    def __init__(self, options: Any) -> None:  # noqa: ANN401 - an instance of this class's Options
        """Take the validated options."""

    @abstractmethod
    def decode(self, payload: bytes) -> Packet:
        """Read a payload, of one sample or more and at most `MAX_PAYLOAD_BYTES`.

        Raises:
            PayloadError: it is not what the format says.
        """

    @abstractmethod
    def encode(self, packet: Packet) -> bytes:
        """Return the payload of a packet, whose values are one row of all channels a sample."""

    def merge(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the stream's channels, once all `sensors` are on one time base."""
        return values
