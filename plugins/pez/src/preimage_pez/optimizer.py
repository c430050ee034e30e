"""PEZ, Wen et al. (arXiv:2302.03668)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.api import Gradients
from preimage.candidates import exhausted
from preimage.errors import ConstraintError
from preimage.start import initial_ids, random_ids
from preimage_pez.adamw import Moments, adamw
from preimage_pez.projection import project

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.search_space import SearchSpace
    from preimage_pez.config import PEZConfig

__all__ = ["PEZ", "PEZState"]


@attrs.frozen(eq=False, kw_only=True)
class PEZState:
    """The embeddings of all prompts of all runs, and the tokens nearest to them.

    Attributes:
        embeddings: what AdamW moves, for ``N`` runs of ``K`` restarts each, ``(N, K, L, d)``.
        ids: the tokens that they are projected to, ``(N, K, L)``.
        losses: of the prompts that the last step asked about, ``(N, K)`` float64; infinite before the first.
        first_moment: AdamW's mean of the gradients, ``(N, K, L, d)``.
        second_moment: AdamW's mean of their squares, ``(N, K, L, d)``.
        step: the number of steps made.
        done: no prompt can change any more.
    """

    embeddings: Tensor
    ids: Tensor
    losses: Tensor
    first_moment: Tensor
    second_moment: Tensor
    step: int = 0
    done: bool = False

    @property
    def current(self) -> Tensor:
        """Of each run the restart whose last known loss is the lowest, ``(N, L)``; before a step the first."""
        best = self.losses.argmin(dim=1)
        return self.ids[torch.arange(len(best), device=best.device), best]


class PEZ:
    """Moves embeddings by the gradient at the tokens nearest to them, for many runs and restarts at once.

    A step costs one gradient for each restart of each run, all in one request, and nothing else: the losses
    come with the gradients, and the best prompt is the host's to keep. Where no token has changed it asks all the
    same, because the gradient is what moves the embeddings on, and some objectives answer anew each time.

    Where this differs from the paper's code (hard-prompts-made-easy):

    - special tokens, and whatever else the space does not allow, are left out of the projection;
    - the vocabulary is normalised once instead of in every step, and no second forward pass is made to report;
    - restarts are rows of one batch instead of runs one after another, and so are the targets: each has prompts
      of its own. One prompt for several pictures is a matter of the objective;
    - a start text is not replaced by random tokens, and of several restarts the first one begins there;
    - the learning rate may fall;
    - what counts is the loss of the text as it is read back. There is no point in refusing projections that
      read back as other tokens, since the embeddings pass through them: the host scores their text instead.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"gradient"})
    rowwise: ClassVar[bool] = True
    State: ClassVar[type[PEZState]] = PEZState

    def __init__(self, config: PEZConfig) -> None:
        self.config = config

    def start(self, space: SearchSpace, rng: Sequence[torch.Generator], initial: Sequence[Tensor | None]) -> PEZState:
        """Return the state at the embeddings of each run's start.

        A run's first restart begins at the ids that are given for it ``(L,)``, at the start text, or at random
        tokens; the others begin at random tokens, as many, drawn by the run's own generator.

        Raises:
            ConstraintError: the runs start from prompts of different lengths, or a start does not fit.
        """
        first = [initial_ids(space, own, self.config, given) for own, given in zip(rng, initial, strict=True)]
        lengths = [len(ids) for ids in first]
        if len(set(lengths)) > 1:
            message = (
                f"The prompts to start from have {', '.join(map(str, lengths))} tokens, but pez searches for all "
                "targets in one batch, whose prompts are equally long: search for each target by itself."
            )
            raise ConstraintError(message)
        ids = torch.stack([self._restarts(space, own, start) for own, start in zip(rng, first, strict=True)])
        embeddings = space.embedding[ids].detach()
        embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        # Tokens that are known need no projection, except those that may not be proposed.
        ids = torch.where(space.allowed[ids], ids, project(space, embeddings))
        return PEZState(
            embeddings=embeddings,
            ids=ids,
            losses=torch.full(ids.shape[:2], torch.inf, dtype=torch.float64, device=ids.device),
            first_moment=torch.zeros_like(embeddings),
            second_moment=torch.zeros_like(embeddings),
            done=exhausted(space, ids.flatten(0, 1)),
        )

    def _restarts(self, space: SearchSpace, rng: torch.Generator, first: Tensor) -> Tensor:
        """Return where the restarts of one run begin, ``(K, L)``."""
        others = [random_ids(space, rng, len(first)) for _ in range(self.config.restarts - 1)]
        return torch.stack([first, *others])

    def step(self, space: SearchSpace, state: PEZState, rng: Sequence[torch.Generator]) -> Step[PEZState]:
        """Ask for the gradients at the projected prompts and move the embeddings by them."""
        n_runs, n_restarts, _ = state.ids.shape
        run = torch.arange(n_runs, device=state.ids.device).repeat_interleave(n_restarts)
        losses, gradient = yield Gradients(state.ids.flatten(0, 1), run)
        return self.moved(space, state, losses, gradient)

    def moved(self, space: SearchSpace, state: PEZState, losses: Tensor, gradient: Tensor) -> PEZState:
        """Return the state after an update.

        Arguments:
            space: says what is allowed.
            state: the state before.
            losses: of its prompts, ``(N * K,)``.
            gradient: at the embeddings of its tokens, ``(N * K, L, d)``.
        """
        lr = self.config.learning_rate(state.step)
        embeddings, moments = adamw(
            state.embeddings,
            gradient.to(state.embeddings.dtype).view_as(state.embeddings),
            Moments(state.first_moment, state.second_moment),
            state.step,
            lr=lr,
            weight_decay=self.config.weight_decay,
        )
        ids = project(space, embeddings)
        return PEZState(
            embeddings=embeddings,
            ids=ids,
            losses=losses.double().view_as(state.losses),
            first_moment=moments.first,
            second_moment=moments.second,
            step=state.step + 1,
            # A rate of zero stays zero, and the prompts at which it got there have just been scored.
            done=lr == 0 or exhausted(space, ids.flatten(0, 1)),
        )
