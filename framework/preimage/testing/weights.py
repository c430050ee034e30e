"""What a model is made of, and whether somebody has changed it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["changes", "modules_of", "photograph"]


def modules_of(model: object, depth: int = 3) -> list[nn.Module]:
    """Return the outermost networks that an object holds, itself included, found through its attributes."""
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()

    def visit(value: object, left: int) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found[id(value)] = value
        elif left:
            for member in _members(value):
                visit(member, left - 1)

    visit(model, depth)
    return list(found.values())


def _members(value: object) -> list[object]:
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, Tensor | type) or not hasattr(value, "__dict__"):
        return []
    return list(vars(value).values())


def photograph(model: Any) -> dict[str, Any]:
    """Return copies of everything about a model that its users have to leave alone."""
    picture: dict[str, Any] = {}
    for number, module in enumerate(modules_of(model)):
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            picture[f"the weights {name!r}"] = tensor.detach().clone()
            picture[f"the gradient of {name!r}"] = None if tensor.grad is None else tensor.grad.clone()
            picture[f"requires_grad of {name!r}"] = tensor.requires_grad
        for name, part in module.named_modules():
            picture[f"the training mode of module {number} {name!r}"] = part.training
    embedding = getattr(getattr(model, "space", None), "embedding", None)
    if isinstance(embedding, Tensor):
        picture["the embedding matrix"] = embedding.detach().clone()
        picture["the gradient of the embedding matrix"] = (
            embedding.grad.clone() if embedding.is_leaf and embedding.grad is not None else None
        )
        picture["requires_grad of the embedding matrix"] = embedding.requires_grad
    return picture


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what differs between two photographs of a model."""
    names = dict.fromkeys([*before, *after])
    return [name for name in names if not _equal(before.get(name), after.get(name))]


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    return type(left) is type(right) and left == right
