"""Scenes of the mini world: what may stand in a picture, and which split it belongs to.

A scene is a small record that says everything about a picture. The renderer draws it, the
grammar describes it, and the parser gets it back. Only the standard library and attrs are
needed here.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import asdict, evolve, field, frozen

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "MOODS",
    "OPPOSITES",
    "RELATIONS",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "TEXTURES",
    "Scene",
    "SceneObject",
    "sample_scene",
    "sample_scenes",
]

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "flower", "cross")
TEXTURES = ("solid", "striped", "dotted")
SIZES = ("small", "large")
RELATIONS = ("left of", "right of", "above", "below")
BACKGROUNDS = ("meadow", "night", "beach", "snow")
MOODS = ("none", "happy", "sad")
SPLITS = ("train", "validation", "held-out")
OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

# Scenes that sampling draws: half of them hold two objects, half show a face.
_TWO_OBJECTS = 0.5
_MOOD_WEIGHTS = (2, 1, 1)


def _one_of(allowed: tuple[str, ...]) -> Any:
    def check(instance: object, attribute: Any, value: object) -> None:
        if value not in allowed:
            message = (
                f"{type(instance).__name__}.{attribute.name} is {value!r}, which the mini world "
                f"does not have; use one of {', '.join(allowed)}."
            )
            raise ValueError(message)

    return check


@frozen
class SceneObject:
    """One coloured shape.

    Example:
        >>> SceneObject("red", "circle", "striped", "small").shape
        'circle'
    """

    colour: str = field(validator=_one_of(COLOURS))
    shape: str = field(validator=_one_of(SHAPES))
    texture: str = field(validator=_one_of(TEXTURES))
    size: str = field(validator=_one_of(SIZES))


def _objects(objects: Iterable[SceneObject]) -> tuple[SceneObject, ...]:
    return tuple(objects)


@frozen
class Scene:
    """One or two objects before a background.

    ``relation`` says where the first object stands with respect to the second and is None for
    one object. ``mood`` is the face that the first object wears.

    Raises:
        ValueError: an attribute is not of this world, or the objects and the relation disagree.

    Example:
        >>> Scene((SceneObject("red", "circle", "striped", "small"),), None, "night").mood
        'none'
    """

    objects: tuple[SceneObject, ...] = field(converter=_objects)
    relation: str | None = None
    background: str = field(default="meadow", validator=_one_of(BACKGROUNDS))
    mood: str = field(default="none", validator=_one_of(MOODS))

    def __attrs_post_init__(self) -> None:
        count = len(self.objects)
        if count not in (1, 2):
            message = f"The scene has {count} objects, but a scene holds one or two; pass that many."
            raise ValueError(message)
        if count == 1 and self.relation is not None:
            message = (
                f"The scene has one object and the relation {self.relation!r}, but a relation "
                "needs two objects; pass relation=None or a second object."
            )
            raise ValueError(message)
        if count == 2 and self.relation not in RELATIONS:
            message = (
                f"The scene has two objects and the relation {self.relation!r}; use one of {', '.join(RELATIONS)}."
            )
            raise ValueError(message)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Scene":
        """Build a scene from what ``to_dict`` gave."""
        objects = tuple(SceneObject(**entry) for entry in record["objects"])
        return cls(objects, record["relation"], record["background"], record["mood"])

    def to_dict(self) -> dict[str, Any]:
        """Give the scene as a dictionary that JSON can hold."""
        return asdict(self)

    def reversed(self) -> "Scene":
        """Tell the same two objects in the other order, with the opposite relation.

        Raises:
            ValueError: the scene has one object, or a face, which the first object must keep.
        """
        if self.relation is None or self.mood != "none":
            message = (
                "The scene has one object or a face, and a face stays with the first object; "
                "reverse scenes of two objects without a face only."
            )
            raise ValueError(message)
        return evolve(self, objects=self.objects[::-1], relation=OPPOSITES[self.relation])

    def canonical(self) -> "Scene":
        """Give the one form that all equal scenes share.

        "A right of B" is "B left of A". The object with a face always comes first.
        """
        if self.mood == "none" and self.relation in ("right of", "below"):
            return self.reversed()
        return self

    @property
    def key(self) -> str:
        """A text that is the same for equal scenes, on every machine and in every process."""
        return json.dumps(self.canonical().to_dict(), sort_keys=True, separators=(",", ":"))

    @property
    def split(self) -> str:
        """The split of the scene: 80 % train, 10 % validation, 10 % held-out."""
        digest = hashlib.sha256(self.key.encode()).digest()
        tenth = int.from_bytes(digest[:8], "big") % 10
        return {0: "held-out", 1: "validation"}.get(tenth, "train")


def sample_scene(rng: random.Random, objects: int | None = None) -> Scene:
    """Draw a scene from the whole world, in its canonical form.

    Args:
        rng: The source of chance, which advances.
        objects: How many objects, one or two; None draws that too.

    Two objects of one scene always differ in colour or in shape.
    """
    count = objects or (2 if rng.random() < _TWO_OBJECTS else 1)
    while True:
        drawn = tuple(_sample_object(rng) for _ in range(count))
        if len({(entry.colour, entry.shape) for entry in drawn}) == count:
            break
    relation = rng.choice(RELATIONS) if count == 2 else None
    background = rng.choice(BACKGROUNDS)
    mood = rng.choices(MOODS, _MOOD_WEIGHTS)[0]
    return Scene(drawn, relation, background, mood).canonical()


def sample_scenes(split: str, seed: int, objects: int | None = None, distinct: bool = False) -> Iterator[Scene]:
    """Draw scenes of one split without end.

    Args:
        split: "train", "validation" or "held-out".
        seed: Equal seeds give equal scenes.
        objects: How many objects, one or two; None draws that too.
        distinct: Never give a scene twice.

    Raises:
        ValueError: there is no such split.
    """
    if split not in SPLITS:
        message = f"There is no split {split!r}; use one of {', '.join(SPLITS)}."
        raise ValueError(message)
    return _scenes_of(split, random.Random(f"{split}/{seed}"), objects, distinct)


def _scenes_of(split: str, rng: random.Random, objects: int | None, distinct: bool) -> Iterator[Scene]:
    seen: set[Scene] = set()
    while True:
        scene = sample_scene(rng, objects)
        if scene.split != split or scene in seen:
            continue
        if distinct:
            seen.add(scene)
        yield scene


def _sample_object(rng: random.Random) -> SceneObject:
    return SceneObject(rng.choice(COLOURS), rng.choice(SHAPES), rng.choice(TEXTURES), rng.choice(SIZES))
