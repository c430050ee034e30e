"""Where a search over texts begins: a given text, or tokens drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.converters import optional as optional_converter
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
    optim_ids_init: tuple[int, ...] | None = attrs.field(
        default=None,
        converter=optional_converter(tuple),
        metadata={"help": "The token ids to start from, instead of a text."},
    )
    prompt_length: int = attrs.field(
        default=8,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Tokens of the random start, when no text is given."},
    )


def initial_ids(space: SearchSpace, rng: torch.Generator, start: TextStart, initial: Tensor | None) -> Tensor:
    """Return the ids, ``(L,)``, that a search starts from.

    What the host hands over (`initial`, an earlier stage's result) comes first, then the given ids, the start
    text, and random tokens.

    Raises:
        ConstraintError: the text has no token, there are more than fit, or an id is none of the model's.
        InputError: the text is too long for another model that reads it.
    """
    import torch

    if initial is not None:
        return initial
    if start.optim_ids_init is not None:
        return _given_ids(space, start.optim_ids_init)
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
    space.check_readable([start.optim_str_init])
    return torch.tensor(ids, device=space.device)


def _given_ids(space: SearchSpace, ids: tuple[int, ...]) -> Tensor:
    import torch

    size = len(space.embedding)
    if not ids or not all(0 <= token < size for token in ids):
        message = (
            f"The start ids {ids} are not token ids of {space.name}: give at least one, each from 0 to {size - 1}."
        )
        raise ConstraintError(message)
    space.check_length(len(ids), f"The start of ids {ids}")
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
