"""Whether a stream is one that a model can read, and how its channels map to the model's."""

from device_adapters.samples import SampleBatch, StreamInfo
from streamer.errors import StreamMismatchError

LOWEST_RATE_SHARE = 0.9
"""A slower stream lacks frequencies that the model has learnt; resampling can't bring them back."""

HIGHEST_RATE_FACTOR = 40.0
"""A faster stream has its rate in another unit, such as millihertz; filtering it down would take
memory as its rate does."""


def channel_order(info: StreamInfo, channels: tuple[str, ...], units: tuple[str, ...]) -> list[int]:
    """Return where the stream has each of the model's channels.

    Raises:
        StreamMismatchError: a channel is missing, or is in another unit.
    """
    order = []
    for channel, unit in zip(channels, units, strict=True):
        if channel not in info.channels:
            raise StreamMismatchError(
                info.device, "it has the channels", ", ".join(info.channels), ", ".join(channels)
            )
        position = info.channels.index(channel)
        if info.units[position] != unit:
            raise StreamMismatchError(
                info.device, f"channel {channel} is in", info.units[position], unit
            )
        order.append(position)
    return order


def check_rate(info: StreamInfo, rate_hz: float) -> None:
    """Check that a stream can be resampled to a model's rate.

    Raises:
        StreamMismatchError: it is too slow, or too fast to be meant.
    """
    lowest, highest = LOWEST_RATE_SHARE * rate_hz, HIGHEST_RATE_FACTOR * rate_hz
    if not lowest <= info.rate_hz <= highest:
        needed = f"at least {lowest:g} Hz" if info.rate_hz < lowest else f"at most {highest:g} Hz"
        raise StreamMismatchError(info.device, "it is sampled at", f"{info.rate_hz:g} Hz", needed)


def check_batch(batch: SampleBatch, info: StreamInfo) -> None:
    """Check that a batch is one of the stream.

    Raises:
        StreamMismatchError: it has another number of channels.
    """
    channels = batch.values.shape[1]
    if channels != len(info.channels):
        raise StreamMismatchError(
            batch.device, "a batch has", f"{channels} channels", len(info.channels)
        )
