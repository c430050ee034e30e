"""Models of transformers, from the hub or from a folder, in the roles of encoders, language models and classifiers."""

__version__ = "0.1.0"
