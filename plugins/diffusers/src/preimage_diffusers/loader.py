"""What a pipeline is built as: that depends on the role it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch

from preimage.errors import AssemblyError
from preimage.weights import floating_type
from preimage_diffusers.denoiser import DiffusersDenoiser
from preimage_diffusers.generator import DiffusersGenerator
from preimage_diffusers.quiet import quietly
from preimage_diffusers.source import source_of

if TYPE_CHECKING:
    from preimage_diffusers.config import DiffusersConfig

__all__ = ["load"]

# Forgets a pipeline when nobody uses it any more.
_IN_USE: WeakValueDictionary[str, Any] = WeakValueDictionary()
_ROLES = ("image-generator", "denoiser")


def load(
    config: DiffusersConfig,
    *,
    name: str,
    role: str,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> DiffusersGenerator | DiffusersDenoiser:
    """Load a pipeline for a role; both roles of one share its networks, as long as one of them is in use.

    Arguments:
        config: how.
        name: a repository of the Hugging Face hub, or a folder that `save_pretrained` has written.
        role: what it is wanted for.
        device: where it lives; the CPU unless given.
        dtype: what it computes in, single precision unless given.

    Raises:
        AssemblyError: it cannot play the role.
        InputError: the folder or its files cannot be used, or a download failed.
        OptionError: the dtype is none, or there is no such scheduler.
    """
    if role not in _ROLES:
        message = (
            f"sd:{name} was asked for as {role!r}, but this loader's models are {', '.join(_ROLES)}: use a loader of "
            "that role (`preimage plugins` lists them)."
        )
        raise AssemblyError(message)
    pipeline = _pipeline(config, name, torch.device("cpu" if device is None else device), floating_type(dtype))
    made: Any = DiffusersGenerator if role == "image-generator" else DiffusersDenoiser
    built: DiffusersGenerator | DiffusersDenoiser = made(pipeline, config, reference=f"sd:{name}")
    return built


def _pipeline(config: DiffusersConfig, name: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the pipeline, which is the one of the other role where that is in use: weights are large."""
    source = source_of(name, config)
    key = (source, config.cache_dir, config.revision, config.safety_checker, device, dtype)
    pipeline = _IN_USE.get(repr(key))
    if pipeline is None:
        pipeline = source.pipeline(dtype, safety_checker=config.safety_checker)
        with quietly():
            pipeline.to(device)
        _IN_USE[repr(key)] = pipeline
    return pipeline
