"""What pictures show, in words: the captioners of a run and the pictures that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from preimage.errors import AssemblyError, PluginError

if TYPE_CHECKING:
    from PIL.Image import Image

    from preimage.api.model import Captioner, Decoding

__all__ = ["Captioning", "pictures_in"]


class Captioning:
    """Answers requests for captions.

    Arguments:
        captioners: by the references under which optimizers ask for them.
        targets: what the run is about; those that are no pictures cannot be asked about.
    """

    def __init__(self, captioners: Mapping[str, Captioner], targets: Sequence[Any]) -> None:
        self._captioners = dict(captioners)
        self._pictures = [pictures_in(target) for target in targets]

    def __call__(
        self, captioner: str, decoding: Decoding, targets: Sequence[int], seeds: Sequence[int]
    ) -> list[tuple[str, ...]]:
        """Return the captions of each target.

        Arguments:
            captioner: the reference of the model to ask.
            decoding: how many captions of each picture, and how they are found.
            targets: which targets, by their index.
            seeds: of what is sampled, one for each of `targets`.

        Raises:
            AssemblyError: a target has no picture, or no such captioner was loaded.
            PluginError: the captioner answers another number of captions.
        """
        if captioner not in self._captioners:
            message = (
                f"Captions of {captioner!r} are asked for, and the captioners of this run are "
                f"{list(self._captioners)}: an optimizer may ask the model that it names as its captioner."
            )
            raise AssemblyError(message)
        asked = [(image, seed) for target, seed in zip(targets, seeds, strict=True) for image in self._of(target)]
        model = self._captioners[captioner]
        said = model.captions([image for image, _ in asked], decoding, seeds=[seed for _, seed in asked])
        if [len(captions) for captions in said] != [decoding.count] * len(asked):
            message = (
                f"{captioner} was asked for {decoding.count} captions of each of {len(asked)} pictures and answered "
                f"{[len(captions) for captions in said]}."
            )
            raise PluginError(message)
        answers = iter(said)
        return [tuple(text for _ in self._of(target) for text in next(answers)) for target in targets]

    def _of(self, target: int) -> list[Image]:
        pictures = self._pictures[target]
        if not pictures:
            message = f"Target {target} is no picture, so that it has no caption: run this optimizer on pictures."
            raise AssemblyError(message)
        return pictures


def pictures_in(target: Any) -> list[Image]:
    """Return the pictures of a target that has been read: itself, those of a tuple, or none."""
    from PIL import Image

    parts = target if isinstance(target, tuple) else (target,)
    return [part for part in parts if isinstance(part, Image.Image)]
