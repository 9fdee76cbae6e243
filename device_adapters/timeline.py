"""From a connection's frames to batches on the host's clock."""

from device_adapters.frames import Frame
from device_adapters.samples import SampleBatch, StreamInfo


class Timeline:
    """Places one connection's frames in time and joins its sensors into one stream.

    Args:
        info: the stream: its clock and rate.
        sensors: how many sensors the frames are of.
    """

    def __init__(self, info: StreamInfo, sensors: int) -> None:
        raise NotImplementedError

    def push(self, frame: Frame, arrival: float) -> SampleBatch | None:
        """Return the samples that this frame completes; None while the other sensor's are missing.

        Args:
            frame: what was decoded.
            arrival: when the host received it, seconds since the epoch.
        """
        raise NotImplementedError
