"""How far a text is from given ones, under any distance between texts.

A distance judges what is written, not what a model makes of it, so that it has no slope at the input embeddings: its
gradient is zero. In a search by gradients the other terms propose, and this one helps to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage import catalogue
from preimage.errors import AssemblyError, InputError
from preimage_objectives.likelihood import listed

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.distance import Distance
    from preimage.api.space import TextSpace
    from preimage_objectives.config import TextDistanceConfig

__all__ = ["TextDistance"]


class TextDistance:
    """The distance of a text from its target text.

    Arguments:
        config: which distance, with its options.
        model: any model of texts: its tokens are what candidates are made of, and a distance that asks for a model is
            given it.
        targets: the texts to stay near to.
        distance: a distance between texts, instead of one by name.

    Raises:
        InputError: there is no target, or one is no text.
        AssemblyError: the distance is not one between texts.
    """

    def __init__(
        self, config: TextDistanceConfig, *, model: Any, targets: Sequence[Any], distance: Distance | None = None
    ) -> None:
        self._model = model
        self._targets = [_text(target) for target in listed(targets, "texts")]
        self._distance = _named(config, model) if distance is None else distance
        if self._distance.domain != "text":
            message = (
                f"The distance {type(self._distance).__name__} is one of {self._distance.domain}, and candidates are "
                "texts: use a distance between texts, such as edit-distance."
            )
            raise AssemblyError(message)

    @property
    def space(self) -> TextSpace:
        """The texts that the model reads."""
        space: TextSpace = self._model.space
        return space

    @property
    def n_targets(self) -> int:
        """How many targets it was bound to."""
        return len(self._targets)

    @torch.no_grad()
    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the distances, ``(B,)``, of token ids ``(B, L)`` from the targets of index ``(B,)``."""
        texts = self.space.decode(candidates)
        wanted = [self._targets[index] for index in target.tolist()]
        return self._distance(texts, wanted).to(candidates.device)

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distances, ``(B,)``, and zeros, ``(B, L, d)``: what is written has no slope."""
        embedding = self.space.embedding
        return self.loss(candidates, target), embedding.new_zeros(*candidates.shape, embedding.shape[1])


def _named(config: TextDistanceConfig, model: Any) -> Distance:
    """Return the distance that a config names; one that asks for a model gets `model`."""
    component = catalogue().describe("distance", config.distance).component
    parts = {"model": model} if component.trait("role") else {}
    distance: Distance = catalogue().build("distance", config.distance, parts, **config.options)
    return distance


def _text(target: Any) -> str:
    if not isinstance(target, str):
        message = f"A target is {target!r}, a {type(target).__name__}, but distances are taken from texts: give a text."
        raise InputError(message)
    return target
