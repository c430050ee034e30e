"""The pool of training material: pictures, tokenised texts and labels, made once and kept.

Scenes come in pairs that differ in one attribute. Both of a pair always meet in one batch, so
that the models must look at every attribute.
"""

import itertools
import json
import os
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from preimage_miniworld.labels import labels_of
from preimage_miniworld.scene import (
    BACKGROUNDS,
    COLOURS,
    MOODS,
    OPPOSITES,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
    sample_scenes,
)
from preimage_miniworld.training.noise import training_text

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedTokenizerBase

__all__ = ["Pool", "load_pool", "paired_scenes", "sibling", "tokenised"]

_CHUNK = 500


@frozen(eq=False)
class Pool:
    """Pictures (N, 64, 64, 3) uint8, texts (N, T), complete (N, T) bool, labels (N, K) int64."""

    images: "np.ndarray"
    texts: list[list[str]]
    complete: "np.ndarray"
    labels: "np.ndarray"


def sibling(scene: Scene, rng: random.Random, split: str | None = "train") -> Scene:
    """Give a scene, of one split or any, that differs in one attribute of an object or the whole."""
    while True:
        kind = rng.choice(("object", "object", "object", "background", "mood", "relation"))
        changed = scene
        if kind == "object":
            index = rng.randrange(len(scene.objects))
            name, values = rng.choice((("colour", COLOURS), ("shape", SHAPES), ("texture", TEXTURES), ("size", SIZES)))
            entries = list(scene.objects)
            entries[index] = evolve(entries[index], **{name: rng.choice(values)})
            changed = evolve(scene, objects=entries)
        elif kind == "background":
            changed = evolve(scene, background=rng.choice(BACKGROUNDS))
        elif kind == "mood":
            changed = evolve(scene, mood=rng.choice(MOODS))
        elif scene.relation is not None:
            changed = evolve(scene, relation=OPPOSITES[scene.relation])
        changed = changed.canonical()
        if changed != scene.canonical() and split in (None, changed.split):
            return changed


def load_pool(folder: Path, size: int, texts: int, seed: int, junk: list[str]) -> Pool:
    """Load the pool, or make it and keep it in a folder.

    Args:
        folder: Where the pool is kept.
        size: How many pictures, an even number.
        texts: How many texts for each picture.
        seed: Equal seeds give equal pools.
        junk: Words that stand for what has no meaning in this world.
    """
    import numpy as np

    recipe = {"size": size, "texts": texts, "seed": seed}
    finished = folder / "pool.json"
    if not (finished.exists() and json.loads(finished.read_text())["recipe"] == recipe):
        folder.mkdir(parents=True, exist_ok=True)
        scenes = paired_scenes(size, seed)
        chunks = [scenes[start : start + _CHUNK] for start in range(0, size, _CHUNK)]
        jobs = [(chunk, f"{seed}/{index}", texts, junk) for index, chunk in enumerate(chunks)]
        with ProcessPoolExecutor(min(os.cpu_count() or 1, 8)) as workers:
            made = list(workers.map(_make_chunk, jobs))
        np.save(folder / "images.npy", np.concatenate([images for images, _ in made]))
        said = list(itertools.chain.from_iterable(texts for _, texts in made))
        labels = [labels_of(scene) for scene in scenes]
        record = {"recipe": recipe, "texts": said, "labels": labels}
        partial = finished.with_suffix(".part")
        partial.write_text(json.dumps(record))
        partial.rename(finished)
    record = json.loads(finished.read_text())
    return Pool(
        np.load(folder / "images.npy", mmap_mode="r"),
        [[text for text, _ in entry] for entry in record["texts"]],
        np.array([[complete for _, complete in entry] for entry in record["texts"]]),
        np.array(record["labels"], dtype=np.int64),
    )


def paired_scenes(size: int, seed: int) -> list[Scene]:
    """Draw the scenes of the pool, in its order: each second one differs from the one before it in one attribute."""
    rng = random.Random(seed)
    firsts = itertools.islice(sample_scenes("train", seed), size // 2)
    return list(itertools.chain.from_iterable((one, sibling(one, rng)) for one in firsts))


def _make_chunk(
    job: tuple[list[Scene], str, int, list[str]],
) -> tuple["np.ndarray", list[list[tuple[str, bool]]]]:
    import numpy as np

    from preimage_miniworld.render import render

    scenes, seed, texts, junk = job
    rng = random.Random(seed)
    images = [np.asarray(render(scene, rng.randrange(2**31))) for scene in scenes]
    said = [[training_text(scene, rng, junk) for _ in range(texts)] for scene in scenes]
    return np.stack(images), said


def tokenised(texts: list[list[str]], tokenizer: "PreTrainedTokenizerBase") -> "torch.Tensor":
    """Return the ids of N lists of T texts, marks included, padded and cut to the context's length.

    Returns:
        (N, T, L) int16.
    """
    import torch

    flat = list(itertools.chain.from_iterable(texts))
    ids = tokenizer(flat, truncation=True).input_ids
    rows = torch.full((len(flat), max(map(len, ids))), tokenizer.pad_token_id, dtype=torch.int16)
    for row, said in zip(rows, ids, strict=True):
        row[: len(said)] = torch.tensor(said, dtype=torch.int16)
    return rows.view(len(texts), -1, rows.shape[1])
