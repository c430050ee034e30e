"""What the checks of optimizers require alike, whether these search texts or rows of features."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import attrs
import torch

from preimage._loading import missing_members
from preimage.api import Captions, Component, Gradients, NextTokens, Optimizer
from preimage.testing.check import Violation

__all__ = ["require_declared", "require_members", "require_record", "require_state", "run_twice"]

T = TypeVar("T")

_NAMES = {Gradients: "gradient", NextTokens: "next-token", Captions: "captions"}


def require_members(optimizer: Any) -> None:
    """Raise unless an optimizer has all that the host asks it for."""
    missing = missing_members(optimizer, Optimizer)
    if missing:
        raise Violation(f"{type(optimizer).__name__} has no {' and no '.join(missing)}.")


def require_state(state: Any, optimizer: Optimizer[Any]) -> None:
    """Raise unless a state is of the class that it is restored as, and says whether the search is over."""
    if not isinstance(state, optimizer.State):
        raise Violation(
            f"The state is a {type(state).__name__}, but State is {optimizer.State.__name__}: it could not be restored."
        )
    if not isinstance(state.done, bool):
        raise Violation(f"The state's done is {state.done!r} instead of True or False.")


def require_record(state: Any) -> None:
    """Raise unless a state is a frozen attrs class."""
    kind = type(state)
    if not attrs.has(kind):
        raise Violation(f"{kind.__name__} is not an attrs class.")
    field = attrs.fields(kind)[0].name
    try:
        setattr(state, field, getattr(state, field))
    except attrs.exceptions.FrozenInstanceError:
        return
    raise Violation(f"{kind.__name__} is not frozen.")


def require_declared(requires: Collection[str], requests: Sequence[Any], component: Component | None) -> None:
    """Raise unless all that was asked for is declared, and a component's traits say the same."""
    declared = set(requires)
    for kind, name in _NAMES.items():
        if name not in declared and any(isinstance(request, kind) for request in requests):
            raise Violation(f"It yields {kind.__name__}, but requires is {sorted(declared)}.")
    if component is not None and set(component.trait("requires")) != declared:
        raise Violation(
            f"The class requires {sorted(declared)}, its component declares {sorted(component.trait('requires'))}."
        )


def run_twice(run: Callable[[], T]) -> tuple[T, T]:
    """Return what two runs give between which the global generators have drawn other numbers."""
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    found = []
    try:
        for seed in (1, 2):
            torch.manual_seed(seed)
            random.seed(seed)
            found.append(run())
    finally:
        torch.set_rng_state(torch_state)
        random.setstate(python_state)
    return found[0], found[1]
