"""Prompts as a diffusion model is told of them: the states of its text encoder at every position of the context.

Stable Diffusion was trained on texts that are padded to the whole context and not masked, so that what stands behind
the end of a prompt counts, too. Everything here pads as the pipeline does.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage.errors import AssemblyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PromptEncoder"]


class PromptEncoder:
    """A text encoder with its tokenizer.

    Arguments:
        text_encoder: of transformers.
        tokenizer: its tokenizer, whose length is that of the context.
        reference: the ``sd:name`` it was loaded by.

    Raises:
        AssemblyError: the tokenizer pads to more than the text encoder reads.
    """

    def __init__(self, text_encoder: Any, tokenizer: Any, *, reference: str) -> None:
        self.reference = reference
        self._encoder = text_encoder
        self._tokenizer = tokenizer
        self._masked = bool(getattr(text_encoder.config, "use_attention_mask", False))
        self.length = int(tokenizer.model_max_length)
        room = getattr(text_encoder.config, "max_position_embeddings", self.length)
        if self.length > room:
            message = (
                f"The tokenizer of {reference} pads prompts to {self.length} tokens, of which its text encoder reads "
                f"{room}: set model_max_length in tokenizer_config.json to {room}."
            )
            raise AssemblyError(message)

    @property
    def pad_id(self) -> int:
        """What prompts are padded with."""
        return int(self._tokenizer.pad_token_id)

    def states(self, ids: Tensor, used: int | Tensor) -> Tensor:
        """Return the states, ``(B, S, D)``, of padded ids, ``(B, S)``.

        Arguments:
            ids: with special tokens and padding.
            used: how many of the positions are no padding, for the few text encoders that mask it; ``(B,)`` or one
                number for all.
        """
        mask = None
        if self._masked:
            places = torch.arange(ids.shape[1], device=ids.device)
            mask = (places < torch.as_tensor(used, device=ids.device).reshape(-1, 1)).expand(len(ids), -1).long()
        answer: Tensor = self._encoder(ids, attention_mask=mask)[0]
        return answer

    @torch.no_grad()
    def read(self, prompts: Sequence[str]) -> Tensor:
        """Return the states, ``(B, S, D)``, of prompts; one that is too long is cut, with a warning."""
        padded = self._tokenizer(
            list(prompts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        whole = self._tokenizer(list(prompts), verbose=False).input_ids
        for prompt, ids in zip(prompts, whole, strict=True):
            if len(ids) > self.length:
                lost = self._tokenizer.decode(ids[self.length - 1 : -1]).strip()
                message = (
                    f"{self.reference} reads {self.length} tokens, and the prompt {_shown(prompt)!r} has {len(ids)}: "
                    f"{_shown(lost)!r} at its end was left out."
                )
                warnings.warn(message, UserWarning, stacklevel=2)
        device = next(self._encoder.parameters()).device
        return self.states(padded.input_ids.to(device), padded.attention_mask.sum(dim=1))


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
