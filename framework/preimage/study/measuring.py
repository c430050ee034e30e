"""The numbers themselves: one prompt, scored by models and distances, and the pictures that it makes."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage.device import resolve_device
from preimage.image import load_image
from preimage.study.measures import OF_TRUTH, ROLES, MeasureOptions, complement_of, distances_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from preimage._catalogue import Catalogue
    from preimage.api.model import ImageGenerator, LanguageModel, TextEncoder
    from preimage.api.space import TextSpace
    from preimage.study.images import StudyImage

__all__ = ["Measured", "load_models", "measured", "readability", "reference_pictures"]

_LARGEST_EXPONENT = 700.0
"""A text that is one endless word has a perplexity beyond what a float can hold."""


@attrs.frozen(eq=False)
class Measured:
    """What a prompt is worth, and what it makes."""

    values: Mapping[str, float]
    pictures: Mapping[str, list[Image]]
    """Kind of seeds (``"shared"``, ``"fresh"``) to pictures."""


@torch.no_grad()
def measured(text: str, image: StudyImage, options: MeasureOptions, catalogue: Catalogue, seed: int) -> Measured:
    """Return what `preimage.study.measures.measure` does."""
    models = _Models(options, catalogue)
    picture = load_image(image.path)
    values = _by_itself(text, picture, models)
    if image.caption is not None:
        values |= _against_truth(text, image.caption, models)
        values |= _truth(image, options, catalogue)
    pictures: dict[str, list[Image]] = {}
    if options.generator is not None:
        generator = models.generator(options.generator)
        count = options.n_pictures
        made = generator.generate([text] * 2 * count, [*_shared_seeds(count), *_fresh_seeds(count, image, seed)])
        pictures = {"shared": made[:count], "fresh": made[count:]}
        pairs = {name: (found, [picture] * count) for name, found in pictures.items()}
        references = reference_pictures(image, options, catalogue)
        if references:
            pairs["true-prompt"] = (pictures["shared"], references)
        values |= _of_pictures(pairs, models)
    return Measured({name: value for name, value in values.items() if math.isfinite(value)}, pictures)


def load_models(options: MeasureOptions, catalogue: Catalogue) -> None:
    """Load every model and distance that the options name.

    Raises:
        InputError: the device cannot be used here.
        PreimageError: a model cannot be had.
    """
    models = _Models(options, catalogue)
    for name, role in ROLES.items():
        reference = getattr(options, name)
        if reference is not None:
            _ = models.generator(reference) if name == "generator" else models.load(reference, role)
    for domain in ("text", "image"):
        models.distances(domain)


def reference_pictures(image: StudyImage, options: MeasureOptions, catalogue: Catalogue) -> list[Image]:
    """Return what the true prompt makes on the shared seeds; nothing where it or a generator is missing.

    They are made once a process for each picture.
    """
    if image.caption is None or options.generator is None:
        return []
    generator: Any = _Models(options, catalogue).generator(options.generator)
    return list(_references(generator, image.caption, options.n_pictures))


# Work on one picture comes in a row, so that few pictures' references are wanted again.
@functools.lru_cache(maxsize=32)
def _references(generator: ImageGenerator, caption: str, count: int) -> tuple[Image, ...]:
    return tuple(generator.generate([caption] * count, _shared_seeds(count)))


class _Models:
    """The models that the options name, on their device; the catalogue keeps them."""

    def __init__(self, options: MeasureOptions, catalogue: Catalogue) -> None:
        self.options = options
        self.catalogue = catalogue
        self._device = resolve_device(options.device)

    def load(self, reference: str, role: str) -> Any:
        return self.catalogue.load_model(reference, role, device=self._device)

    def generator(self, reference: str) -> ImageGenerator:
        """Return the generator with the options of its loader."""
        model: ImageGenerator = self.catalogue.load_model(
            reference, "image-generator", device=self._device, **self.options.loading
        )
        return model

    def distances(self, domain: str) -> dict[str, Callable[[Sequence[Any], Sequence[Any]], Tensor]]:
        """Return the distances of a domain by their names."""
        found = {}
        for name, reference in distances_of(domain, self.options, self.catalogue).items():
            (role,) = self.catalogue.describe("distance", name).component.trait("role")[:1] or (None,)
            parts = {"model": self.load(reference, role)} if reference is not None and role is not None else {}
            found[name] = self.catalogue.build("distance", name, parts)
        return found

    def reported(self, name: str, values: Tensor) -> float:
        """Return the mean of a distance, or one less it where that is what people know the distance by."""
        mean = float(values.mean())
        return 1 - mean if complement_of(self.catalogue.describe("distance", name).component) else mean


def _by_itself(text: str, picture: Image, models: _Models) -> dict[str, float]:
    """Return what can be told of a text and a picture without the truth and without making pictures."""
    options = models.options
    values: dict[str, float] = {}
    for name, reference in (("similarity", options.similarity), ("held-out-similarity", options.held_out)):
        if reference is not None:
            encoder = models.load(reference, "image-text-encoder")
            values[name] = _cosine(_text_vector(encoder, text), encoder.encode_images([picture])[0])
    if options.language_model is not None:
        values |= readability(models.load(options.language_model, "language-model"), text)
    return values


@functools.lru_cache(maxsize=32)
def _truth(image: StudyImage, options: MeasureOptions, catalogue: Catalogue) -> dict[str, float]:
    """Return what the true prompt itself is worth, to see what there was to reach; found once a picture."""
    assert image.caption is not None
    models = _Models(options, catalogue)
    picture = load_image(image.path)
    values = _by_itself(image.caption, picture, models)
    references = reference_pictures(image, options, catalogue)
    if references:
        values |= _of_pictures({"shared": (references, [picture] * len(references))}, models)
    return {f"{OF_TRUTH}{name}": value for name, value in values.items()}


def _against_truth(text: str, truth: str, models: _Models) -> dict[str, float]:
    """Return how near a prompt comes to the true one."""
    values = {}
    if models.options.text_encoder is not None:
        encoder = models.load(models.options.text_encoder, "text-encoder")
        values["text-similarity"] = _cosine(_text_vector(encoder, text), _text_vector(encoder, truth))
    for name, distance in models.distances("text").items():
        values[name] = models.reported(name, distance([text], [truth]))
    return values


def _of_pictures(pairs: Mapping[str, tuple[list[Image], list[Image]]], models: _Models) -> dict[str, float]:
    """Return how near regenerated pictures come to what they are compared with, each set by itself."""
    values = {}
    reference = models.options.picture_encoder
    encoder = None if reference is None else models.load(reference, "image-text-encoder")
    distances = models.distances("image")
    for seeds, (found, wanted) in pairs.items():
        if encoder is not None:
            cosines = (encoder.encode_images(found) * encoder.encode_images(wanted)).sum(dim=1)
            values[f"image-similarity/{seeds}"] = float(cosines.mean())
        for name, distance in distances.items():
            values[f"{name}/{seeds}"] = models.reported(name, distance(found, wanted))
    return values


def readability(model: LanguageModel, text: str) -> dict[str, float]:
    """Return how surprising a language model finds a text; nothing for a text without tokens.

    ``nats-per-token`` is the mean of ``-log p``; ``perplexity-per-word`` spreads their sum over the words instead, and
    so means the same under models with other tokens. A text longer than the model reads is cut to what it reads.
    """
    space = model.space
    row = _row(space, text)
    if not row.numel():
        return {}
    if row.shape[1] == space.max_length:
        # Only the words that were read share the surprise.
        (text,) = space.decode(row)
    nats = -float(model.token_log_probs(row).double().sum())
    found = {"nats-per-token": nats / row.shape[1]}
    if text.split():
        found["perplexity-per-word"] = math.exp(min(nats / len(text.split()), _LARGEST_EXPONENT))
    return found


def _text_vector(encoder: TextEncoder, text: str) -> Tensor:
    """Return the unit vector, ``(D,)``, of as much of a text as the encoder reads."""
    return encoder.encode_tokens(_row(encoder.space, text))[0]


def _row(space: TextSpace, text: str) -> Tensor:
    """Return the ids, ``(1, L)``, of as much of a text as fits."""
    (ids,) = space.encode([text])
    return torch.tensor([ids[: space.max_length]], dtype=torch.long, device=space.device)


def _cosine(left: Tensor, right: Tensor) -> float:
    return float((left.double() * right.double()).sum())


def _shared_seeds(count: int) -> list[int]:
    return list(range(count))


def _fresh_seeds(count: int, image: StudyImage, seed: int) -> list[int]:
    """Return seeds that no other picture and no other run's seed has, and none of the shared ones."""
    digest = hashlib.sha256(f"{image.sha256}/{image.name}/{seed}".encode()).digest()
    first = int.from_bytes(digest[:4], "big") % 2**30 + 2**20
    return list(range(first, first + count))
