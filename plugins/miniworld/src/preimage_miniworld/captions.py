"""The caption grammar: every way to say what a scene shows, with its probability.

``grammar(scene)`` is an expression whose texts are the captions of the scene. All captions name
every attribute of the scene; they differ in phrasing, order and choice of words.
"""

import math
import random
from collections.abc import Iterator

from preimage_miniworld.grammar import Choice, Expression, choice, sequence
from preimage_miniworld.scene import Scene, SceneObject
from preimage_miniworld.words import (
    BACKGROUND_ADJECTIVES,
    BACKGROUND_PHRASES,
    COLOUR_WORDS,
    MOOD_ADJECTIVES,
    MOOD_PHRASES,
    RELATION_PHRASES,
    SHAPE_WORDS,
    SIDE_PHRASES,
    SIZE_WORDS,
    TEXTURE_ADJECTIVES,
    TEXTURE_PHRASES,
)

__all__ = [
    "all_captions",
    "canonical_caption",
    "caption",
    "entropy",
    "grammar",
    "log_probability",
]


def caption(scene: Scene, rng: random.Random) -> str:
    """Draw one caption of a scene.

    Args:
        scene: What to describe.
        rng: The source of chance, which advances.

    Returns:
        Lower-case English of at most 24 words that names every attribute of the scene.
    """
    return _spell(grammar(scene).sample(rng))


def canonical_caption(scene: Scene) -> str:
    """Give the plainest caption of a scene, the same for equal scenes.

    Example:
        >>> canonical_caption(Scene((SceneObject("red", "star", "striped", "small"),)))
        'a small striped red star in a meadow'
    """
    return _spell(grammar(scene).first())


def all_captions(scene: Scene) -> Iterator[str]:
    """Give every caption of a scene; there are tens of thousands of them."""
    return (_spell(tokens) for tokens in grammar(scene).all())


def entropy(scene: Scene) -> float:
    """The entropy of the captions of a scene, in nats."""
    return grammar(scene).entropy()


def log_probability(text: str, scene: Scene) -> float:
    """The natural logarithm of the probability that ``caption`` says ``text`` of a scene.

    Minus infinity when the grammar never says it.
    """
    tokens = tuple("a" if word == "an" else word for word in text.split())
    probability = grammar(scene).ends(tokens, 0).get(len(tokens), 0.0)
    return math.log(probability) if probability and _spell(tokens) == text else -math.inf


def grammar(scene: Scene) -> Choice:
    """Build the expression of all captions of a scene; equal scenes have equal captions."""
    scene = scene.canonical()
    if scene.relation is None:
        return _one_object(scene)
    if scene.mood == "none":
        return choice(_two_objects(scene), _two_objects(scene.reversed()))
    return _two_objects(scene)


def _spell(tokens: tuple[str, ...]) -> str:
    following = (*tokens[1:], "")
    words = (
        "an" if word == "a" and after[:1] in tuple("aeiou") else word
        for word, after in zip(tokens, following, strict=True)
    )
    return " ".join(words)


def _adjectives(entry: SceneObject, mood: str) -> tuple[Expression, ...]:
    size, colour = choice(*SIZE_WORDS[entry.size]), choice(*COLOUR_WORDS[entry.colour])
    texture = choice(*TEXTURE_ADJECTIVES[entry.texture])
    face = choice(*MOOD_ADJECTIVES[mood]) if mood != "none" else sequence()
    return size, face, texture, colour


def _noun_phrase(entry: SceneObject, mood: str = "none") -> Expression:
    """Name an object: all adjectives before the shape, or one attribute in a phrase after it."""
    size, face, texture, colour = _adjectives(entry, mood)
    shape = choice(*SHAPE_WORDS[entry.shape])
    textured = choice(*TEXTURE_PHRASES[entry.texture])
    before = choice(
        sequence("a", size, face, texture, colour, shape),
        sequence("a", size, face, colour, texture, shape),
        sequence("a", texture, colour, size, face, shape),
        weights=(4, 2, 1),
    )
    after = sequence("a", size, face, colour, shape, textured)
    if mood == "none":
        return choice(before, after, weights=(7, 3))
    faced = sequence("a", size, texture, colour, shape, choice(*MOOD_PHRASES[mood]))
    return choice(before, after, faced, weights=(5, 2, 3))


def _one_object(scene: Scene) -> Choice:
    (entry,) = scene.objects
    named = _noun_phrase(entry, scene.mood)
    place = choice(*BACKGROUND_PHRASES[scene.background])
    kind = choice(*BACKGROUND_ADJECTIVES[scene.background])
    size, face, texture, colour = _adjectives(entry, scene.mood)
    said = sequence("the", choice(*SHAPE_WORDS[entry.shape]), place, "is", size, texture)
    return choice(
        sequence(named, place),
        sequence(place, choice("there is", "we see"), named),
        sequence(choice("a picture of", "a image of", "a drawing of"), named, place),
        sequence("a", kind, choice("scene", "view"), "with", named),
        sequence(named, choice("before", "against"), "a", kind, "background"),
        sequence(named, choice("stands", "rests", "floats"), place),
        sequence(said, face, "and", colour),
        weights=(6, 3, 3, 3, 2, 2, 1),
    )


def _two_objects(scene: Scene) -> Choice:
    assert scene.relation is not None  # Two objects always have one.
    first = _noun_phrase(scene.objects[0], scene.mood)
    second = _noun_phrase(scene.objects[1])
    relation = choice(*RELATION_PHRASES[scene.relation])
    side = choice(*SIDE_PHRASES[scene.relation])
    place = choice(*BACKGROUND_PHRASES[scene.background])
    kind = choice(*BACKGROUND_ADJECTIVES[scene.background])
    return choice(
        sequence(first, relation, second, place),
        sequence(place, first, choice("is", "stands"), relation, second),
        sequence("a", kind, choice("scene", "view"), "with", first, relation, second),
        sequence(first, "and", second, side, place),
        sequence(first, choice("appears", "rests"), relation, second, "in a", kind, "place"),
        sequence(place, "there is", first, "with", second, side),
        weights=(6, 2, 3, 2, 2, 1),
    )
