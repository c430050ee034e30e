"""How searches over texts propose: change a few tokens, drop what does not read back, fill up again.

Everything here is a function of its arguments. Random numbers come from the given generator, wherever that
lives, and are moved to the prompts' device, so that a seed means the same on every device.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.search_space import SearchSpace

__all__ = [
    "Candidates",
    "Choices",
    "best_choices",
    "draw",
    "exhausted",
    "lowest",
    "propose",
    "random_choices",
    "replaced",
    "unique_rows",
]


@attrs.frozen(eq=False)
class Candidates:
    """Prompts to be scored, and where they come from.

    Attributes:
        ids: token ids, ``(B, L)``.
        parent: the row of the prompt that each was made from, ``(B,)``.
    """

    ids: Tensor
    parent: Tensor

    def __len__(self) -> int:
        return len(self.ids)


@attrs.frozen(eq=False)
class Choices:
    """What may replace each token of some prompts.

    Attributes:
        tokens: for each of ``K`` prompts and ``L`` positions a list of ``C`` tokens, ``(K, L, C)``.
        count: how many of each list count, from its beginning, ``(K, L)``; 0 where nothing may stand instead.
    """

    tokens: Tensor
    count: Tensor


def replaced(prompts: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
    """Return a copy of each prompt with other tokens in some places, ``(B, L)``.

    Arguments:
        prompts: token ids, ``(B, L)``.
        positions: the places, distinct within a row, ``(B, R)``.
        tokens: what is put there, ``(B, R)``.

    >>> replaced(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 0]]), torch.tensor([[9, 7]]))
    tensor([[7, 2, 9]])
    """
    return prompts.scatter(1, positions, tokens)


def unique_rows(rows: Tensor) -> Tensor:
    """Return where each different row of ``(B, L)`` stands first, in ascending order.

    >>> unique_rows(torch.tensor([[5, 5], [1, 2], [5, 5], [1, 3]]))
    tensor([0, 1, 3])
    """
    if not len(rows):
        return torch.empty(0, dtype=torch.int64, device=rows.device)
    different, group = torch.unique(rows, dim=0, return_inverse=True)
    index = torch.arange(len(rows), device=rows.device)
    first = torch.full((len(different),), len(rows), device=rows.device)
    return first.scatter_reduce(0, group, index, "amin").sort().values


def lowest(losses: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` lowest of ``losses (B,)``, best first; the earlier wins a tie.

    >>> lowest(torch.tensor([3.0, 1.0, 2.0, 1.0]), 3)
    tensor([1, 3, 2])
    """
    return losses.argsort(stable=True)[:count]


def best_choices(space: SearchSpace, prompts: Tensor, scores: Tensor, count: int, rng: torch.Generator) -> Choices:
    """Return for each position the `count` other allowed tokens of highest score.

    Ties are broken at random. Without that, a vanished gradient would always propose the tokens that happen
    to have the lowest ids.

    Arguments:
        space: says what is allowed.
        prompts: token ids, ``(K, L)``.
        scores: of every token of the vocabulary for each position, ``(K, L, V)``.
        count: tokens a position; fewer where fewer are allowed.
        rng: breaks ties.
    """
    scores = scores.scatter(-1, prompts[..., None], -torch.inf)
    # In a random order of the columns, whichever of several equal scores top-k prefers is a random one.
    shuffle = torch.randperm(len(space.allowed_ids), generator=rng, device=rng.device)
    columns = space.allowed_ids[shuffle.to(space.allowed_ids.device)]
    values, order = scores[..., columns].topk(min(count, len(columns)))
    return Choices(columns[order], (values != -torch.inf).sum(dim=-1))


def random_choices(space: SearchSpace, prompts: Tensor, count: int, rng: torch.Generator) -> Choices:
    """Return for each position `count` tokens drawn uniformly from the other allowed ones.

    Arguments:
        space: says what is allowed.
        prompts: token ids, ``(K, L)``.
        count: tokens a position, drawn with replacement.
        rng: draws them.
    """
    allowed = space.allowed_ids
    rank = torch.searchsorted(allowed, prompts.contiguous())[..., None]
    stands = space.allowed[prompts][..., None]
    others = len(allowed) - stands.long()
    # Double precision: a single-precision number just below one could be rounded up to `others`.
    chance = torch.rand(*prompts.shape, count, generator=rng, device=rng.device, dtype=torch.float64)
    picked = (chance.to(prompts.device) * others).long()
    picked = picked + (stands & (picked >= rank))  # Steps over the token that stands there.
    tokens = allowed[picked.clamp(max=len(allowed) - 1)]
    return Choices(tokens, (others > 0).squeeze(-1) * count)


