"""Ready-made data: held-out pictures with their truth, demo pictures, and image folders."""

import itertools
import json
import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from preimage.api import Picture, Pictures
from preimage.errors import UnknownNameError, nearest
from preimage_miniworld.captions import canonical_caption, caption
from preimage_miniworld.scene import SPLITS, Scene, SceneObject, sample_scenes

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["demo_scenes", "held_out", "pictures", "write_folder"]

MEASURES: Mapping[str, object] = MappingProxyType(
    {
        "similarity": "miniworld:clip",
        "held_out": "miniworld:clip-judge",
        "text_encoder": "miniworld:sentence",
        "language_model": "miniworld:llama",
        "generator": "miniworld:sd",
        "distances": (
            "scene-attributes",
            "picture-attributes",
            "token-f1",
            "exact-match",
            "edit-distance",
            "ssim",
            "kid",
            "fid",
        ),
    }
)
"""What is measured on pictures of this world: searches go by ``miniworld:clip`` and have seen none of the others."""


def held_out(count: int, seed: int = 0, objects: int | None = None) -> list[tuple[Scene, "Image", str]]:
    """Give distinct scenes that no model has seen, each with a picture and a caption.

    Args:
        count: How many.
        seed: Equal seeds give equal data; a longer list begins with the shorter one.
        objects: How many objects each scene has, one or two; None mixes both.

    Example:
        >>> [scene.split for scene, picture, text in held_out(2)]
        ['held-out', 'held-out']
    """
    return _examples("held-out", count, seed, objects)


def pictures(split: str, count: int | None) -> Pictures:
    """Give scenes with their captions as pictures for a study, and the models that suit them.

    Args:
        split: "train", "validation" or "held-out", which no model has seen.
        count: How many; 20 where it is None.

    Raises:
        UnknownNameError: there is no such split.
    """
    if split not in SPLITS:
        message = (
            f"The mini world has no pictures {split!r}.{nearest(split, SPLITS)} There are "
            f"{', '.join(f'miniworld:{known}' for known in SPLITS)}; a number of them: miniworld:held-out:5."
        )
        raise UnknownNameError(message)
    examples = _examples(split, 20 if count is None else count, 0, None)
    return Pictures(
        tuple(Picture(f"{index:04d}", picture, text) for index, (_, picture, text) in enumerate(examples)),
        measures=MEASURES,
    )


def demo_scenes() -> list[tuple[Scene, "Image", str]]:
    """Give the three held-out scenes of the demo with their pictures and true captions."""
    from preimage_miniworld.render import render

    return [(scene, render(scene, 0), canonical_caption(scene)) for scene in _DEMO]


def write_folder(path: Path | str, count: int, split: str = "held-out", seed: int = 0) -> list[Path]:
    """Write pictures as an image folder: PNG files and a ``metadata.jsonl``.

    Each line of ``metadata.jsonl`` has ``file_name``, ``text`` and the attributes of the scene.

    Args:
        path: The folder, which is made when it is not there.
        count: How many pictures.
        split: "train", "validation" or "held-out".
        seed: Equal seeds give equal folders.

    Returns:
        The pictures' paths.

    Raises:
        ValueError: there is no such split, or the count is below one.
        FileExistsError: the folder already has a ``metadata.jsonl``.
    """
    if count < 1:
        message = f"The folder is to get {count} pictures, which is none; ask for one or more."
        raise ValueError(message)
    folder = Path(path)
    listing = folder / "metadata.jsonl"
    if listing.exists():
        message = (
            f"{listing} is already there, and writing would mix two sets of pictures; "
            "choose another folder or remove it first."
        )
        raise FileExistsError(message)
    examples = _examples(split, count, seed, None)
    folder.mkdir(parents=True, exist_ok=True)
    written, lines = [], []
    for index, (scene, picture, text) in enumerate(examples):
        written.append(folder / f"{index:04d}.png")
        picture.save(written[-1])
        record = {"file_name": written[-1].name, "text": text, **scene.to_dict()}
        lines.append(json.dumps(record) + "\n")
    listing.write_text("".join(lines), encoding="utf-8")
    return written


def _examples(split: str, count: int, seed: int, objects: int | None) -> list[tuple[Scene, "Image", str]]:
    from preimage_miniworld.render import render

    scenes = itertools.islice(sample_scenes(split, seed, objects, distinct=True), count)
    rng = random.Random(f"captions/{seed}")
    return [(scene, render(scene, seed), caption(scene, rng)) for scene in scenes]


# All three are of the held-out split; a test sees to it.
_DEMO = (
    Scene([SceneObject("blue", "heart", "striped", "large")], None, "beach", "sad"),
    Scene([SceneObject("purple", "flower", "solid", "large")], None, "night", "happy"),
    Scene(
        [
            SceneObject("blue", "flower", "dotted", "large"),
            SceneObject("red", "star", "solid", "small"),
        ],
        "left of",
        "snow",
    ),
)
