"""A finished study whose outcome was planted: every number is known before anything is computed from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from PIL import Image

from preimage.api import Spent
from preimage.study.images import StudyImage
from preimage.study.record import Key, Mark, Record
from preimage.study.spec import Spec
from preimage.study.store import Store

TERMS = [{"objective": "clip-similarity", "model": "miniworld:clip"}]
RECIPES = {
    "caption": {"stages": [{"optimizer": "blip2"}], "terms": TERMS},
    "gcg": {"stages": [{"optimizer": "gcg", "options": {"search_width": 64}}], "terms": TERMS},
    "random": {"stages": [{"optimizer": "random-search"}], "terms": TERMS},
    "refined": {"stages": [{"optimizer": "blip2"}, {"optimizer": "gcg"}], "terms": TERMS},
}
LEVELS = {
    # recipe: similarity to the picture, similarity of regenerated pictures, share of the true words
    "caption": (0.60, 0.80, 0.50),
    "gcg": (0.80, 0.60, 0.20),
    "random": (0.70, 0.50, 0.10),
    "refined": (0.75, 0.90, 0.60),
}
MEASURES = {
    "similarity": "miniworld:clip",
    "held_out": "miniworld:clip-judge",
    "generator": "sd:none",
    "distances": ["token-f1"],
}


@attrs.frozen
class Planted:
    """Makes finished studies in a folder."""

    folder: Path
    stores: list[Store] = attrs.field(factory=list)
    recipes = RECIPES
    measures = MEASURES

    def store(
        self,
        *,
        levels=LEVELS,
        recipes=RECIPES,
        n_images=8,
        seeds=(0, 1),
        spread=0.02,
        measures=MEASURES,
        change=lambda record: record,
        caption="a {} star",
    ) -> Store:
        """Return a study in which each recipe has its levels, up to a little noise for each run."""
        rng = random.Random(5)
        (self.folder / "images").mkdir(parents=True)
        images = []
        for number in range(n_images):
            path = self.folder / "images" / f"{number:02d}.png"
            Image.new("RGB", (24, 24), (30 * number % 256, 90, 120)).save(path)
            truth = None if caption is None else caption.format(("red", "blue", "green")[number % 3])
            images.append(StudyImage(f"{number:02d}", path, f"{number:064d}", truth))
        spec = Spec(
            images=tuple(images), recipes=recipes, seeds=tuple(seeds), measures=measures, versions={"preimage": "0.1.0"}
        )
        store = Store.create(self.folder, spec)
        self.stores.append(store)
        for key in spec.keys():  # noqa: SIM118
            level = [value + rng.gauss(0, spread) for value in levels[key.recipe]]
            record = change(self.record(key, *level))
            files = {}
            for file in [file for group in record.pictures.values() for file in group]:
                temporary = self.folder / "made.png"
                Image.new("RGB", (24, 24), (int(255 * level[1]) % 256, rng.randrange(256), 60)).save(temporary)
                files[file] = temporary.read_bytes()
            store.add(record, files)
        return store

    @staticmethod
    def record(key: Key, similarity: float, regenerated: float, words: float) -> Record:
        """Return the record of a run with these numbers."""
        folder = f"pictures/{key.recipe}/{key.image}/{key.seed}"
        candidates = 1 if key.recipe == "caption" else 100
        return Record(
            key=key,
            status="ok",
            text=f"a {key.recipe} star",
            ids=(1, 2, 3),
            tokens=("a", key.recipe, "star"),
            loss=1 - similarity,
            spent=Spent(candidates=candidates, forward=110, backward=10, seconds=1.5),
            trajectory=(Mark(1, 12, 0.1, 1.2 - similarity), Mark(candidates, 120, 1.5, 1 - similarity)),
            measures={
                "similarity": similarity,
                "held-out-similarity": (similarity + regenerated) / 2,
                "token-f1": words,
                "image-similarity/shared": regenerated,
                "image-similarity/fresh": regenerated - 0.05,
                "truth:similarity": 0.7,
                "truth:image-similarity/shared": 0.95,
            },
            pictures={"shared": (f"{folder}/shared-0.png", f"{folder}/shared-1.png")},
            versions={"torch": "2.15"},
            models={"miniworld:clip": "abcdef0123456789"},
        )


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Planted]:
    """Give what makes finished studies whose numbers are known."""
    planted = Planted(tmp_path / "study")
    yield planted
    for store in planted.stores:
        store.close()