def draw(prompts: Tensor, choices: Choices, n_draws: int, n_replace: int, rng: torch.Generator) -> Candidates:
    """Return copies of the prompts with tokens replaced at distinct, uniformly drawn positions.

    Prompts take turns, so that each gets its share; tokens are drawn uniformly from their position's choices.

    Arguments:
        prompts: token ids, ``(K, L)``.
        choices: what may stand where.
        n_draws: how many copies, ``B``.
        n_replace: how many tokens are replaced in each; all of them where the prompt is shorter.
        rng: draws positions and tokens.
    """
    device, length = prompts.device, prompts.shape[1]
    n_replace = min(n_replace, length)
    order = torch.rand(n_draws, length, generator=rng, device=rng.device)
    chance = torch.rand(n_draws, n_replace, generator=rng, device=rng.device, dtype=torch.float64)
    positions = order.topk(n_replace).indices.to(device)
    parent = torch.arange(n_draws, device=device) % len(prompts)
    # Token and position are looked up by one index, so they cannot be matched wrongly, however many parents.
    row = parent[:, None]
    picked = (chance.to(device) * choices.count[row, positions]).long()
    tokens = torch.where(
        choices.count[row, positions] > 0, choices.tokens[row, positions, picked], prompts[row, positions]
    )
    return Candidates(replaced(prompts[parent], positions, tokens), parent)


def propose(
    space: SearchSpace,
    prompts: Tensor,
    choices: Choices,
    rng: torch.Generator,
    *,
    width: int,
    n_replace: int = 1,
    filter_ids: bool = True,
    rounds: int = 8,
) -> Candidates:
    """Return up to `width` different candidates, none of them one of the prompts.

    What the filter rejects is replaced by new draws, for a bounded number of rounds; so fewer, or none, come
    back where few neighbours exist or survive. Where none can, because the templates are at odds, a warning says so.

    Arguments:
        space: judges which texts read back.
        prompts: the prompts to change, ``(K, L)``.
        choices: what may stand where.
        rng: draws positions and tokens.
        width: how many candidates are wanted.
        n_replace: how many tokens each replaces.
        filter_ids: drop candidates whose ids change when their text is read back.
        rounds: how often to draw at most.
    """
    seen = prompts
    ids, parent = prompts[:0], prompts.new_empty(0)
    for _ in range(rounds):
        # Twice as many as are missing: where the filter lets half of them through, one more round will do.
        drawn = draw(prompts, choices, min(width, 2 * (width - len(ids))), n_replace, rng)
        first = unique_rows(torch.cat([seen, drawn.ids]))
        new = first[first >= len(seen)] - len(seen)
        seen = torch.cat([seen, drawn.ids[new]])
        if filter_ids and len(new):
            new = new[space.is_stable(drawn.ids[new])]
        ids = torch.cat([ids, drawn.ids[new]])[:width]
        parent = torch.cat([parent, drawn.parent[new]])[:width]
        if len(ids) == width:
            break
    if filter_ids and not len(ids) and space.at_odds:
        one, other = space.at_odds
        message = (
            f"No token of {space.name} is read back alike in the templates {one.text!r} and {other.text!r}, so that "
            "the filter rejects every candidate and the search stays where it is: let text stand before the slot in "
            "both or in neither, or set filter_ids=false."
        )
        warnings.warn(message, UserWarning, stacklevel=2)
    return Candidates(ids, parent)


def exhausted(space: SearchSpace, prompts: Tensor) -> bool:
    """Tell whether ``prompts (K, L)`` hold the only allowed token everywhere: there is no other prompt."""
    return len(space.allowed_ids) == 1 and bool((prompts == space.allowed_ids).all())
