"""Classifiers of texts: the special tokens that they were trained with are always there."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from preimage.errors import AssemblyError, InputError, first_line
from preimage.text_space import TokenizerSpace
from preimage.weights import fingerprint_of
from preimage_transformers.clip import too_long
from preimage_transformers.frame import embedding_table, frame_of, positions_of, specials_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TransformersClassifier"]


class TransformersClassifier:
    """The role ``classifier`` for a sequence classifier of transformers.

    A text is put between the tokenizer's special tokens, which the classification head reads. All texts of a batch
    are equally long, so that nothing is padded and every position may be attended to.
    The model is frozen: evaluation mode, no parameter requires a gradient.

    Arguments:
        model: answers ``logits`` for ``inputs_embeds``.
        tokenizer: its fast tokenizer.
        reference: the ``hf:name`` it was loaded by.

    Raises:
        AssemblyError: it does not choose one of several classes, reads no embeddings, or its tokenizer cannot be
            searched.
    """

    def __init__(self, model: Any, tokenizer: Any, *, reference: str) -> None:
        self.reference = reference
        model.eval().requires_grad_(False)
        self._model = model
        config = self._model.config
        if config.num_labels < 2 or config.problem_type not in (None, "single_label_classification"):
            message = (
                f"{reference} has {config.num_labels} labels and the problem type {config.problem_type!r}, so that it "
                "does not choose one of several classes: use a classifier with single labels."
            )
            raise AssemblyError(message)
        self.labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
        if getattr(config, "pad_token_id", None) is None:
            # Decoders refuse batches without a padding token, though nothing is ever padded here.
            config.pad_token_id = 0
        self._frame = frame_of(tokenizer, reference)
        self.space = TokenizerSpace(
            tokenizer.backend_tokenizer,
            embedding_table(self._model.get_input_embeddings(), reference),
            name=reference,
            max_length=positions_of(model, config, tokenizer) - len(self._frame),
            special_ids=specials_of(tokenizer, self._frame),
        )
        self._try_embeddings()

    def _try_embeddings(self) -> None:
        """Raise where the model takes ids only, which is not said anywhere but in its pass."""
        try:
            with torch.no_grad():
                self.embedding_class_log_probs(self.space.embedding[None, :1])
        except (NotImplementedError, TypeError, ValueError) as error:
            message = (
                f"{self.reference} is a {type(self._model).__name__}, which answers no embeddings of a text "
                f"({first_line(error)[:-1]}), so that it has no gradient: use an encoder such as BERT."
            )
            raise AssemblyError(message) from error

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights as they are in memory."""
        return fingerprint_of(self._model)

    def class_log_probs(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, C)``, of token ids ``(B, L)``, without a gradient."""
        with torch.no_grad():
            return self.embedding_class_log_probs(functional.embedding(ids, self.space.embedding))

    def embedding_class_log_probs(self, embeddings: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, C)``, of input embeddings ``(B, L, d)``; differentiable."""
        if embeddings.shape[1] > self.space.max_length:
            raise InputError(too_long(self.reference, embeddings.shape[1], self.space.max_length))
        framed = self._frame.around_embeddings(embeddings, self.space.embedding)
        logits = self._model(inputs_embeds=framed).logits
        return torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)
