"""What stands between the host and an optimizer and notes what passes, for the checks of optimizers of both kinds."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from preimage.api import Gradients, Losses, NextTokens, Optimizer

__all__ = ["Recorder", "copied", "same"]


class Recorder:
    """An optimizer that hands everything on to another, and keeps its requests and what it wrote to.

    Attributes:
        requests: all that was asked, with copies of what it was asked about.
        mutated: what was written to, in words.
    """

    def __init__(self, optimizer: Optimizer[Any]) -> None:
        self._optimizer = optimizer
        self.requests: list[Any] = []
        self.mutated: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        # Also what is looked for and may be absent, such as keeps_first.
        return getattr(self.__dict__["_optimizer"], name)

    def start(self, space: Any, rng: Any, initial: Any) -> Any:
        """Return the first state of the optimizer."""
        before = copied(initial)
        state = self._optimizer.start(space, rng, initial)
        if not same(before, copied(initial)):
            self.mutated.add("what it was given to start from")
        return state

    def step(self, space: Any, state: Any, rng: Any) -> Any:
        """Yield what the optimizer asks, and return its next state."""
        before = copied(state)
        step = self._optimizer.step(space, state, rng)
        answer = None
        while True:
            try:
                request = step.send(answer)
            except StopIteration as stop:
                if not same(before, copied(state)):
                    self.mutated.add("the state that it was given")
                return stop.value
            self.requests.append(_copied_request(request))
            try:
                answer = yield request
            except GeneratorExit:
                step.close()
                raise


def copied(value: Any) -> Any:
    """Return a state's fields, or any value, with all tensors copied."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, tuple | list):
        return tuple(map(copied, value))
    if attrs.has(type(value)):
        return tuple(copied(getattr(value, field.name)) for field in attrs.fields(type(value)))
    return value


def same(left: Any, right: Any, tolerance: float = 0.0) -> bool:
    """Tell whether two copies hold the same; NaN equals NaN."""
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        if left.shape != right.shape or left.dtype != right.dtype:
            return False
        if left.dtype.is_floating_point:
            return torch.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True)
        return torch.equal(left, right)
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(same(a, b, tolerance) for a, b in zip(left, right, strict=True))
    if isinstance(left, float) and isinstance(right, float):
        return left == right or abs(left - right) <= tolerance * max(1.0, abs(left))
    return bool(left == right)


def _copied_request(request: Any) -> Any:
    if isinstance(request, NextTokens):
        return attrs.evolve(request, prefixes=request.prefixes.clone())
    if isinstance(request, Losses | Gradients):
        return attrs.evolve(request, candidates=request.candidates.clone())
    return request
