"""Sentence encoders: a transformer's states pooled into one unit vector a text.

How they are pooled stands in ``1_Pooling/config.json`` where the model is one of sentence-transformers; without
that file their mean is taken. All texts of a batch are equally long, so that nothing is padded and nothing needs
to be masked: the mean over all positions is the masked mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from preimage.errors import AssemblyError, InputError
from preimage.text_space import TokenizerSpace
from preimage.weights import fingerprint_of
from preimage_transformers.clip import too_long
from preimage_transformers.frame import embedding_table, frame_of, positions_of, specials_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["POOLINGS", "SentenceEncoder", "pooling_in"]


def _weighted_mean(states: Tensor) -> Tensor:
    weights = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)
    return torch.einsum("btd,t->bd", states, weights / weights.sum())


POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda states: states[:, 0],
    "max": lambda states: states.amax(dim=1),
    "mean": lambda states: states.mean(dim=1),
    # The same direction as the mean, and all vectors are normalised.
    "mean_sqrt_len_tokens": lambda states: states.mean(dim=1),
    "weightedmean": _weighted_mean,
    "lasttoken": lambda states: states[:, -1],
}
"""The poolings of sentence-transformers: states ``(B, T, d)`` to vectors ``(B, d)``."""

_OLD_NAMES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class SentenceEncoder:
    """The role ``text-encoder`` for a model of transformers; all vectors have unit length.

    The model is frozen: evaluation mode, no parameter requires a gradient.

    Arguments:
        model: answers ``last_hidden_state`` for ``inputs_embeds``.
        tokenizer: its fast tokenizer.
        reference: the ``hf:name`` it was loaded by.
        poolings: names in `POOLINGS`; the vectors of several are joined.
        max_length: how many tokens it reads in all, where that is less than its positions.

    Raises:
        AssemblyError: a pooling is not known, or its tokenizer cannot be searched.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        reference: str,
        poolings: tuple[str, ...] = ("mean",),
        max_length: int | None = None,
    ) -> None:
        unknown = [name for name in poolings if name not in POOLINGS]
        if unknown or not poolings:
            message = (
                f"{reference} pools its states by {', '.join(unknown) or 'nothing'}, which is not among "
                f"{', '.join(POOLINGS)}: use a model that pools by one of these."
            )
            raise AssemblyError(message)
        self.reference = reference
        model.eval().requires_grad_(False)
        self._model = model
        self._poolings = poolings
        self._frame = frame_of(tokenizer, reference)
        positions = positions_of(model, self._model.config, tokenizer)
        self.space = TokenizerSpace(
            tokenizer.backend_tokenizer,
            embedding_table(self._model.get_input_embeddings(), reference),
            name=reference,
            max_length=min(positions, max_length or positions) - len(self._frame),
            special_ids=specials_of(tokenizer, self._frame),
        )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights as they are in memory."""
        return fingerprint_of(self._model)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of token ids ``(B, L)``, without a gradient."""
        with torch.no_grad():
            return self.encode_embeddings(functional.embedding(ids, self.space.embedding))

    def encode_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of input embeddings ``(B, L, d)``; differentiable."""
        if embeddings.shape[1] > self.space.max_length:
            raise InputError(too_long(self.reference, embeddings.shape[1], self.space.max_length))
        framed = self._frame.around_embeddings(embeddings, self.space.embedding)
        states = self._model(inputs_embeds=framed).last_hidden_state
        return functional.normalize(torch.cat([POOLINGS[name](states) for name in self._poolings], dim=-1), dim=-1)


def pooling_in(path: Path | None, reference: str) -> tuple[str, ...]:
    """Return the poolings that a ``1_Pooling/config.json`` names; the mean without the file.

    Raises:
        InputError: the file cannot be read.

    >>> pooling_in(None, "hf:toy")
    ('mean',)
    """
    if path is None:
        return ("mean",)
    try:
        saved = json.loads(path.read_text("utf-8"))
        stated = saved.get("pooling_mode")
        if stated is not None:
            return (stated,) if isinstance(stated, str) else tuple(stated)
        return tuple(name for key, name in _OLD_NAMES.items() if saved.get(key))
    except (OSError, ValueError, AttributeError) as error:
        message = f"The pooling of {reference} could not be read from {path}: {error}. Save the model again."
        raise InputError(message) from error
