"""Ways for labels to reach people and machines."""

from streamer.publishers.publisher import Publisher, PublisherStatistics

__all__ = ["Publisher", "PublisherStatistics"]
