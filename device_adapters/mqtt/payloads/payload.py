"""The contract that every payload format keeps."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """The samples of one message, as the device tells them.

    Attributes:
        times: when each sample was taken by the device's own clock, seconds, float64 [n].
        values: the samples, float32 [n, channels].
        counter: the number of the first sample.
        period_s: nominal time between two samples.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float32]
    counter: int
    period_s: float


class PayloadFormat(ABC):
    """Turns payloads into packets; keeps nothing between two of them.

    Attributes:
        counter_bits: the counter starts again at 0 after 2 to the power of this.
        clock_turn_s: the device's clock starts again at 0 after this.
    """

    counter_bits: int
    clock_turn_s: float

    @abstractmethod
    def decode(self, payload: bytes) -> Packet:
        """Read a payload, of one sample or more.

        Raises:
            PayloadError: it is not what the format says.
        """
