"""Causal language models: how likely each token of a text is, and what is likely to follow.

What stands before a text's first token is the model's start token: the one its tokenizer puts there (Llama), its
beginning-of-text token, or else the end-of-text token that separated the documents it was trained on (GPT-2). So
the first token has a probability, too, and the mean over a text is that of a whole text. A model that has none of
these tells nothing about first tokens: all of them are taken to be equally likely, ``log p = -log V``.
"""

from __future__ import annotations

import inspect
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from preimage.errors import AssemblyError, InputError
from preimage.text_space import TokenizerSpace
from preimage.weights import fingerprint_of
from preimage_transformers.clip import too_long
from preimage_transformers.frame import embedding_table, frame_of, positions_of, specials_of
from preimage_transformers.shared_prefix import SharedPrefixes, at_least_single, log_probs_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TransformersLanguageModel", "start_of"]

# How many texts must be read alike, on average, for each to be read only once.
_ALIKE = 4
# Logits at once: a quarter of a gigabyte in single precision.
_LOGITS = 2**26


class TransformersLanguageModel:
    """The role ``language-model`` for a causal language model of transformers.

    The vocabulary head is computed at the positions that are asked for only, and beginnings that texts of a batch
    have in common are computed once. The model is frozen: evaluation mode, no parameter requires a gradient.

    Arguments:
        model: answers ``logits`` for ``input_ids`` and ``inputs_embeds``.
        tokenizer: its fast tokenizer.
        reference: the ``hf:name`` it was loaded by.
        share_prefixes: compute common beginnings only once.

    Raises:
        AssemblyError: it looks at later tokens, or its tokenizer cannot be searched.
    """

    def __init__(self, model: Any, tokenizer: Any, *, reference: str, share_prefixes: bool = True) -> None:
        self.reference = reference
        model.eval().requires_grad_(False)
        self._model = model
        self._keeps = "logits_to_keep" in inspect.signature(self._model.forward).parameters
        frame = frame_of(tokenizer, reference)
        table = embedding_table(self._model.get_input_embeddings(), reference)
        self._start = start_of(tokenizer, self._model.config, frame.before, len(table))
        self.space = TokenizerSpace(
            tokenizer.backend_tokenizer,
            table,
            name=reference,
            max_length=positions_of(model, self._model.config, tokenizer) - len(self._start),
            special_ids=specials_of(tokenizer, frame) | set(self._start),
        )
        self._check_causal()
        self._shares = share_prefixes
        shares = share_prefixes and self._keeps and SharedPrefixes.fits(model)
        self._shared = SharedPrefixes(self._model, logits_at_once=_LOGITS) if shares else None

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What stands before a text's first token; empty where the model has no such token."""
        return self._start

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights as they are in memory."""
        return fingerprint_of(self._model)

    @torch.no_grad()
    def token_log_probs(self, ids: Tensor, *, start: int = 0) -> Tensor:
        """Return ``log p(ids[:, i] | ids[:, :i])``, ``(B, L - start)``, for token ids ``(B, L)``.

        Arguments:
            ids: the texts.
            start: the first token whose log-probability is wanted; those before it cost no vocabulary head.
        """
        self._check_length(ids.shape[1])
        uniform, inputs, targets = self._shifted(self._led(ids), ids, start)
        if not targets.shape[1]:
            return uniform
        different = torch.unique(inputs, dim=0) if self._shares else inputs
        if len(different) * _ALIKE <= len(inputs):
            return torch.cat([uniform, self._of_few(different, inputs, targets)], dim=1)
        if self._shared is not None and self._shared.pays(inputs):
            return torch.cat([uniform, self._shared.log_probs(inputs, targets)], dim=1)
        rows = max(1, _LOGITS // (targets.shape[1] * len(self.space.embedding)))
        parts = [
            log_probs_of(wanted, self._logits(targets.shape[1], input_ids=some))
            for some, wanted in zip(inputs.split(rows), targets.split(rows), strict=True)
        ]
        return torch.cat([uniform, torch.cat(parts)], dim=1)

    def _of_few(self, different: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, N)``, of what stands behind inputs ``(B, T)`` few of which are different.

        Texts that differ in their last token alone, as those of a search that writes the next one, are read alike.
        """
        place = (inputs[:, None] == different).all(dim=2).int().argmax(dim=1)
        answers = targets.new_empty(targets.shape, dtype=torch.promote_types(self.space.embedding.dtype, torch.float32))
        columns = torch.arange(targets.shape[1], device=targets.device)
        for index, row in enumerate(different):
            mine = place == index
            log_probs = at_least_single(self._logits(targets.shape[1], input_ids=row[None])[0]).log_softmax(dim=-1)
            answers[mine] = log_probs[columns, targets[mine]]
        return answers

    def embedding_log_probs(self, embeddings: Tensor, ids: Tensor, *, start: int = 0) -> Tensor:
        """Return ``log p(ids[:, i] | embeddings[:, :i])``, ``(B, L - start)``; differentiable in `embeddings`.

        Arguments:
            embeddings: what the texts are read from, ``(B, L, d)``.
            ids: the tokens whose log-probabilities are wanted, ``(B, L)``.
            start: the first of them; those before it cost no vocabulary head.
        """
        self._check_length(ids.shape[1])
        uniform, _, targets = self._shifted(self._led(ids), ids, start)
        # Without any prediction there is still a graph, whose slope is zero.
        uniform = uniform + 0 * embeddings.sum()
        if not targets.shape[1]:
            return uniform
        table = self.space.embedding
        lead = table[list(self._start)].expand(len(ids), -1, -1)
        inputs = torch.cat([lead, embeddings.to(table.dtype)], dim=1)[:, :-1]
        return torch.cat([uniform, log_probs_of(targets, self._logits(targets.shape[1], inputs_embeds=inputs))], dim=1)

    @torch.no_grad()
    def next_token_log_probs(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, V)``, of the token that follows each row of `ids`, ``(B, L)``.

        A row may be empty: then what begins a text is asked for.
        """
        self._check_length(ids.shape[1])
        inputs = self._led(ids)
        size = len(self.space.embedding)
        if not inputs.shape[1]:
            kind = torch.promote_types(self.space.embedding.dtype, torch.float32)
            return self.space.embedding.new_full((len(ids), size), -math.log(size), dtype=kind)
        return torch.cat(
            [
                at_least_single(self._logits(1, input_ids=some)[:, 0]).log_softmax(dim=-1)
                for some in inputs.split(max(1, _LOGITS // size))
            ]
        )

    def _led(self, ids: Tensor) -> Tensor:
        """Return ids with the start before them, ``(B, S + L)``."""
        return torch.cat([ids.new_tensor(self._start, dtype=ids.dtype).expand(len(ids), -1), ids], dim=1)

    def _shifted(self, led: Tensor, ids: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-probabilities of what no token precedes, what is run, and what its last logits predict."""
        alone = 0 if self._start or start or not ids.shape[1] else 1
        table = self.space.embedding
        kind = torch.promote_types(table.dtype, torch.float32)
        uniform = table.new_full((len(ids), alone), -math.log(len(table)), dtype=kind)
        return uniform, led[:, :-1], ids[:, max(start, alone) :]

    def _logits(self, count: int, **inputs: Tensor) -> Tensor:
        """Return the logits at the last `count` positions, ``(B, count, V)``."""
        keep = {"logits_to_keep": count} if self._keeps else {}
        logits: Tensor = self._model(**inputs, **keep, use_cache=False).logits
        return logits[:, -count:]

    def _check_length(self, length: int) -> None:
        if length > self.space.max_length:
            raise InputError(too_long(self.reference, length, self.space.max_length))

    @torch.no_grad()
    def _check_causal(self) -> None:
        """Raise if an earlier output changes with a later token."""
        table = self.space.embedding
        spread = table[torch.linspace(0, len(table) - 1, 4).long()]
        logits = self._logits(3, inputs_embeds=torch.stack([spread[[0, 1, 2]], spread[[0, 1, 3]]]))
        first, other = at_least_single(logits[:, :2])
        if not torch.allclose(first, other, rtol=1e-2, atol=1e-2 * float(first.abs().max())):
            message = (
                f"{self.reference} is a {type(self._model).__name__} whose outputs depend on later tokens, so that it "
                "does not tell how likely a text is: use a causal language model, for example hf:gpt2."
            )
            raise AssemblyError(message)


def start_of(tokenizer: Any, config: Any, before: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return what stands before a text's first token, as the module describes."""
    if before:
        return before
    candidates = (tokenizer.bos_token_id, config.bos_token_id, tokenizer.eos_token_id, config.eos_token_id)
    for candidate in candidates:
        # Configurations of small models often keep the ids of the large one.
        if isinstance(candidate, int) and 0 <= candidate < size:
            return (candidate,)
    return ()
