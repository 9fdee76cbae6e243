"""Samples become labels, labels reach subscribers."""

__version__ = "0.1.0"
