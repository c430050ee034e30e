"""How like its target a picture is that an image generator makes of the prompt.

For a prompt from which the generator makes pictures with the unit vectors ``g_1 … g_n``, and a target whose mean vector
is ``t``::

    loss = 1 - (g_1 · t + … + g_n · t) / n

This is what recovering a prompt is about, at the price of ``n`` pictures a candidate: it is made for choosing among
few good prompts, such as those of a captioner. The seeds are the same for every prompt (common random numbers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage import catalogue
from preimage_objectives.config import ClipSimilarityConfig
from preimage_objectives.similarity import ClipSimilarity

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.model import ImageGenerator, ImageTextEncoder
    from preimage.api.space import TextSpace
    from preimage_objectives.config import RegenerationConfig

__all__ = ["Regeneration"]


class Regeneration:
    """One less the mean cosine between the pictures that a generator makes of a prompt and the target.

    Arguments:
        config: which generator, and which seeds.
        model: the encoder of pictures; its tokens are what candidates are made of.
        targets: each a picture (PIL) or a text, or a tuple of such whose mean similarity counts.
        generator: a generator, instead of one by its reference.

    Raises:
        InputError: there is no target, or one of another kind, empty, or too long for the model.
    """

    def __init__(
        self,
        config: RegenerationConfig,
        *,
        model: ImageTextEncoder,
        targets: Sequence[Any],
        generator: ImageGenerator | None = None,
    ) -> None:
        self._model = model
        self._similarity = ClipSimilarity(ClipSimilarityConfig(), model=model, targets=targets)
        self._seeds = list(range(config.seed, config.seed + config.n_pictures))
        self._generator: ImageGenerator = (
            catalogue().load_model(
                config.generator, "image-generator", device=model.space.device, **config.generator_options
            )
            if generator is None
            else generator
        )

    @property
    def space(self) -> TextSpace:
        """The texts that the model reads."""
        return self._model.space

    @property
    def n_targets(self) -> int:
        """How many targets it was bound to."""
        return self._similarity.n_targets

    @property
    def models(self) -> tuple[ImageGenerator]:
        """The generator, which is asked besides the encoder."""
        return (self._generator,)

    @torch.no_grad()
    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the losses, ``(B,)``, of token ids ``(B, L)`` for the targets of index ``(B,)``."""
        # One prompt at a time: a picture's last digits depend on the batch, and their rounding to pixels on them.
        vectors = [
            self._model.encode_images(self._generator.generate([text] * len(self._seeds), self._seeds))
            for text in self.space.decode(candidates)
        ]
        each = target.repeat_interleave(len(self._seeds))
        return self._similarity.of_vectors(torch.cat(vectors), each).reshape(len(target), -1).mean(dim=1)
