"""Fitted adapters on disk: safe to read, to write at the same time, and never taken for others.

Files are named by a hash of everything that shaped them, so that a changed option is another file. They are in the
safetensors format, which holds numbers and cannot run code; written to a temporary name and renamed, so that no
reader sees half of one; and made under a lock, so that two processes that want the same adapter fit it once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["AdapterCache", "Saved", "default_folder", "digest_of", "key_of"]

_LOGGER = logging.getLogger(__name__)
_RECORD = "preimage"


@attrs.frozen(eq=False)
class Saved:
    """What is kept of an adapter.

    Attributes:
        tensors: its numbers.
        record: what is known about them, as JSON can hold it.
    """

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]


@attrs.frozen
class AdapterCache:
    """A folder of fitted adapters."""

    folder: Path

    def path(self, name: str, key: str) -> Path:
        """Return the file of an adapter."""
        return self.folder / f"{name}-{key}.safetensors"

    def get(self, name: str, key: str, make: Callable[[], Saved], device: torch.device) -> Saved:
        """Return what was kept, or make and keep it; others that want the same wait for it.

        A file that cannot be read is made again. A folder that cannot be written costs the keeping, not the result.
        """
        path = self.path(name, key)
        kept = _load(path, device)
        if kept is not None:
            return kept
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"))
            lock.acquire()
        except OSError as error:
            _LOGGER.warning("The adapter is not kept, because %s cannot be written: %s", self.folder, error)
            return make()
        try:
            kept = _load(path, device)
            if kept is None:
                kept = make()
                _save(path, kept)
        finally:
            lock.release()
        return kept


def default_folder() -> Path:
    """Return where adapters are kept unless an option says otherwise."""
    import platformdirs

    named = os.environ.get("PREIMAGE_CACHE", "")
    root = Path(named).expanduser() if named else platformdirs.user_cache_path("preimage", appauthor=False)
    return root / "adapters"


def key_of(facts: Mapping[str, Any]) -> str:
    """Return a hash of facts that JSON can hold."""
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


def digest_of(tensor: Tensor) -> str:
    """Return a hash of a tensor's numbers, dtype and shape, wherever it is."""
    import torch

    digest = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)} ".encode(), digest_size=16)
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load(path: Path, device: torch.device) -> Saved | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            record = json.loads(file.metadata()[_RECORD])
            return Saved({name: file.get_tensor(name) for name in file.keys()}, record)  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        _LOGGER.warning("The adapter in %s cannot be read and is fitted again: %s", path, error)
        return None


def _save(path: Path, saved: Saved) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in saved.tensors.items()}
        save_file(tensors, temporary, metadata={_RECORD: json.dumps(saved.record)})
        temporary.replace(path)
    except OSError as error:
        _LOGGER.warning("The adapter is not kept, because %s cannot be written: %s", path, error)
    finally:
        temporary.unlink(missing_ok=True)
