"""The roles that a model can play; an objective asks for a role and never for a library.

Texts come as token ids ``(B, L)`` of the model's own `TextSpace`, without special tokens and without padding
(the host groups rows by length), or as input embeddings ``(B, L, d)`` so that gradients reach them.
Loaders freeze what they return: evaluation mode, no parameter requires a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import attrs
from attrs.validators import ge, gt, instance_of, le

from preimage.api.space import TextSpace

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = [
    "ROLES",
    "Captioner",
    "Classifier",
    "Decoding",
    "Denoiser",
    "ImageGenerator",
    "ImageTextEncoder",
    "LanguageModel",
    "Model",
    "TextEncoder",
]


@runtime_checkable
class Model(Protocol):
    """What every role has."""

    @property
    def reference(self) -> str:
        """The ``loader:name`` it was loaded by."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of the weights, which results carry."""
        ...


@runtime_checkable
class TextEncoder(Model, Protocol):
    """Texts to vectors."""

    @property
    def space(self) -> TextSpace:
        """The texts it reads."""
        ...

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of token ids ``(B, L)``."""
        ...

    def encode_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of input embeddings ``(B, L, d)``; differentiable."""
        ...


@runtime_checkable
class ImageTextEncoder(TextEncoder, Protocol):
    """Texts and pictures to vectors of one space."""

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """Return the unit vectors, ``(N, D)``, of pictures."""
        ...


@runtime_checkable
class LanguageModel(Model, Protocol):
    """Texts to log-probabilities of the next token."""

    @property
    def space(self) -> TextSpace:
        """The texts it reads."""
        ...

    def token_log_probs(self, ids: Tensor, *, start: int = 0) -> Tensor:
        """Return ``log p(ids[:, i] | ids[:, :i])``, ``(B, L - start)``, for token ids ``(B, L)``.

        Only the tokens from `start` on are wanted; the vocabulary head need not be computed for those before.
        """
        ...

    def embedding_log_probs(self, embeddings: Tensor, ids: Tensor, *, start: int = 0) -> Tensor:
        """Return ``log p(ids[:, i] | embeddings[:, :i])``, ``(B, L - start)``; differentiable in `embeddings`."""
        ...

    def next_token_log_probs(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, V)``, of the token that follows each row of `ids`, ``(B, L)``."""
        ...


@runtime_checkable
class Classifier(Model, Protocol):
    """Texts to log-probabilities of classes."""

    @property
    def space(self) -> TextSpace:
        """The texts it reads."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the outputs."""
        ...

    def class_log_probs(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, C)``, of token ids ``(B, L)``."""
        ...

    def embedding_class_log_probs(self, embeddings: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, C)``, of input embeddings ``(B, L, d)``; differentiable."""
        ...


@attrs.frozen(kw_only=True)
class Decoding:
    """How a captioner finds its words; lengths are in its own tokens.

    Attributes:
        count: how many captions of each picture.
        beams: of them so many come from a search with so many beams, likeliest first; 1 is the greedy caption. All
            beyond that are sampled.
        prefix: a text that is put into the captioner's mouth; captions are what it goes on with.
        min_tokens: no caption ends before.
        max_tokens: every caption ends there.
        length_penalty: the power of the length by which beams divide their log-probabilities: above 0 long captions
            gain, below 0 short ones.
        temperature: of sampling; what is likely becomes likelier below 1.
        top_p: sampling draws from the likeliest tokens that have this much probability together.

    Raises:
        ValueError: a number is out of its range.
    """

    count: int = attrs.field(default=1, validator=[instance_of(int), ge(1)])
    beams: int = attrs.field(default=1, validator=[instance_of(int), ge(1)])
    prefix: str = attrs.field(default="", validator=instance_of(str))
    min_tokens: int = attrs.field(default=0, validator=[instance_of(int), ge(0)])
    max_tokens: int = attrs.field(default=48, validator=[instance_of(int), ge(1)])
    length_penalty: float = attrs.field(default=1.0, converter=float)
    temperature: float = attrs.field(default=1.0, converter=float, validator=gt(0.0))
    top_p: float = attrs.field(default=1.0, converter=float, validator=[gt(0.0), le(1.0)])

    @property
    def sampled(self) -> int:
        """How many of the captions of a picture are sampled."""
        return max(0, self.count - self.beams)


@runtime_checkable
class Captioner(Model, Protocol):
    """Pictures to texts."""

    def captions(
        self, images: Sequence[Image], decoding: Decoding, *, seeds: Sequence[int] | None = None
    ) -> list[list[str]]:
        """Return the captions of each picture, best first, then those that are sampled.

        A picture with a seed has the same captions in any company, and no global generator is drawn from.

        Arguments:
            images: the pictures.
            decoding: how many captions, and how they are found.
            seeds: of what is sampled, one for each picture; 0 for all without them.
        """
        ...


@runtime_checkable
class ImageGenerator(Model, Protocol):
    """Texts to pictures."""

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        """Return one picture for each prompt and its seed; the same pair gives the same picture in any batch."""
        ...


@runtime_checkable
class Denoiser(Model, Protocol):
    """Texts and noisy pictures to what is noise in them: a diffusion model, seen from the side of its prompt.

    A text is encoded once, and told to the network at as many timesteps as are wanted.
    """

    @property
    def space(self) -> TextSpace:
        """The texts it reads."""
        ...

    @property
    def n_timesteps(self) -> int:
        """How many timesteps its training had; 0 is the least noisy."""
        ...

    def text_states(self, ids: Tensor) -> Tensor:
        """Return what the network is told of texts, ``(B, S, D)``, for token ids ``(B, L)``, also for ``L = 0``."""
        ...

    def embedding_text_states(self, embeddings: Tensor) -> Tensor:
        """Return the same for input embeddings ``(B, L, d)``; differentiable."""
        ...

    def encode_pictures(self, images: Sequence[Image]) -> Tensor:
        """Return the latents of pictures, ``(N, C, H, W)``, at the size that the model draws."""
        ...

    def noise_prediction_loss(self, states: Tensor, latents: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """Return each row's mean squared error, ``(B,)``, by which the network was trained; differentiable in `states`.

        Arguments:
            states: what it is told, ``(B, S, D)``.
            latents: of pictures, ``(B, C, H, W)``.
            timesteps: how much noise is put on them, ``(B,)``, integers from 0 to below `n_timesteps`.
            noise: of normal distribution, ``(B, C, H, W)``.
        """
        ...


ROLES: dict[str, type] = {
    "text-encoder": TextEncoder,
    "image-text-encoder": ImageTextEncoder,
    "language-model": LanguageModel,
    "classifier": Classifier,
    "captioner": Captioner,
    "image-generator": ImageGenerator,
    "denoiser": Denoiser,
}
"""The names by which traits speak of the roles."""
