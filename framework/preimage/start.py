"""Where a search over texts begins: a given text, or tokens drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.validators import ge, instance_of, optional

from preimage.errors import ConstraintError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from preimage.search_space import SearchSpace

__all__ = ["TextStart", "initial_ids", "random_ids"]


@attrs.frozen(kw_only=True)
class TextStart:
    """The options that every optimizer over texts shares; optimizer configs inherit them."""

    optim_str_init: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "The text to start from; its number of tokens decides the prompt's length."},
    )
    prompt_length: int = attrs.field(
        default=8,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Tokens of the random start, when no text is given."},
    )


def initial_ids(space: SearchSpace, rng: torch.Generator, start: TextStart, initial: Tensor | None) -> Tensor:
    """Return the ids, ``(L,)``, that a search starts from.

    What the host hands over (`initial`, an earlier stage's result) comes first, then the start text, then
    random tokens.

    Raises:
        ConstraintError: the text has no token, or more than fit.
    """
    import torch

    if initial is not None:
        return initial
    if start.optim_str_init is None:
        return random_ids(space, rng, start.prompt_length)
    (ids,) = space.encode([start.optim_str_init])
    if not ids:
        message = (
            f"The start text {start.optim_str_init!r} has no token that {space.name} can read: "
            "give a text with at least one word, or leave it out to start from random tokens."
        )
        raise ConstraintError(message)
    space.check_length(len(ids), f"The start text {start.optim_str_init!r}")
    return torch.tensor(ids, device=space.device)


def random_ids(space: SearchSpace, rng: torch.Generator, length: int) -> Tensor:
    """Return ids, ``(L,)``, drawn uniformly from the allowed tokens so that reading their text gives them back.

    Of 64 draws the first stable one is taken; where none is, the first draw is, and the search goes on from its
    text as it is read back.

    Raises:
        ConstraintError: more tokens than fit.
    """
    import torch

    space.check_length(length, "A prompt")
    allowed = space.allowed_ids
    draws = torch.randint(len(allowed), (64, length), generator=rng, device=rng.device)
    candidates = allowed[draws.to(allowed.device)]
    stable = space.is_stable(candidates)
    if stable.any():
        return candidates[stable.int().argmax()]
    return candidates[0]
