"""Training texts: captions, captions among junk, and short prompts of a few words.

A prompt that an optimizer writes is seldom a caption. Training on such texts, too, teaches the
text tower to heed the words of the world wherever they stand and to pass over the others.
"""

import random

from preimage_miniworld import words
from preimage_miniworld.captions import caption
from preimage_miniworld.scene import Scene

__all__ = ["short_prompt", "training_text", "with_junk"]

_PLAIN, _JUNK = 0.62, 0.16


def training_text(scene: Scene, rng: random.Random, junk: list[str]) -> tuple[str, bool]:
    """Draw a text for a picture of a scene.

    Returns:
        The text, and whether it names all attributes of the scene.
    """
    kind = rng.random()
    if kind < _PLAIN:
        return caption(scene, rng), True
    if kind < _PLAIN + _JUNK:
        return with_junk(caption(scene, rng), rng, junk), True
    text = short_prompt(scene, rng)
    return (with_junk(text, rng, junk) if rng.random() < 0.4 else text), False


def with_junk(text: str, rng: random.Random, junk: list[str]) -> str:
    """Put one to five words of ``junk`` at random places of a text."""
    tokens = text.split()
    for _ in range(rng.randint(1, 5)):
        tokens.insert(rng.randint(0, len(tokens)), rng.choice(junk))
    return " ".join(tokens)


def short_prompt(scene: Scene, rng: random.Random) -> str:
    """Draw a few words that name some attributes of a scene, in a natural or in a random order."""
    parts: list[str] = []
    entries = list(scene.objects)
    if len(entries) == 2 and rng.random() < 0.4:
        entries.pop(rng.randrange(2))
    for entry in entries:
        named = [
            (words.SIZE_WORDS[entry.size], 0.5),
            (words.TEXTURE_ADJECTIVES[entry.texture], 0.5),
            (words.COLOUR_WORDS[entry.colour], 0.7),
        ]
        if scene.mood != "none" and entry is scene.objects[0]:
            named.insert(1, (words.MOOD_ADJECTIVES[scene.mood], 0.6))
        noun = [rng.choice(options) for options, share in named if rng.random() < share]
        if rng.random() < 0.85:
            noun.append(rng.choice(words.SHAPE_WORDS[entry.shape]))
        if parts and noun and scene.relation and rng.random() < 0.6:
            parts.append(rng.choice(words.RELATION_PHRASES[scene.relation]))
        parts += noun
    tables = (words.BACKGROUND_PHRASES, words.BACKGROUND_ADJECTIVES)
    if rng.random() < 0.5 or not parts:
        parts.append(rng.choice(rng.choice(tables)[scene.background]))
    if rng.random() < 0.4:
        rng.shuffle(parts)
    elif rng.random() < 0.3:
        parts.insert(0, "a")
    return " ".join(parts)
