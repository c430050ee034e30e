"""The bundled models, each loaded by the very loader that loads the large ones of its library."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import attrs

from preimage import catalogue
from preimage.errors import MissingDependencyError, UnknownNameError, nearest
from preimage_miniworld.config import MiniworldConfig

__all__ = ["MODELS", "load"]

MODELS = {
    "clip": "open_clip",
    "clip-judge": "hf",
    "gpt2": "hf",
    "llama": "hf",
    "mood": "hf",
    "sentence": "hf",
    "blip2": "hf",
    "sd": "sd",
}
"""Name of a bundled model to the loader of its format."""

_DISTRIBUTIONS = {"open_clip": "preimage-open-clip", "hf": "preimage-transformers", "sd": "preimage-diffusers"}
_FOLDER = Path(__file__).parent / "models"


def load(config: MiniworldConfig, *, name: str, role: str, device: Any = None, dtype: Any = None) -> Any:
    """Return a bundled model, which calls itself ``miniworld:name``.

    Arguments:
        config: how pictures are drawn.
        name: one of `MODELS`.
        role: what the model is wanted for.
        device: passed on to the loader of its format.
        dtype: passed on to the loader of its format.

    Raises:
        UnknownNameError: no such model is bundled.
        MissingDependencyError: the loader of its format is not installed.
    """
    if name not in MODELS:
        message = (
            f"The mini world has no model {name!r}.{nearest(name, list(MODELS))} "
            f"There are: {', '.join(f'miniworld:{known}' for known in MODELS)}."
        )
        raise UnknownNameError(message)
    loader = MODELS[name]
    try:
        catalogue().describe("model", loader)
    except UnknownNameError as error:
        message = (
            f"miniworld:{name} is loaded by {loader!r}, which is not installed: install {_DISTRIBUTIONS[loader]}, "
            "whose loader it is."
        )
        raise MissingDependencyError(message) from error
    reference = f"{loader}:{_FOLDER / name}"
    options = attrs.asdict(config) if loader == "sd" else {}
    model = catalogue().load_model(reference, role, device=device, dtype=dtype, **options)
    return _renamed(model, f"miniworld:{name}")


def _renamed(model: Any, reference: str) -> Any:
    """Return a view of `model` under another reference; weights and tokenizer stay shared."""
    # A shallow copy, because the catalogue hands the model itself to whoever asks for it by its folder.
    view = copy.copy(model)
    view.reference = reference
    # The view hashes the weights itself, as they are when it is asked.
    vars(view).pop("fingerprint", None)
    if hasattr(model, "space"):
        view.space = copy.copy(model.space)
        view.space.name = reference
    return view
