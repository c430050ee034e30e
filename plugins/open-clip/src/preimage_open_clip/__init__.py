"""CLIP models of open_clip as encoders of pictures and texts, from the hub or from a folder."""

__version__ = "0.1.0"
