"""What every model loader has to know about weights: where they lie, whether they are safe, their hash and type."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from preimage.errors import InputError, OptionError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["fingerprint_of", "floating_type", "local_folder", "weights_in"]

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


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


def local_folder(name: str, marker: str, kind: str) -> Path | None:
    """Return the folder that a reference names, or None where it names a repository of the hub.

    A name is a folder's path if it begins like one, or if there is such a folder.

    Arguments:
        name: what follows the loader's name in a reference.
        marker: the file that a folder in the loader's format holds.
        kind: what such a folder is and what writes it, as the message goes on after "so it is not".

    Raises:
        InputError: there is no such folder, or it is in another format.

    >>> local_folder("openai-community/gpt2", "config.json", "a model: save it") is None
    True
    """
    if not (name.startswith((".", "/", "~")) or Path(name).is_absolute() or Path(name).is_dir()):
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        message = f"There is no folder {str(folder)!r} to load a model from: check the path."
        raise InputError(message)
    if not (folder / marker).is_file():
        message = (
            f"The folder {str(folder)!r} holds no {marker}, so it is not {kind}, or give the folder that holds that "
            "file."
        )
        raise InputError(message)
    return folder


def weights_in(folder: Path, *, trust_pickle: bool) -> list[Path]:
    """Return a folder's files of weights, by name: safetensors, or else pickles where these are trusted.

    Raises:
        InputError: it holds none, or pickles only, and they are not trusted.
    """
    safe = sorted(folder.glob("*.safetensors"))
    pickles = sorted(path for path in folder.iterdir() if path.suffix in _PICKLES)
    if safe or (pickles and trust_pickle):
        return safe or pickles
    if pickles:
        message = (
            f"The folder {str(folder)!r} holds weights only as a pickle ({pickles[0].name}), which may run any code "
            "when it is opened: convert it to safetensors, or set trust_pickle=true if you trust its author."
        )
        raise InputError(message)
    message = (
        f"The folder {str(folder)!r} holds no weights, so the model would answer at random: put its safetensors file "
        "there."
    )
    raise InputError(message)
