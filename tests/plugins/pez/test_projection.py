"""Projection: the nearest allowed token by cosine, and a vocabulary that is normalised once."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import torch

from preimage_pez import projection
from preimage_pez.projection import directions, project


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def nearest(space, row):
    """Return the nearest allowed token of one embedding, token by token, in plain numbers."""

    def cosine(token):
        other = space.embedding[token].tolist()
        product = sum(left * right for left, right in zip(row, other, strict=True))
        return product / (math.hypot(*row) * math.hypot(*other))

    return max(space.allowed_ids.tolist(), key=cosine)


@pytest.mark.parametrize("constraints", [{}, {"banned_words": ("w0", "w3", "w7")}, {"allowed_words": ("w4", "w9")}])
def test_it_finds_the_nearest_allowed_token(words, constraints):
    """Each of many embeddings goes where comparing it with every allowed token says."""
    space = words(30, **constraints).space
    embeddings = draw(2, 3, 4, space.embedding.shape[1])
    ids = project(space, embeddings)

    expected = [nearest(space, row) for row in embeddings.flatten(0, -2).tolist()]
    assert ids.shape == (2, 3, 4)
    assert ids.flatten().tolist() == expected


def test_banned_tokens_are_not_chosen_even_where_nothing_else_is_near(words):
    """An embedding opposite to all that is allowed goes to an allowed token, not to a row written over."""
    space = words(6, allowed_words=("w1", "w2")).space
    mean = space.embedding[space.allowed_ids].mean(dim=0)

    assert project(space, -mean[None]).item() in (1, 2)
    for token in range(len(space.embedding)):
        assert project(space, 10 * space.embedding[token][None]).item() in (1, 2)


def test_an_embedding_does_not_depend_on_its_batch(words):
    """Each row alone goes where it goes in company, and its length does not matter."""
    space = words(30).space
    embeddings = draw(7, 5, space.embedding.shape[1])
    together = project(space, embeddings)

    for row, ids in zip(embeddings, together, strict=True):
        assert torch.equal(project(space, row[None] * 37)[0], ids)


def test_many_embeddings_are_projected_a_few_at_a_time(words, monkeypatch):
    """With little memory for similarities the answer is the same."""
    space = words(30).space
    embeddings = draw(11, space.embedding.shape[1])
    expected = project(space, embeddings)
    for scores in (1, 100):
        monkeypatch.setattr(projection, "_SCORES", scores)
        assert torch.equal(project(space, embeddings), expected)


def test_tokens_are_projected_to_themselves(words):
    """Every allowed token is the nearest to its own embedding."""
    space = words(30).space

    assert torch.equal(project(space, space.embedding[space.allowed_ids]), space.allowed_ids)


def test_half_precision_vocabularies_are_compared_in_single(words):
    """What is near is decided with seven digits, not with three."""
    toy = words(30)
    toy.space.tokens.embedding = toy.space.embedding.to(torch.bfloat16)
    vocabulary = directions(toy.space)

    assert vocabulary.dtype == torch.float32
    torch.testing.assert_close(vocabulary.norm(dim=1), torch.ones(30))


def test_the_vocabulary_is_normalised_once_and_goes_with_its_space(words):
    """Every projection uses the same unit vectors; two spaces have their own; none outlives its space."""
    space, other = words(30).space, words(30, banned_words=("w1",)).space
    vocabulary = directions(space)
    project(space, draw(3, space.embedding.shape[1]))

    assert directions(space) is vocabulary
    assert len(directions(other)) == len(vocabulary) - 1
    kept = weakref.ref(vocabulary)
    del space, vocabulary
    gc.collect()
    assert kept() is None
