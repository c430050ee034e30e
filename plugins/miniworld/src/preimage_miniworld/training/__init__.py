"""Training of the mini world's models; run ``python -m preimage_miniworld.training --help``."""
