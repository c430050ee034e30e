"""Models of diffusers, from the hub or from a folder, as generators of pictures and as denoisers."""

__version__ = "0.1.0"
