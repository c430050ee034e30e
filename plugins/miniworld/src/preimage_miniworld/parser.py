"""The parser: which attributes of the mini world a text names.

It knows the words of the grammar and passes over all others, so that it reads captions, short
prompts in any order, and the strange texts that optimizers find.
"""

import functools
import itertools
import re
from collections.abc import Iterator
from typing import cast

from attrs import evolve, fields_dict, frozen

from preimage_miniworld import words
from preimage_miniworld.scene import OPPOSITES, Scene, SceneObject

__all__ = ["Attributes", "ObjectAttributes", "attributes_of", "parse", "recovered", "shares"]

_OBJECT_KINDS = ("colour", "shape", "texture", "size")


@frozen
class ObjectAttributes:
    """What a text says of one object; None stands for what it does not say."""

    colour: str | None = None
    shape: str | None = None
    texture: str | None = None
    size: str | None = None
    mood: str | None = None


@frozen
class Attributes:
    """What a text says of a scene.

    ``relation`` says where the first object of ``objects`` stands with respect to the second.
    """

    objects: tuple[ObjectAttributes, ...] = ()
    relation: str | None = None
    background: str | None = None

    def scene(self) -> Scene | None:
        """Give the scene when it is named in full, otherwise None."""
        complete = all(None not in _object_values(entry) for entry in self.objects)
        sound = len(self.objects) == (1 if self.relation is None else 2)
        if not (complete and sound and self.background):
            return None
        moods = [entry.mood for entry in self.objects]
        objects = [SceneObject(*cast("tuple[str, ...]", _object_values(entry))) for entry in self.objects]
        scene = Scene(objects, self.relation, self.background, moods[0] or "none")
        if len(moods) == 2 and moods[1]:
            if moods[0]:
                return None
            swapped = OPPOSITES[cast("str", self.relation)]
            scene = Scene(objects[::-1], swapped, self.background, moods[1])
        return scene.canonical()

    def names(self) -> frozenset[tuple[str, str]]:
        """Give all that is named as pairs like ("colour", "red")."""
        found = {(kind, getattr(entry, kind)) for entry in self.objects for kind in fields_dict(ObjectAttributes)}
        found |= {("relation", self.relation), ("background", self.background)}
        return frozenset(pair for pair in found if pair[1] is not None)


def parse(text: str) -> Attributes:
    """Read which attributes a text names.

    Words before a shape belong to that shape; phrases like "with stripes" belong to the shape
    before them. What is said twice of one object counts the first time.

    Example:
        >>> parse("red !! circle, striped zz at night").background
        'night'
    """
    objects: list[ObjectAttributes] = []
    pending = ObjectAttributes()
    scene: dict[str, str] = {}
    for kind, value, follows in _mentions(text):
        if kind in ("relation", "background"):
            scene.setdefault(kind, value)
        elif kind == "shape":
            objects.append(_fill(pending, "shape", value))
            pending = ObjectAttributes()
        elif follows and objects:
            objects[-1] = _fill(objects[-1], kind, value)
        else:
            pending = _fill(pending, kind, value)
    if pending != ObjectAttributes():
        if objects:
            for kind in fields_dict(ObjectAttributes):
                objects[-1] = _fill(objects[-1], kind, getattr(pending, kind))
        else:
            objects.append(pending)
    return Attributes(tuple(objects), **scene)


def attributes_of(scene: Scene) -> Attributes:
    """Give the attributes that a complete caption of a scene names."""
    entries = [ObjectAttributes(**{k: getattr(o, k) for k in _OBJECT_KINDS}) for o in scene.objects]
    if scene.mood != "none":
        entries[0] = evolve(entries[0], mood=scene.mood)
    return Attributes(tuple(entries), scene.relation, scene.background)


