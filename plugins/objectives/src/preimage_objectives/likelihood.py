"""What a language model thinks of a text, and of another text behind it.

For a text of the tokens ``x_1 … x_L``::

    fluency = -(log p(x_1) + log p(x_2 | x_1) + … + log p(x_L | x_1 … x_{L-1})) / L

in nats per token, where the model's start token stands before ``x_1``. For a target of the tokens ``y_1 … y_T``
behind the text, with ``n_j = -log p(y_j | x, y_1 … y_{j-1})``::

    target-likelihood = (n_1 + … + n_T) / T,    or with mellowmax    log((e^(a n_1) + … + e^(a n_T)) / T) / a

Both are means, so that weights mean the same for texts of any length.

The gradients are those at the input embeddings, that is of a token's influence on what the model expects
*behind* it. How likely a token itself is where it stands is not in them, since no embedding says which output is
asked for. `Fluency.next_token_log_probs` tells that for every token at once, and with ``own_likelihood`` it enters the
gradient: as the linear function of embeddings that comes nearest to the log-probabilities of all allowed tokens at
that place. Where a model's output embeddings are its input embeddings (GPT-2), that function is exact.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from preimage.api.template import SLOT, Template
from preimage.errors import InputError
from preimage.text_space import template_ids
from preimage_objectives.gradient import with_gradient

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.model import LanguageModel
    from preimage.api.space import TextSpace
    from preimage_objectives.config import FluencyConfig, TargetLikelihoodConfig

__all__ = ["Fluency", "TargetLikelihood"]


class Fluency:
    """The mean negative log-likelihood of a text's tokens, in nats per token.

    Arguments:
        config: what the gradient tells.
        model: the language model.
        targets: as many as the other objectives have; what they are is not looked at.

    Raises:
        InputError: the targets are no list, or there is none.
    """

    def __init__(self, config: FluencyConfig, *, model: LanguageModel, targets: Sequence[Any]) -> None:
        self._config = config
        self._model = model
        self._n_targets = len(listed(targets, "targets of the problem; fluency only counts them"))

    @property
    def space(self) -> TextSpace:
        """The texts that the model reads."""
        return self._model.space

    @property
    def n_targets(self) -> int:
        """How many targets it was bound to."""
        return self._n_targets

    @torch.no_grad()
    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the losses, ``(B,)``, of token ids ``(B, L)``, which are the same for every target."""
        return -self._model.token_log_probs(candidates).mean(dim=1)

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses, ``(B,)``, and their gradients at the input embeddings, ``(B, L, d)``."""
        losses, gradient = with_gradient(
            lambda embeddings: -self._model.embedding_log_probs(embeddings, candidates).mean(dim=1),
            candidates,
            self.space.embedding,
        )
        if self._config.own_likelihood:
            length = candidates.shape[1]
            for place in range(length):
                log_probs = self._model.next_token_log_probs(candidates[:, :place])
                gradient[:, place] -= (self._nearest(log_probs) / length).to(gradient)
        return losses, gradient

    def next_token_log_probs(self, ids: Tensor, target: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, V)``, of the token that follows each row of `ids`, ``(B, L)``."""
        return self._model.next_token_log_probs(ids)

    def _nearest(self, values: Tensor) -> Tensor:
        """Return the slope, ``(B, d)``, of the linear function of embeddings nearest to ``values (B, V)``."""
        allowed = self.space.allowed
        mean = values[:, allowed].mean(dim=1, keepdim=True)
        # The differences from the mean add up to zero, so that the embeddings need not be centred as well.
        sides = torch.where(allowed, values - mean, 0.0).to(self.space.embedding) @ self.space.embedding
        slopes: Tensor = torch.linalg.solve(self._covariance, sides.double().mT)
        return slopes.mT

    @cached_property
    def _covariance(self) -> Tensor:
        """The sum of the products of all allowed tokens' embeddings, less their mean, ``(d, d)`` float64."""
        embedding = self.space.embedding.detach()[self.space.allowed].double()
        embedding = embedding - embedding.mean(dim=0)
        covariance = embedding.mT @ embedding
        # No token tells about directions in which none differs.
        covariance.diagonal().add_(covariance.diagonal().mean() * 1e-9)
        return covariance


