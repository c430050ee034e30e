"""Grammar, captions and parser: what is said is read back, with known probabilities."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preimage_miniworld import words
from preimage_miniworld.captions import (
    all_captions,
    canonical_caption,
    caption,
    entropy,
    grammar,
    log_probability,
)
from preimage_miniworld.grammar import choice, sequence
from preimage_miniworld.parser import attributes_of, parse, recovered
from preimage_miniworld.scene import Scene, SceneObject, sample_scene

scenes = st.integers(0, 10**9).map(lambda seed: sample_scene(random.Random(seed)))
chances = st.integers(0, 10**9).map(random.Random)


@settings(max_examples=300, deadline=None)
@given(scenes, chances)
def test_a_caption_is_read_back(scene, rng):
    """The parser gets exactly the scene out of any caption of it."""
    text = caption(scene, rng)

    assert parse(text).scene() == scene
    assert set(recovered(text, scene).values()) == {1.0}
    assert text == text.lower()
    assert len(text.split()) <= 26


@settings(max_examples=200, deadline=None)
@given(scenes, chances)
def test_junk_between_the_words_changes_nothing(scene, rng):
    """Words from elsewhere around a caption are passed over."""
    text = f"zebra !! {caption(scene, rng)} ,, quux 42 re</w>"

    assert parse(text).scene() == scene


def test_short_prompts_are_read_in_any_order():
    """Single words count, adjectives after the last shape belong to it."""
    said = parse("Circle RED, striped ... nightnight night smiling")

    assert said.names() == {
        ("shape", "circle"),
        ("colour", "red"),
        ("texture", "striped"),
        ("background", "night"),
        ("mood", "happy"),
    }


def test_a_text_without_the_world_names_nothing():
    """No attributes are found where none are named."""
    assert parse("the colour of boxing: overdue, hearty reddish").names() == frozenset()
    assert parse("").scene() is None


def test_recovery_is_scored_by_kind():
    """A prompt that names some attributes scores those, whatever the order of the objects."""
    red = SceneObject("red", "circle", "striped", "small")
    scene = Scene([red, SceneObject("blue", "star", "dotted", "large")], "left of", "night")

    assert recovered("blue star right of a red disc", scene) == {
        "colour": 1.0,
        "shape": 1.0,
        "texture": 0.0,
        "size": 0.0,
        "relation": 1.0,
        "background": 0.0,
    }
    assert recovered("blue star left of red circle", scene)["relation"] == 0.0
    assert recovered("", scene)["colour"] == 0.0


@settings(max_examples=100, deadline=None)
@given(scenes, chances)
def test_a_caption_has_one_derivation(scene, rng):
    """A caption's probability is the product of the choices that made it."""
    expression = grammar(scene)
    tokens, probability = derive(expression, rng)

    assert math.isclose(expression.ends(tokens, 0)[len(tokens)], probability)


def derive(expression, rng):
    """Sample as the grammar does, and multiply the probabilities of the choices."""
    if hasattr(expression, "tokens"):
        return expression.tokens, 1.0
    if hasattr(expression, "parts"):
        made = [derive(part, rng) for part in expression.parts]
        return sum((tokens for tokens, _ in made), ()), math.prod(share for _, share in made)
    index = rng.choices(range(len(expression.options)), expression.probabilities)[0]
    tokens, probability = derive(expression.options[index], rng)
    return tokens, probability * expression.probabilities[index]


def test_probabilities_sum_to_one_and_give_the_entropy():
    """Over all captions of a scene: total probability 1, and the entropy that the grammar claims."""
    scene = Scene([SceneObject("orange", "heart", "solid", "large")], None, "snow")
    texts = list(all_captions(scene))
    logs = [log_probability(text, scene) for text in texts]

    assert len(texts) == len(set(texts))
    assert math.isclose(sum(map(math.exp, logs)), 1.0, rel_tol=1e-9)
    assert math.isclose(-sum(math.exp(value) * value for value in logs), entropy(scene))


def test_what_is_never_said_has_no_probability():
    """A caption of another scene, or one with a wrong article, has probability zero."""
    scene = Scene([SceneObject("orange", "heart", "solid", "large")], None, "snow")
    text = canonical_caption(scene)

    assert text == "a large plain orange heart in the snow"
    assert log_probability(text, scene) > -math.inf
    assert log_probability(text.replace("a large", "an large"), scene) == -math.inf
    assert log_probability(text.replace("orange", "red"), scene) == -math.inf


def test_equal_scenes_have_equal_captions():
    """The canonical caption does not depend on how the scene is told."""
    pair = [SceneObject("red", "circle", "solid", "small"), SceneObject("blue", "star", "solid", "small")]
    scene = Scene(pair, "above")

    assert canonical_caption(scene) == canonical_caption(scene.reversed())


def test_no_word_has_two_meanings():
    """No phrase stands in two places of the word tables."""
    phrases = list(
        itertools.chain.from_iterable(options for name in words.__all__ for options in getattr(words, name).values())
    )

    assert len(phrases) == len(set(phrases))


def test_there_are_enough_phrasings():
    """One-object and two-object scenes are each told in at least six ways."""
    for seed in range(20):
        expression = grammar(sample_scene(random.Random(seed)))
        options = expression.options
        assert len(options if len(options) > 2 else options[0].options) >= 6


@pytest.mark.parametrize("count", [1, 2])
def test_attributes_of_a_scene_make_the_scene(count):
    """The attributes that a full caption names are enough to build the scene again."""
    for seed in range(50):
        scene = sample_scene(random.Random(seed), count)
        assert attributes_of(scene).scene() == scene


def test_a_small_grammar_is_enumerated_and_matched():
    """Choices and sequences: texts, probabilities, entropy."""
    expression = sequence("a", choice("red", "blue", weights=(3, 1)), choice("", "big"), "dot")

    assert [" ".join(tokens) for tokens in expression.all()] == [
        "a red dot",
        "a red big dot",
        "a blue dot",
        "a blue big dot",
    ]
    assert expression.ends(("a", "red", "dot"), 0) == {3: 0.375}
    assert expression.ends(("a", "green", "dot"), 0) == {}
    assert math.isclose(expression.entropy(), math.log(4) - 0.75 * math.log(3) + math.log(2))