def recovered(text: str, scene: Scene) -> dict[str, float]:
    """Score a recovered prompt: which of the scene's attributes it names, by kind.

    Args:
        text: Any text.
        scene: The truth.

    Returns:
        For each kind the scene has (colour, shape, texture, size, mood, relation, background) the
        share that is named, 0 to 1. Objects are matched in the order that suits the text best.
        A relation counts when it holds under that order; naming the wrong face scores 0.
    """
    return shares(parse(text), attributes_of(scene))


def shares(said: Attributes, truth: Attributes) -> dict[str, float]:
    """Score what is said against the truth, as `recovered` does; kinds that the truth leaves out do not count."""
    count = len(truth.objects)
    # Any object of the text, or none (an index past the end), may be the one that is meant.
    slots = range(len(said.objects) + count)
    named = [*said.objects, *[ObjectAttributes()] * count]
    scores = [
        _score(said, truth, [named[index] for index in order], order) for order in itertools.permutations(slots, count)
    ]
    return max(scores, key=lambda score: sum(score.values()))


def _score(
    said: Attributes, truth: Attributes, named: list[ObjectAttributes], order: tuple[int, ...]
) -> dict[str, float]:
    couples = list(zip(named, truth.objects, strict=True))
    score: dict[str, float] = {}
    for kind in fields_dict(ObjectAttributes):
        wanted = [(getattr(a, kind), getattr(b, kind)) for a, b in couples if getattr(b, kind)]
        if wanted:
            score[kind] = sum(a == b for a, b in wanted) / len(wanted)
    if truth.relation:
        spoken = said.relation
        if spoken and order[0] > order[1]:
            spoken = OPPOSITES[spoken]
        score["relation"] = float(spoken == truth.relation)
    if truth.background:
        score["background"] = float(said.background == truth.background)
    return score


def _object_values(entry: ObjectAttributes) -> tuple[str | None, ...]:
    return tuple(getattr(entry, kind) for kind in _OBJECT_KINDS)


def _fill(entry: ObjectAttributes, kind: str, value: str | None) -> ObjectAttributes:
    return evolve(entry, **{kind: getattr(entry, kind) or value})


@functools.cache
def _lexicon() -> tuple[re.Pattern[str], dict[str, tuple[str, str, bool]]]:
    """The pattern of all known phrases, longest first, and what each one means."""
    tables = (
        ("colour", words.COLOUR_WORDS, False),
        ("shape", words.SHAPE_WORDS, False),
        ("size", words.SIZE_WORDS, False),
        ("texture", words.TEXTURE_ADJECTIVES, False),
        ("texture", words.TEXTURE_PHRASES, True),
        ("mood", words.MOOD_ADJECTIVES, False),
        ("mood", words.MOOD_PHRASES, True),
        ("background", words.BACKGROUND_PHRASES, True),
        ("background", words.BACKGROUND_ADJECTIVES, False),
        ("relation", words.RELATION_PHRASES, True),
        ("relation", words.SIDE_PHRASES, True),
    )
    meanings = {
        phrase: (kind, value, follows)
        for kind, table, follows in tables
        for value, phrases in table.items()
        for phrase in phrases
    }
    # Optimised prompts seldom hold whole phrases, so their telling words count alone, too.
    for phrase, meaning in list(meanings.items()):
        for word in phrase.split():
            if word in _TELLING and word not in meanings:
                meanings[word] = meaning
    longest_first = sorted(meanings, key=len, reverse=True)
    alternatives = "|".join(re.escape(phrase) for phrase in longest_first)
    return re.compile(rf"(?<![a-z])(?:{alternatives})(?![a-z])"), meanings


_TELLING = frozenset(
    (
        *("stripes", "dots", "spots", "smile", "frown", "left", "right", "underneath", "overhead"),
        *("meadow", "grass", "field", "night", "stars", "dark", "beach", "sea", "sand", "snow"),
        *("winter", "ice"),
    )
)


def _mentions(text: str) -> Iterator[tuple[str, str, bool]]:
    pattern, meanings = _lexicon()
    for match in pattern.finditer(" ".join(text.lower().split())):
        yield meanings[match.group()]
