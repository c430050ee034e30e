"""Coordinate sweep: the smallest optimizer that is worth comparing with, and an example of a plugin."""

__version__ = "1.0.0"
