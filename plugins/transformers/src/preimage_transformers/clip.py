"""CLIP and its kin: text towers that read ids, made to read embeddings.

The text towers of CLIP models in transformers take ids only. They are run on the ids of a placeholder text, which
tell them where to pool, while their token embedding answers with the embeddings that were given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import AssemblyError, InputError
from preimage.picture_vectors import PictureVectors
from preimage.text_space import TokenizerSpace
from preimage.weights import fingerprint_of
from preimage_transformers.fed_embedding import FedEmbedding
from preimage_transformers.frame import Frame, embedding_table, frame_of, positions_of, specials_of

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

__all__ = ["TransformersClip"]

# These were trained on padded texts without a mask and pool at the last position.
_PADDED = ("siglip", "siglip2")


class TransformersClip:
    """The roles ``image-text-encoder`` and ``text-encoder`` for a CLIP of transformers; vectors have unit length.

    Texts are run on their real length, pictures by the model's own image processor. The model is frozen:
    evaluation mode, no parameter requires a gradient.

    Arguments:
        model: with ``get_text_features`` and ``get_image_features``.
        tokenizer: its fast tokenizer.
        image_processor: its image processor; None where no picture is to be encoded.
        reference: the ``hf:name`` it was loaded by.
        image_batch: pictures that go through the image tower at once.

    Raises:
        AssemblyError: the text tower cannot be searched.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        image_processor: Callable[..., Any] | None,
        *,
        reference: str,
        image_batch: int = 64,
    ) -> None:
        self.reference = reference
        self._model: Any = model.eval().requires_grad_(False)
        self._image_processor = image_processor
        tower: Any = getattr(model, "text_model", None)
        if tower is None:
            message = (
                f"The {type(model).__name__} of {reference} has no text_model, so that prompts cannot be given to it "
                "as embeddings: use a CLIP, SigLIP or ALIGN model."
            )
            raise AssemblyError(message)
        config = tower.config
        self._fed = FedEmbedding(tower.get_input_embeddings())
        table = embedding_table(tower.get_input_embeddings(), reference)
        frame = frame_of(tokenizer, reference)
        positions = positions_of(tower, config, tokenizer)
        special_ids = specials_of(tokenizer, frame)
        self.space = TokenizerSpace(
            tokenizer.backend_tokenizer,
            table,
            name=reference,
            max_length=positions - len(frame),
            special_ids=special_ids,
        )
        self._frame = frame
        self._padded = (positions, tokenizer.pad_token_id) if config.model_type.startswith(_PADDED) else None
        ordinary = sorted(set(tokenizer.backend_tokenizer.get_vocab().values()) - special_ids)
        self._placeholder = ordinary[0]
        _check_end(config, frame, ordinary[-1], reference)
        self._pictures = PictureVectors(self._encode_pixels, batch_size=image_batch)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights as they are in memory."""
        return fingerprint_of(self._model)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of token ids ``(B, L)``, without a gradient."""
        self._check_length(ids.shape[1])
        with torch.no_grad():
            return self._pooled(self._framed(ids))

    def encode_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of input embeddings ``(B, L, d)``; differentiable."""
        rows, length, _ = embeddings.shape
        self._check_length(length)
        content = torch.full((rows, length), self._placeholder, device=embeddings.device)
        framed = self._framed(content)
        table = self.space.embedding
        start = len(self._frame.before)
        around = functional.embedding(framed, table)
        whole = torch.cat([around[:, :start], embeddings.to(table.dtype), around[:, start + length :]], dim=1)
        with self._fed.answering(whole):
            return self._pooled(framed)

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return the unit vectors, ``(N, D)``, of pictures, without a gradient.

        Pictures are recognised by their content, so that one seen before is not encoded again.

        Raises:
            InputError: something is not a picture, or a picture cannot be read.
            AssemblyError: the model has no image processor.
        """
        return self._pictures(images)

    def _framed(self, ids: Tensor) -> Tensor:
        framed = self._frame.around(ids)
        if self._padded is None:
            return framed
        positions, pad_id = self._padded
        return functional.pad(framed, (0, positions - framed.shape[1]), value=pad_id)

    def _pooled(self, framed: Tensor) -> Tensor:
        return functional.normalize(_features(self._model.get_text_features(input_ids=framed)), dim=-1)

    def _encode_pixels(self, images: list[Image.Image]) -> Tensor:
        if self._image_processor is None:
            message = (
                f"{self.reference} has no image processor, so that it cannot read pictures: put its "
                "preprocessor_config.json beside the model."
            )
            raise AssemblyError(message)
        pixels = self._image_processor(images=[image.convert("RGB") for image in images], return_tensors="pt")
        given = {
            name: value.to(self.space.device, self.space.embedding.dtype if value.is_floating_point() else None)
            for name, value in pixels.items()
        }
        with torch.no_grad():
            return functional.normalize(_features(self._model.get_image_features(**given)), dim=-1)

    def _check_length(self, length: int) -> None:
        if length > self.space.max_length:
            raise InputError(too_long(self.reference, length, self.space.max_length))


def too_long(reference: str, length: int, room: int) -> str:
    """Return the message for a text that does not fit."""
    return (
        f"A text of {length} tokens was given to {reference}, which reads {room} besides the special ones: shorten "
        "the prompt or its template."
    )


def _features(answer: Any) -> Tensor:
    """Return the vectors, ``(B, D)``, which some versions wrap in a record."""
    features: Tensor = answer if isinstance(answer, torch.Tensor) else answer.pooler_output
    return features


def _check_end(config: Any, frame: Frame, largest_id: int, reference: str) -> None:
    """Raise unless a CLIP's pooling finds the end token of every prompt."""
    if config.model_type not in ("clip", "clip_text_model"):
        return
    end = frame.after[0] if frame.after else None
    # Configurations from before transformers 4.31 say 2 whatever the end token is; those pool at the largest id.
    by_size = config.eos_token_id == 2
    largest = max([largest_id, *frame.before, *frame.after])
    if end is None or (end != largest if by_size else end != config.eos_token_id):
        where = f"the largest token id, up to {largest}" if by_size else f"token {config.eos_token_id}"
        message = (
            f"The text tower of {reference} pools at {where}, but its tokenizer ends prompts with {end}, so that it "
            "would read another token's output: set eos_token_id in the text configuration to the tokenizer's end "
            "token."
        )
        raise AssemblyError(message)
