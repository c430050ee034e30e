"""Searches watched in TensorBoard."""

__version__ = "0.1.0"
