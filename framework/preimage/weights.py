"""What every model loader has to know about weights: their hash, their type, and their being frozen."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

from preimage.errors import OptionError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["fingerprint_of", "floating_type"]


def fingerprint_of(*modules: nn.Module) -> str:
    """Return a hash of the modules' weights as they are in memory.

    >>> from torch import nn
    >>> fingerprint_of(nn.ReLU()) == fingerprint_of(nn.ReLU())
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def floating_type(dtype: str | torch.dtype | None) -> torch.dtype:
    """Return the type to compute in, which is single precision unless told otherwise.

    Raises:
        OptionError: it is no floating-point type.

    >>> floating_type("bfloat16")
    torch.bfloat16
    """
    if dtype is None:
        return torch.float32
    kind: Any = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        message = f"{dtype!r} is no floating-point type: use float32, bfloat16 or float16."
        raise OptionError(message)
    return kind
