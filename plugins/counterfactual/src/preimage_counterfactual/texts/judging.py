"""What a classifier and a language model say of texts of any length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage.errors import InputError, UnknownNameError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Classifier, ImageTextEncoder, LanguageModel, TextSpace

__all__ = ["DescriptionClassifier", "class_log_probs", "label_named", "nats_of"]

_SHARPNESS = 100.0
"""What CLIP models multiply cosines with before they compare descriptions."""


class DescriptionClassifier:
    """Decides which of several descriptions a text, or a picture, is nearest to: an encoder as a classifier.

    Arguments:
        encoder: of texts and pictures.
        descriptions: two or more, which are the classes.

    Raises:
        InputError: there are fewer than two different ones, or one cannot be read.
    """

    def __init__(self, encoder: ImageTextEncoder, descriptions: Sequence[str]) -> None:
        if isinstance(descriptions, str) or len(set(descriptions)) < 2:
            message = f"The descriptions are {descriptions!r}: give at least two different ones to decide between."
            raise InputError(message)
        self.labels = tuple(dict.fromkeys(descriptions))
        self.reference = encoder.reference
        self._encoder = encoder
        encoded = _encoded(encoder.space, self.labels)
        with torch.no_grad():
            rows = [encoder.encode_tokens(torch.tensor([ids], device=encoder.space.device))[0] for ids in encoded]
        self._vectors = torch.stack(rows)

    @property
    def space(self) -> TextSpace:
        """The texts that the encoder reads."""
        return self._encoder.space

    @property
    def fingerprint(self) -> str:
        """A hash of the encoder's weights."""
        return self._encoder.fingerprint

    def class_log_probs(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, C)``, of token ids ``(B, L)``."""
        return self._log_probs(self._encoder.encode_tokens(ids))

    def embedding_class_log_probs(self, embeddings: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, C)``, of input embeddings ``(B, L, d)``; differentiable."""
        return self._log_probs(self._encoder.encode_embeddings(embeddings))

    @torch.no_grad()
    def of_pictures(self, pictures: Sequence[Any]) -> Tensor:
        """Return the log-probabilities, ``(N, C)``, of pictures."""
        return self._log_probs(self._encoder.encode_images(pictures))

    def _log_probs(self, vectors: Tensor) -> Tensor:
        cosines = vectors.to(self._vectors) @ self._vectors.T
        return torch.log_softmax(_SHARPNESS * cosines.float(), dim=-1)


@torch.no_grad()
def class_log_probs(classifier: Classifier, texts: Sequence[str]) -> Tensor:
    """Return the log-probabilities of the classes for each text, ``(B, C)``.

    Raises:
        InputError: a text has no token, or more than the classifier reads.
    """
    return _by_length(classifier.space, texts, classifier.class_log_probs)


@torch.no_grad()
def nats_of(model: LanguageModel, texts: Sequence[str]) -> Tensor:
    """Return how unlikely a language model finds each text, in nats per token, ``(B,)``.

    Raises:
        InputError: a text has no token, or more than the model reads.
    """
    return -_by_length(model.space, texts, lambda ids: model.token_log_probs(ids).mean(dim=1))


def label_named(label: Any, classifier: Classifier) -> str:
    """Return a class as the classifier calls it; capitals do not matter where no two differ by them alone.

    Raises:
        UnknownNameError: it has no such class.
    """
    if label in classifier.labels:
        return str(label)
    alike = [known for known in classifier.labels if known.casefold() == str(label).casefold()]
    if len(alike) == 1:
        return alike[0]
    message = (
        f"{classifier.reference} has no class {label!r}.{nearest(str(label), classifier.labels)} "
        f"Its classes are {', '.join(map(repr, classifier.labels))}."
    )
    raise UnknownNameError(message)


def _by_length(space: TextSpace, texts: Sequence[str], ask: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the answers about texts, ``(B, …)``: those of one length are asked about together, and nobody pads."""
    by_length: dict[int, list[int]] = {}
    encoded = _encoded(space, texts)
    for index, ids in enumerate(encoded):
        by_length.setdefault(len(ids), []).append(index)
    order = [index for indices in by_length.values() for index in indices]
    parts = [
        ask(torch.tensor([encoded[index] for index in indices], device=space.device)) for indices in by_length.values()
    ]
    return torch.cat(parts)[torch.tensor(order, device=space.device).argsort()].double().cpu()


def _encoded(space: TextSpace, texts: Sequence[str]) -> list[list[int]]:
    encoded = space.encode(texts)
    for text, ids in zip(texts, encoded, strict=True):
        if not 0 < len(ids) <= space.max_length:
            message = (
                f"The text {text[:60]!r} has {len(ids)} tokens, and {space.name} reads 1 to {space.max_length}: "
                f"{'shorten it' if ids else 'give a text with a word in it'}."
            )
            raise InputError(message)
    return encoded
