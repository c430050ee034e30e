"""How near a prompt comes to its target in an encoder's space.

For a prompt with the unit vector ``p`` and a target with the unit vectors ``t_1 … t_n``::

    loss = 1 - (p · t_1 + … + p · t_n) / n

which lies between 0 and 2. Targets are encoded once, when the objective is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch.nn import functional

from preimage.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.model import ImageTextEncoder, TextEncoder
    from preimage.api.space import TextSpace
    from preimage_objectives.config import ClipSimilarityConfig, TextSimilarityConfig

__all__ = ["ClipSimilarity", "TextSimilarity"]


class TextSimilarity:
    """One less the cosine between a prompt and target texts.

    Arguments:
        config: has no options.
        model: the encoder.
        targets: each a text, or a tuple of texts whose mean similarity counts.

    Raises:
        InputError: there is no target, or one of another kind, empty, or too long for the model.
    """

    _kinds = "texts"

    def __init__(
        self, config: TextSimilarityConfig | ClipSimilarityConfig, *, model: TextEncoder, targets: Sequence[Any]
    ) -> None:
        self._model = model
        if isinstance(targets, str) or not isinstance(targets, Sequence):
            message = f"The targets are {targets!r}, not a list: give a list of {self._kinds}, even for a single one."
            raise InputError(message)
        if not targets:
            message = f"There is no target to come near to: give at least one of {self._kinds}."
            raise InputError(message)
        groups = [target if isinstance(target, tuple) else (target,) for target in targets]
        if not all(groups):
            message = f"A target is an empty group: give it at least one of {self._kinds}, or leave it out."
            raise InputError(message)
        vectors = self._vectors([member for group in groups for member in group])
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        # A mean is not normalised, so that its product with a prompt is the mean of the cosines.
        self._targets = torch.stack([group.mean(0) for group in vectors.split([len(group) for group in groups])])

    @property
    def space(self) -> TextSpace:
        """The texts that the model reads."""
        return self._model.space

    @property
    def n_targets(self) -> int:
        """How many targets it was bound to."""
        return len(self._targets)

    @torch.no_grad()
    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the losses, ``(B,)``, of token ids ``(B, L)`` for the targets of index ``(B,)``."""
        return self.of_vectors(self._model.encode_tokens(candidates), target)

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses, ``(B,)``, and their gradients at the input embeddings, ``(B, L, d)``.

        One forward and one backward pass; row ``i`` of the gradient is that of row ``i``'s own loss.
        """
        embeddings = functional.embedding(candidates, self.space.embedding).detach().requires_grad_()
        with torch.enable_grad():
            losses = self.of_vectors(self._model.encode_embeddings(embeddings), target)
            # No row's loss depends on another row, so the gradient of the sum holds each row's own.
            (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
        return losses.detach(), gradient

    def of_vectors(self, prompts: Tensor, target: Tensor) -> Tensor:
        """Return the losses, ``(B,)``, of unit vectors ``(B, D)``, at least in single precision."""
        return 1 - (prompts.to(self._targets) * self._targets[target]).sum(dim=-1)

    def _vectors(self, members: list[Any]) -> Tensor:
        """Return the unit vectors, ``(N, D)``, of what the targets are made of."""
        for member in members:
            if not isinstance(member, str):
                raise InputError(self._wrong_kind(member))
        return torch.stack([self._text_vector(member) for member in members])

    def _text_vector(self, text: str) -> Tensor:
        (ids,) = self.space.encode([text])
        if not 0 < len(ids) <= self.space.max_length:
            message = (
                f"The target text {text[:60]!r} has {len(ids)} tokens, but {self.space.name} reads 1 to "
                f"{self.space.max_length}: give a text of that length."
            )
            raise InputError(message)
        with torch.no_grad():
            return self._model.encode_tokens(torch.tensor([ids], device=self.space.device))[0]

    def _wrong_kind(self, member: Any) -> str:
        return (
            f"A target is {member!r}, a {type(member).__name__}, but this objective takes {self._kinds} or tuples "
            "of them: convert it first."
        )


class ClipSimilarity(TextSimilarity):
    """One less the cosine between a prompt and target pictures or texts, in the space that both share.

    Arguments:
        config: has no options.
        model: the encoder of pictures and texts.
        targets: each a picture (PIL) or a text, or a tuple of such whose mean similarity counts, for example
            several pictures of one subject.

    Raises:
        InputError: there is no target, or one of another kind, empty, or too long for the model.
    """

    _kinds = "pictures (PIL images) and texts"
    _model: ImageTextEncoder

    def _vectors(self, members: list[Any]) -> Tensor:
        """Return the unit vectors, ``(N, D)``, of what the targets are made of; pictures go in one batch."""
        images = [member for member in members if isinstance(member, Image.Image)]
        others = [member for member in members if not isinstance(member, Image.Image)]
        of_others = iter(super()._vectors(others) if others else ())
        of_images = iter(self._model.encode_images(images) if images else ())
        return torch.stack([next(of_images if isinstance(member, Image.Image) else of_others) for member in members])

    def _wrong_kind(self, member: Any) -> str:
        return super()._wrong_kind(member).removesuffix("convert it first.") + (
            "open a file with PIL.Image.open, turn an array into a picture with PIL.Image.fromarray."
        )
