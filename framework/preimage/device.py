"""Where models live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preimage.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["resolve_device"]


def resolve_device(name: str | None = None) -> torch.device:
    """Return the device of that name; without one the machine's accelerator, or the CPU where there is none.

    Raises:
        InputError: there is no such device, or this machine cannot use it.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    import torch

    if name is None:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if accelerator is None else accelerator
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        cause = str(error).strip().splitlines()[0].rstrip(".")
        message = f"The device {name!r} cannot be used here ({cause}): leave it out, or use 'cpu'."
        raise InputError(message) from error
    return device
