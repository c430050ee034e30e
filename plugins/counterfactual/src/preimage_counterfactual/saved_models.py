"""Models from files and modules; a file that could run code is only opened on the user's word."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preimage.errors import InputError, MissingDependencyError

__all__ = ["load_model"]

_PICKLES = {".joblib", ".pkl", ".pickle"}


def load_model(reference: str, *, trust: bool = False) -> Any:
    """Return a model.

    Arguments:
        reference: a ``.skops`` file; a ``.joblib`` or ``.pkl`` file; or ``module:attribute``, where the module may lie
            in the working directory.
        trust: open files that run code when they are read. A skops file is read without, as long as it holds nothing
            but what skops knows.

    Raises:
        InputError: there is no such model, or it may only be read on trust.
        MissingDependencyError: skops is not installed.
    """
    suffix = Path(reference).suffix.lower()
    if suffix in _PICKLES | {".skops"}:
        if not Path(reference).is_file():
            message = f"There is no file {reference}: give the file of a model, or module:attribute."
            raise InputError(message)
        return _skops(reference, trust) if suffix == ".skops" else _pickle(reference, trust)
    module, colon, attribute = reference.partition(":")
    if not (module and colon and attribute):
        message = (
            f"{reference!r} names no model: give a .skops, .joblib or .pkl file, or module:attribute such as "
            "my_models:classifier."
        )
        raise InputError(message)
    try:
        with _working_directory():
            return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        message = f"The model {reference!r} cannot be imported ({error}): check the module's name and path."
        raise InputError(message) from error


@contextmanager
def _working_directory() -> Iterator[None]:
    """Let modules of the working directory be imported, as ``python -m`` does and an installed command does not."""
    path = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = path


def _pickle(path: str, trust: bool) -> Any:
    if not trust:
        message = (
            f"{path} is a pickle, which runs whatever code it holds when it is read: add --trust-model if you know "
            "where it comes from, or save the model with skops."
        )
        raise InputError(message)
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:  # a pickle may raise anything
        message = (
            f"{path} cannot be read ({type(error).__name__}: {error}): save the model again with what is installed."
        )
        raise InputError(message) from error


def _skops(path: str, trust: bool) -> Any:
    try:
        from skops import io
    except ImportError as error:
        message = f"{path} is read by skops, which is not installed: pip install skops."
        raise MissingDependencyError(message) from error
    try:
        unknown = io.get_untrusted_types(file=path)
        if unknown and not trust:
            message = (
                f"{path} holds {', '.join(sorted(unknown))}, which skops does not vouch for: add --trust-model if you "
                "know where it comes from."
            )
            raise InputError(message)
        return io.load(path, trusted=unknown)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        message = f"{path} cannot be read as a skops file ({type(error).__name__}: {error}): save the model again."
        raise InputError(message) from error
