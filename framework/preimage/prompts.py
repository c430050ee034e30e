"""Prompts of different lengths: asked about in one request for each length, and judged by the space."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import torch

from preimage.api import Losses

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.search_space import SearchSpace

__all__ = ["losses_of", "proposable"]


def losses_of(prompts: Sequence[Sequence[int]], device: torch.device) -> Generator[Losses, Tensor, Tensor]:
    """Ask for the losses of `prompts`, and return them in their order, ``(B,)`` float64 on the processor.

    A request holds rows of one length, and nobody pads: so there is one request for each length.

    Arguments:
        prompts: the token ids of each.
        device: where the requests are made.

    >>> asking = losses_of([[1, 2], [3], [4, 5]], torch.device("cpu"))
    >>> next(asking).candidates
    tensor([[3]])
    >>> asking.send(torch.tensor([0.5])).candidates
    tensor([[1, 2],
            [4, 5]])
    """
    losses = torch.empty(len(prompts), dtype=torch.float64)
    by_length: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(index)
    for _, indices in sorted(by_length.items()):
        rows = torch.tensor([list(prompts[index]) for index in indices], device=device)
        answer = yield Losses(rows)
        losses[indices] = answer.double().cpu()
    return losses


def proposable(space: SearchSpace, prompts: Sequence[Sequence[int]], known: Sequence[int] = ()) -> list[bool]:
    """Tell which `prompts` hold at least one token, no more than fit, and none that may not be proposed.

    More than fit is also what a model with tokens of its own has no room for.

    Arguments:
        space: says what fits and what is allowed.
        prompts: the token ids of each.
        known: tokens of the prompt that they were made from, which may stay whatever they are.
    """
    allowed = set(space.allowed_ids.tolist()) | set(known)
    good = [0 < len(prompt) <= space.max_length and allowed.issuperset(prompt) for prompt in prompts]
    if not space.strangers:
        return good
    texts = [space.decode(torch.tensor([list(prompt)]))[0] if prompt else "" for prompt in prompts]
    return [own and others for own, others in zip(good, space.strangers_hold(texts).tolist(), strict=True)]
