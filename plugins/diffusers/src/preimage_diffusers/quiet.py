"""Two libraries that speak while they load and draw, kept silent where their news is checked or told by us."""

from __future__ import annotations

import logging as python_logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging

from preimage_transformers.source import quietly as quiet_transformers

__all__ = ["quietly"]


@contextmanager
def quietly() -> Iterator[None]:
    """Keep diffusers and transformers from drawing progress bars over ours, and from reporting."""
    verbosity, bars = diffusers_logging.get_verbosity(), diffusers_logging.is_progress_bar_enabled()
    diffusers_logging.set_verbosity(python_logging.CRITICAL)
    diffusers_logging.disable_progress_bar()
    try:
        with quiet_transformers(), warnings.catch_warnings():
            # What each of them uses of the other, or of numpy, against advice is their affair.
            for category in (DeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        diffusers_logging.set_verbosity(verbosity)
        if bars:
            diffusers_logging.enable_progress_bar()
