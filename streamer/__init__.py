"""Samples become labels, labels reach subscribers."""

from streamer.messages import Label, Segment
from streamer.recognizer import Recognizer
from streamer.subscription import subscribe

__version__ = "0.1.0"

__all__ = ["Label", "Recognizer", "Segment", "subscribe"]