class TargetLikelihood:
    """How unlikely a language model finds a given text behind the prompt, per token of that text.

    The target is read as it would be behind any word, and only its own positions go through the vocabulary head.

    Arguments:
        config: how the tokens' log-probabilities become one number.
        model: the language model.
        targets: the texts to follow.

    Raises:
        InputError: there is no target, or one is no text, has no token, or leaves no room for a prompt.
    """

    def __init__(self, config: TargetLikelihoodConfig, *, model: LanguageModel, targets: Sequence[Any]) -> None:
        self._config = config
        self._model = model
        self._targets = [
            torch.tensor(self._read(target), device=model.space.device) for target in listed(targets, "texts")
        ]
        # The target takes its place in the model's context, so that the host keeps prompts that much shorter.
        space: Any = copy.copy(model.space)
        space.max_length = model.space.max_length - max(len(ids) for ids in self._targets)
        self._space: TextSpace = space

    @property
    def space(self) -> TextSpace:
        """The texts that the model reads, with room for the target behind them."""
        return self._space

    @property
    def n_targets(self) -> int:
        """How many targets it was bound to."""
        return len(self._targets)

    @torch.no_grad()
    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the losses, ``(B,)``, of token ids ``(B, L)`` for the targets of index ``(B,)``."""
        length = candidates.shape[1]
        losses = [
            (rows, self._loss(self._model.token_log_probs(self._followed(candidates[rows], index), start=length)))
            for rows, index in _by_target(target)
        ]
        return _in_order([(rows, loss) for rows, loss in losses])

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses, ``(B,)``, and their gradients at the input embeddings, ``(B, L, d)``."""
        answers = [
            (rows, with_gradient(self._loss_of(candidates[rows], index), candidates[rows], self.space.embedding))
            for rows, index in _by_target(target)
        ]
        return (
            _in_order([(rows, losses) for rows, (losses, _) in answers]),
            _in_order([(rows, gradient) for rows, (_, gradient) in answers]),
        )

    def _loss_of(self, candidates: Tensor, index: int) -> Callable[[Tensor], Tensor]:
        """Return the losses, ``(B,)``, of candidates as a function of their embeddings, ``(B, L, d)``."""
        whole = self._followed(candidates, index)
        behind = functional.embedding(self._targets[index], self.space.embedding)

        def loss_of(embeddings: Tensor) -> Tensor:
            complete = torch.cat([embeddings, behind.expand(len(embeddings), -1, -1)], dim=1)
            return self._loss(self._model.embedding_log_probs(complete, whole, start=candidates.shape[1]))

        return loss_of

    def _followed(self, candidates: Tensor, index: int) -> Tensor:
        """Return candidates with a target behind them, ``(B, L + T)``."""
        return torch.cat([candidates, self._targets[index].expand(len(candidates), -1)], dim=1)

    def _loss(self, log_probs: Tensor) -> Tensor:
        """Return one number, ``(B,)``, for the log-probabilities of the target's tokens, ``(B, T)``."""
        if not self._config.use_mellowmax:
            return -log_probs.mean(dim=1)
        alpha = self._config.mellowmax_alpha
        count = torch.tensor(float(log_probs.shape[1]), dtype=log_probs.dtype, device=log_probs.device)
        return (torch.logsumexp(-alpha * log_probs, dim=1) - count.log()) / alpha

    def _read(self, target: Any) -> list[int]:
        """Return the ids of a target as they stand behind a prompt."""
        if not isinstance(target, str):
            message = (
                f"A target is {target!r}, a {type(target).__name__}, but this objective makes a language model say "
                "texts: give a text (for a picture, clip-similarity is the objective)."
            )
            raise InputError(message)
        space = self._model.space
        ids = template_ids(space, Template(SLOT + self._config.separator + target))[-1] if target.strip() else []
        if not 0 < len(ids) < space.max_length:
            message = (
                f"The target text {target[:60]!r} has {len(ids)} tokens, but {space.name} reads {space.max_length} "
                "with the prompt: give a text with at least one token that leaves room for a prompt."
            )
            raise InputError(message)
        return ids


def listed(targets: Any, what: str) -> Sequence[Any]:
    """Return the targets, which are a list with something in it.

    Raises:
        InputError: they are not.
    """
    if isinstance(targets, str) or not isinstance(targets, Sequence):
        message = f"The targets are {targets!r}, not a list: give a list of {what}, even for a single one."
        raise InputError(message)
    if not targets:
        message = f"The list of targets is empty: give at least one ({what})."
        raise InputError(message)
    return targets


def _by_target(target: Tensor) -> list[tuple[Tensor, int]]:
    """Return for each target that occurs in ``(B,)`` its rows and its index."""
    return [((target == index).nonzero().flatten(), index) for index in target.unique().tolist()]


def _in_order(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the values of rows, ``(B, …)``, in the order of the rows."""
    order = torch.cat([rows for rows, _ in parts]).argsort()
    return torch.cat([values for _, values in parts])[order]
