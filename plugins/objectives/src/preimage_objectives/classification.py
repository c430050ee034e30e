"""Which class a classifier gives a text.

For the wanted class ``c`` the loss is ``-log p(c | text)``, in nats; 0 where the classifier is certain of it. With a
margin it is ``max(0, margin - (log p(c | text) - max log p(other | text)))``: what it lacks of leading by that much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage.errors import InputError, UnknownNameError, nearest
from preimage_objectives.gradient import with_gradient
from preimage_objectives.likelihood import listed

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.model import Classifier
    from preimage.api.space import TextSpace
    from preimage_objectives.config import ClassLikelihoodConfig

__all__ = ["ClassLikelihood"]


class ClassLikelihood:
    """The negative log-probability of a wanted class.

    Arguments:
        config: which class is wanted, if it is the same for all targets, and how much of a lead is enough.
        model: the classifier.
        targets: the wanted class of each; if the config names one, what they are is not looked at.

    Raises:
        InputError: there is no target, or one is no label.
        UnknownNameError: the classifier has no such class.
    """

    def __init__(self, config: ClassLikelihoodConfig, *, model: Classifier, targets: Sequence[Any]) -> None:
        self._model = model
        self._margin = config.margin
        given = listed(targets, f"labels ({', '.join(model.labels)})")
        wanted = list(given) if config.label is None else [config.label] * len(given)
        self._wanted = torch.tensor([_index(label, model) for label in wanted], device=model.space.device)

    @property
    def space(self) -> TextSpace:
        """The texts that the model reads."""
        return self._model.space

    @property
    def n_targets(self) -> int:
        """How many targets it was bound to."""
        return len(self._wanted)

    @torch.no_grad()
    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the losses, ``(B,)``, of token ids ``(B, L)`` for the targets of index ``(B,)``."""
        return self._loss(self._model.class_log_probs(candidates), target)

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses, ``(B,)``, and their gradients at the input embeddings, ``(B, L, d)``."""
        return with_gradient(
            lambda embeddings: self._loss(self._model.embedding_class_log_probs(embeddings), target),
            candidates,
            self.space.embedding,
        )

    def _loss(self, log_probs: Tensor, target: Tensor) -> Tensor:
        """Return the losses, ``(B,)``, of log-probabilities ``(B, C)``."""
        place = self._wanted[target][:, None]
        wanted = log_probs.gather(1, place).squeeze(1)
        if self._margin is None:
            return -wanted
        others = log_probs.scatter(1, place, -torch.inf).amax(dim=1)
        return (self._margin + others - wanted).clamp(min=0)


def _index(label: Any, model: Classifier) -> int:
    """Return which class a label names; capitals do not matter where no two labels differ by them alone."""
    if not isinstance(label, str):
        message = (
            f"A target is {label!r}, a {type(label).__name__}, but this objective wants a class: give one of "
            f"{', '.join(map(repr, model.labels))}, or set the option label to one of them."
        )
        raise InputError(message)
    if label in model.labels:
        return model.labels.index(label)
    alike = [index for index, known in enumerate(model.labels) if known.casefold() == label.casefold()]
    if len(alike) == 1:
        return alike[0]
    message = (
        f"{model.reference} has no class {label!r}.{nearest(label, model.labels)} "
        f"Its classes are {', '.join(map(repr, model.labels))}."
    )
    raise UnknownNameError(message)
