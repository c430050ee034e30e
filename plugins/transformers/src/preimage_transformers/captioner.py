"""Captioners: BLIP and BLIP-2 say what a picture shows.

The likeliest captions come from the model's own greedy and beam search. Sampled ones come from the same greedy search
over log-probabilities with Gumbel noise on them, whose largest entry is a draw from the distribution: so every
caption has a generator of its own, and no global one is drawn from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from preimage.errors import AssemblyError, InputError
from preimage.weights import fingerprint_of
from preimage_transformers.source import quietly

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from preimage.api import Decoding

__all__ = ["CAPTIONERS", "TransformersCaptioner"]

CAPTIONERS = ("blip", "blip-2")
"""The types of models, as their configurations name them, that can be asked for captions."""


class TransformersCaptioner:
    """The role ``captioner`` for a BLIP or BLIP-2 of transformers.

    Pictures go through in batches. The model is frozen: evaluation mode, no parameter requires a gradient.

    Arguments:
        model: with ``generate``.
        tokenizer: its tokenizer.
        image_processor: its image processor.
        reference: the ``hf:name`` it was loaded by.
        image_batch: captions that are written at once.

    Raises:
        AssemblyError: its configuration does not say where the picture stands in the text.
    """

    def __init__(
        self, model: Any, tokenizer: Any, image_processor: Callable[..., Any], *, reference: str, image_batch: int = 64
    ) -> None:
        self.reference = reference
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._image_processor = image_processor
        self._image_batch = image_batch
        self._lead = _lead_of(model.config, reference)
        # Rows that end early are filled up; BLIP says itself with what, and language models of BLIP-2 often do not.
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._padding = {"pad_token_id": pad} if self._lead else {}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights as they are in memory."""
        return fingerprint_of(self._model)

    def captions(
        self, images: Sequence[Image.Image], decoding: Decoding, *, seeds: Sequence[int] | None = None
    ) -> list[list[str]]:
        """Return the captions of each picture, best first, then those that are sampled.

        Arguments:
            images: the pictures.
            decoding: how many captions, and how they are found.
            seeds: of what is sampled, one for each picture; 0 for all without them.

        Raises:
            InputError: the prefix leaves no room for a caption.
        """
        likely, beams = min(decoding.count, decoding.beams), decoding.beams
        said: list[list[str]] = [[] for _ in images]
        for rows in _batches(range(len(images)), max(1, self._image_batch // beams)):
            texts = self._written(
                [images[row] for row in rows],
                decoding,
                num_beams=beams,
                **({} if beams == 1 else {"num_return_sequences": likely, "length_penalty": decoding.length_penalty}),
            )
            for index, text in enumerate(texts):
                said[rows[index // likely]].append(text)
        drawn = [row for row in range(len(images)) for _ in range(decoding.sampled)]
        rngs = _generators([0] * len(images) if seeds is None else seeds, decoding.sampled)
        for span in _batches(range(len(drawn)), self._image_batch):
            noise = _Drawn([rngs[index] for index in span], decoding.temperature, decoding.top_p)
            texts = self._written(
                [images[drawn[index]] for index in span],
                decoding,
                num_beams=1,
                logits_processor=LogitsProcessorList([noise]),
            )
            for index, text in zip(span, texts, strict=True):
                said[drawn[index]].append(text)
        return said

    def _written(self, images: list[Image.Image], decoding: Decoding, **options: Any) -> list[str]:
        """Return what is generated for pictures, without the prefix."""
        pixels = self._image_processor(images=[image.convert("RGB") for image in images], return_tensors="pt")
        model = self._model
        pixel_values = pixels["pixel_values"].to(model.device, model.dtype)
        ids = self._prompt(decoding.prefix).expand(len(images), -1)
        with quietly(), torch.no_grad():
            rows = model.generate(
                pixel_values=pixel_values,
                input_ids=ids.clone(),
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=self._room(ids.shape[1], decoding),
                min_new_tokens=decoding.min_tokens,
                **self._padding,
                **options,
            )
        texts = self._tokenizer.batch_decode(_behind(rows, ids), skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _prompt(self, prefix: str) -> Tensor:
        """Return what the text model is given, ``(1, L)``: the picture's places, and the prefix as it reads texts."""
        ids = [*self._lead, *self._tokenizer(prefix).input_ids]
        if len(ids) == len(self._lead):
            ids.append(self._model.config.text_config.bos_token_id)
        return torch.tensor([ids], device=self._model.device)

    def _room(self, length: int, decoding: Decoding) -> int:
        """Return how many tokens may be written behind `length` of them."""
        positions = getattr(self._model.config.text_config, "max_position_embeddings", None)
        room = decoding.max_tokens if positions is None else min(decoding.max_tokens, positions - length)
        if room < 1:
            message = (
                f"{self.reference} reads {positions} tokens, and the picture with the prefix {decoding.prefix!r} takes "
                f"{length}: shorten the prefix."
            )
            raise InputError(message)
        return room


class _Drawn(LogitsProcessor):
    """Adds noise to log-probabilities so that the largest is a draw: each row's from its own generator."""

    def __init__(self, rngs: Sequence[torch.Generator], temperature: float, top_p: float) -> None:
        self._rngs = rngs
        self._temperature = temperature
        self._top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores ``(B, V)`` whose largest entry of each row is drawn from its distribution."""
        log_probs = (scores.float() / self._temperature).log_softmax(dim=-1)
        if self._top_p < 1.0:
            ordered, order = log_probs.sort(dim=-1, descending=True)
            # A token stays if those before it have less than the wanted probability: the likeliest always does.
            beyond = ordered.exp().cumsum(dim=-1) - ordered.exp() >= self._top_p
            log_probs = log_probs.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), -torch.inf)
        uniform = torch.stack([torch.rand(scores.shape[1], generator=rng) for rng in self._rngs])
        return log_probs - (-uniform.clamp(min=1e-20).log()).log().to(log_probs.device)


def _lead_of(config: Any, reference: str) -> list[int]:
    """Return the ids that keep a picture's places before the text: none for BLIP, which looks at it beside the text."""
    if config.model_type != "blip-2":
        return []
    if config.image_token_index is None:
        message = (
            f"The configuration of {reference} has no image_token_index, so that the text model would never see the "
            "picture: use a newer revision of the model."
        )
        raise AssemblyError(message)
    return [config.image_token_index] * config.num_query_tokens


def _behind(rows: Tensor, given: Tensor) -> Tensor:
    """Return what was written behind the given ids: decoders repeat them, but for BLIP's last, and encoders do not."""
    length = given.shape[1]
    if torch.equal(rows[:1, :length], given[:1]):
        return rows[:, length:]
    # BLIP puts its own token in the place of the first and leaves out the last, the mark of an end.
    if length > 1 and rows.shape[1] >= length - 1 and torch.equal(rows[:1, 1 : length - 1], given[:1, 1:-1]):
        return rows[:, length - 1 :]
    return rows


def _generators(seeds: Sequence[int], count: int) -> list[torch.Generator]:
    """Return `count` generators for each seed, all different."""
    rngs = []
    for seed in seeds:
        first = torch.Generator().manual_seed(seed)
        own = torch.randint(2**62, (count,), generator=first).tolist()
        rngs += [torch.Generator().manual_seed(value) for value in own]
    return rngs


def _batches(rows: range, size: int) -> Iterator[range]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
