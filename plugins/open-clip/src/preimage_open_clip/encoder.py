"""A CLIP model of open_clip in the role of an encoder of pictures and texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from preimage.errors import InputError
from preimage.picture_vectors import PictureVectors
from preimage.text_space import TokenizerSpace
from preimage.weights import fingerprint_of
from preimage_open_clip.shared_prefix import SharedPrefixes
from preimage_open_clip.tokenizer import clean_of, frame_of, read_plainly, rust_tokenizer
from preimage_open_clip.tower import TextTower, text_module

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn

__all__ = ["OpenClipEncoder"]


class OpenClipEncoder:
    """The role ``image-text-encoder`` for a model of open_clip; all vectors have unit length.

    The model is frozen: evaluation mode, no parameter requires a gradient.

    Arguments:
        model: a `CLIP`, `CustomTextCLIP` or `CoCa` of open_clip.
        tokenizer: open_clip's tokenizer for it.
        preprocess: open_clip's transform from a picture to the image tower's input, ``(3, H, W)``.
        reference: the ``open_clip:name`` it was loaded by.
        image_batch: pictures that go through the image tower at once.
        share_prefixes: compute beginnings that prompts of a batch have in common only once.

    Raises:
        AssemblyError: the text tower or the tokenizer cannot be searched.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        preprocess: Callable[[Image.Image], Tensor],
        *,
        reference: str,
        image_batch: int = 64,
        share_prefixes: bool = True,
    ) -> None:
        self.reference = reference
        self._model = model.eval().requires_grad_(False)
        self._preprocess = preprocess
        self._pictures = PictureVectors(self._encode_pixels, batch_size=image_batch)

        text = text_module(model, reference)
        rust, clean = rust_tokenizer(tokenizer, reference), clean_of(tokenizer)
        embedding = text.token_embedding.weight

        frame = frame_of(tokenizer, lambda texts: read_plainly(rust, clean, texts), text.context_length, reference)
        # Padding may be an ordinary token (id 0 is "!" to CLIP), so only start and end are special.
        special_ids = {*frame.before, *frame.after[:1]}
        named = {token for token, added in rust.get_added_tokens_decoder().items() if added.special}
        largest_id = max(set(rust.get_vocab().values()) - special_ids - named)
        self._tower = TextTower(model, frame, reference, largest_id=largest_id)
        self.space = TokenizerSpace(
            rust,
            embedding,
            name=reference,
            max_length=frame.max_length,
            special_ids=special_ids | set(self._tower.masked_ids),
            clean=clean,
        )
        self._shared = SharedPrefixes(self._tower) if share_prefixes and self._tower.shares else None

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights as they are in memory."""
        return fingerprint_of(self._model)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of token ids ``(B, L)``, without a gradient."""
        self._check_length(ids.shape[1])
        with torch.no_grad():
            if self._shared is not None and self._shared.pays(ids):
                return functional.normalize(self._shared.encode(ids), dim=-1)
            return self._unit(functional.embedding(ids, self.space.embedding))

    def encode_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the unit vectors, ``(B, D)``, of input embeddings ``(B, L, d)``; differentiable."""
        self._check_length(embeddings.shape[1])
        return self._unit(embeddings)

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return the unit vectors, ``(N, D)``, of pictures, without a gradient.

        Pictures are recognised by their content, so that one seen before is not encoded again.

        Raises:
            InputError: something is not a picture, or a picture cannot be read.
        """
        return self._pictures(images)

    def _encode_pixels(self, images: list[Image.Image]) -> Tensor:
        pixels = torch.stack([self._preprocess(image) for image in images])
        pixels = pixels.to(self.space.device, self._tower.dtype)
        with torch.no_grad():
            # CoCa normalises unless told otherwise; twice does no harm.
            return functional.normalize(self._model.encode_image(pixels), dim=-1)

    def _unit(self, embeddings: Tensor) -> Tensor:
        return functional.normalize(self._tower.encode(embeddings), dim=-1)

    def _check_length(self, length: int) -> None:
        if length > self.space.max_length:
            message = (
                f"A text of {length} tokens was given to {self.reference}, which reads "
                f"{self.space.max_length} besides the special ones: shorten the prompt or its template."
            )
            raise InputError(message)
