"""What every search over texts shares: replacing tokens, choosing them, filtering and filling up again."""

from __future__ import annotations

import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from preimage.api.template import Template
from preimage.candidates import (
    Choices,
    best_choices,
    draw,
    exhausted,
    lowest,
    propose,
    random_choices,
    replaced,
    unique_rows,
)
from preimage.search_space import Constraints, SearchSpace
from preimage.text_space import TokenizerSpace

LETTERS = "abcdefghij"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def word_space(n_words, **constraints):
    """Words in which every prompt is stable."""
    words = {f"w{index}": index for index in range(n_words)} | {"?": n_words}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    embedding = torch.randn(n_words + 3, 6, generator=generator())
    tokens = TokenizerSpace(tokenizer, embedding, name="words", max_length=16, special_ids=())
    return SearchSpace(tokens, Constraints(**constraints))


def letter_space(pairs):
    """Letters that read back as one token where two of `pairs` meet, so that many prompts are unstable."""
    vocabulary = {token: index for index, token in enumerate([*LETTERS, *pairs])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(pair) for pair in pairs]))
    tokenizer.decoder = decoders.Fuse()
    embedding = torch.randn(len(vocabulary), 6, generator=generator())
    tokens = TokenizerSpace(tokenizer, embedding, name="letters", max_length=16, special_ids=())
    return SearchSpace(tokens)


def is_uniform(counts):
    """Pearson's test at a level of one in a million (Wilson and Hilferty's approximation)."""
    counts = counts.double()
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum().item()
    freedom = len(counts) - 1
    return statistic < freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3


def every_token(space, prompts):
    """Choices that hold all other allowed tokens."""
    scores = torch.zeros(*prompts.shape, len(space.embedding))
    return best_choices(space, prompts, scores, len(space.embedding), generator())


def test_replaced_equals_a_loop_and_leaves_the_prompts_alone():
    """Each row gets its own tokens at its own positions."""
    prompts = torch.randint(20, (7, 5), generator=generator())
    positions = torch.stack([torch.randperm(5, generator=generator(row))[:2] for row in range(7)])
    tokens = torch.randint(20, (7, 2), generator=generator(1))
    before = prompts.clone()
    expected = prompts.clone()
    for row in range(7):
        for position, token in zip(positions[row], tokens[row], strict=True):
            expected[row, position] = token

    assert torch.equal(replaced(prompts, positions, tokens), expected)
    assert torch.equal(prompts, before)


def test_unique_rows_are_the_first_of_their_kind():
    """Order is kept and later copies are dropped, as a set of tuples would."""
    rows = torch.randint(3, (60, 3), generator=generator())
    seen, expected = set(), []
    for index, row in enumerate(map(tuple, rows.tolist())):
        if row not in seen:
            expected.append(index)
        seen.add(row)

    assert unique_rows(rows).tolist() == expected
    assert unique_rows(rows[:0]).tolist() == []


def test_lowest_prefers_the_earlier_of_two_equals_and_never_nan():
    """The order is that of a stable sort."""
    losses = torch.tensor([2.0, math.nan, 1.0, 1.0, 3.0])

    assert lowest(losses, 3).tolist() == [2, 3, 0]
    assert lowest(losses, 9).tolist() == [2, 3, 0, 4, 1]


def test_best_choices_equal_sorting_the_allowed_tokens():
    """The highest scores among the allowed, without the token that stands there, in order."""
    space = word_space(20, banned_words=("w3", "w7"))
    prompts = torch.randint(20, (3, 4), generator=generator())
    scores = torch.randn(3, 4, len(space.embedding), generator=generator(1))
    choices = best_choices(space, prompts, scores, 5, generator())
    for prompt in range(3):
        for position in range(4):
            others = [token for token in space.allowed_ids.tolist() if token != prompts[prompt, position]]
            ranked = sorted(others, key=lambda token: -scores[prompt, position, token].item())
            assert choices.tokens[prompt, position].tolist() == ranked[:5]
    assert (choices.count == 5).all()


def test_best_choices_are_never_more_than_are_allowed():
    """With ten allowed tokens a top 256 holds nine or ten, and none that is banned."""
    space = word_space(40, allowed_words=tuple(f"w{index}" for index in range(10)))
    prompts = torch.tensor([[0, 1, 30]])  # The last is not allowed itself, so all ten may replace it.
    scores = torch.randn(1, 3, len(space.embedding), generator=generator())
    choices = best_choices(space, prompts, scores, 256, generator())

    assert choices.count.tolist() == [[9, 9, 10]]
    for position, count in enumerate(choices.count[0].tolist()):
        tokens = set(choices.tokens[0, position, :count].tolist())
        assert tokens == set(range(10)) - {prompts[0, position].item()}


@pytest.mark.parametrize("scores", [0.0, -3.5])
def test_ties_are_broken_at_random(scores):
    """When all scores are equal, each allowed token enters the top k equally often."""
    space = word_space(30, banned_words=("w0",))
    prompts = torch.full((1, 1), 5)
    rng = generator()
    counts = torch.zeros(len(space.embedding))
    for _ in range(2000):
        constant = torch.full((1, 1, len(space.embedding)), scores)
        counts[best_choices(space, prompts, constant, 4, rng).tokens[0, 0]] += 1

    assert counts[[0, 5, 30, 31, 32]].sum() == 0
    assert is_uniform(counts[counts > 0])
    assert (counts > 0).sum() == 28


def test_random_choices_are_uniform_over_the_other_allowed_tokens():
    """The token that stands there and the banned never come; the rest equally often."""
    space = word_space(30, banned_words=("w0", "w9"))
    prompts = torch.tensor([[1, 9, 29]])
    choices = random_choices(space, prompts, 30000, generator())
    for position, token in enumerate(prompts[0].tolist()):
        counts = choices.tokens[0, position].bincount(minlength=33)
        wanted = [other for other in space.allowed_ids.tolist() if other != token]
        assert counts[wanted].sum() == 30000
        assert is_uniform(counts[wanted])


def test_where_one_token_is_allowed_nothing_may_replace_it():
    """The count is zero where it stands, and draws change nothing there."""
    space = word_space(5, allowed_words=("w2",))
    prompts = torch.tensor([[2, 4]])

    for choices in (random_choices(space, prompts, 3, generator()), every_token(space, prompts)):
        assert (choices.count > 0).tolist() == [[False, True]]
        drawn = draw(prompts, choices, 50, 2, generator())
        assert (drawn.ids == torch.tensor([2, 2])).all()
    assert not exhausted(space, prompts)
    assert exhausted(space, torch.tensor([[2, 2]]))


@pytest.mark.parametrize("n_replace", [1, 3])
def test_positions_are_drawn_uniformly(n_replace):
    """All of 16 positions equally often; weighting them by their index would favour the last."""
    space = word_space(40)
    prompts = torch.randint(40, (1, 16), generator=generator())
    drawn = draw(prompts, every_token(space, prompts), 20000, n_replace, generator(1))
    changed = drawn.ids != prompts

    assert is_uniform(changed.sum(dim=0))
    assert (changed.sum(dim=1) == n_replace).all()


def test_a_token_goes_where_it_was_chosen_for():
    """With several prompts each token comes from the list of its own prompt and position, all equally often."""
    length, n_choices = 5, 4
    prompts = torch.full((3, length), 999)
    tokens = torch.arange(3 * length * n_choices).reshape(3, length, n_choices)
    choices = Choices(tokens, torch.full((3, length), n_choices))
    drawn = draw(prompts, choices, 30000, 2, generator())
    row, position = (drawn.ids != 999).nonzero(as_tuple=True)
    put = drawn.ids[row, position]

    assert torch.equal(put // n_choices, drawn.parent[row] * length + position)
    assert is_uniform(put.bincount(minlength=tokens.numel()))
    assert drawn.parent.bincount().tolist() == [10000] * 3


def test_counts_limit_which_choices_are_drawn():
    """What lies beyond a position's count never comes."""
    choices = Choices(torch.tensor([[[1, 2, 3], [4, 5, 6]]]), torch.tensor([[1, 2]]))
    drawn = draw(torch.tensor([[0, 0]]), choices, 200, 2, generator())

    assert set(map(tuple, drawn.ids.tolist())) == {(1, 4), (1, 5)}


def test_a_short_prompt_is_replaced_whole():
    """More replacements than tokens are as many as there are tokens."""
    space = word_space(10)
    prompts = torch.tensor([[1, 2]])
    drawn = draw(prompts, every_token(space, prompts), 30, 5, generator())

    assert (drawn.ids != prompts).all()


def test_proposals_are_different_from_each_other_and_from_the_prompts():
    """Two prompts that are neighbours never propose each other, and no candidate comes twice."""
    space = word_space(12)
    prompts = torch.tensor([[1, 2, 3], [1, 2, 4]])
    before = prompts.clone()
    candidates = propose(space, prompts, every_token(space, prompts), generator(), width=40)
    rows = set(map(tuple, candidates.ids.tolist()))

    assert len(rows) == len(candidates) == 40
    assert not rows & set(map(tuple, prompts.tolist()))
    assert ((candidates.ids != prompts[candidates.parent]).sum(dim=1) == 1).all()
    assert torch.equal(prompts, before)


def test_a_small_neighbourhood_is_proposed_whole():
    """When there are fewer neighbours than wanted, all of them come."""
    space = word_space(5)
    prompts = torch.tensor([[0, 1]])
    candidates = propose(space, prompts, every_token(space, prompts), generator(), width=64)
    expected = {(token, 1) for token in range(1, 5)} | {(0, token) for token in (0, 2, 3, 4)}

    assert set(map(tuple, candidates.ids.tolist())) == expected
    assert len(candidates) == len(expected)


def test_the_filter_lets_only_stable_candidates_through_and_refills():
    """Where letters merge on reading, unstable prompts are dropped and others drawn until the width is reached."""
    space = letter_space([left + right for left in "abcde" for right in LETTERS])
    prompts = torch.tensor([[5, 6, 7, 8, 9, 5]])
    choices = every_token(space, prompts)
    unfiltered = propose(space, prompts, choices, generator(), width=40, n_replace=2, filter_ids=False)
    filtered = propose(space, prompts, choices, generator(), width=40, n_replace=2)

    assert not space.is_stable(unfiltered.ids).all()
    assert space.is_stable(filtered.ids).all()
    assert len(unfiltered) == len(filtered) == 40


def test_no_survivor_is_no_error():
    """When every neighbour is unstable nothing is proposed."""
    space = letter_space([left + right for left in LETTERS for right in LETTERS])
    prompts = torch.tensor([[0, 1, 2]])
    letters = Choices(torch.arange(10).expand(1, 3, 10), torch.full((1, 3), 10))
    candidates = propose(space, prompts, letters, generator(), width=30)

    assert candidates.ids.shape == (0, 3)
    assert candidates.parent.shape == (0,)
    assert candidates.parent.dtype == torch.int64


def test_templates_that_no_prompt_satisfies_at_once_are_named():
    """A byte-level tokenizer reads a first word behind other text as another token than at the start of a text."""
    vocabulary = {token: index for index, token in enumerate(["a", "b", "c", "Ġ", "Ġa", "Ġb", "Ġc"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", letter) for letter in "abc"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokens = TokenizerSpace(tokenizer, torch.zeros(7, 2), name="bytes", max_length=16, special_ids=())
    templates = [Template(), Template("a {optim_str}")]
    space, prompts = SearchSpace(tokens, templates=templates), torch.tensor([[0, 5]])
    choices = every_token(space, prompts)

    with pytest.warns(UserWarning, match="in the templates '{optim_str}' and 'a {optim_str}', so that the filter rej"):
        assert not len(propose(space, prompts, choices, generator(), width=8))
    assert len(propose(space, prompts, choices, generator(), width=8, filter_ids=False)) == 8
    assert all(
        len(propose(SearchSpace(tokens, None, [one]), prompts, choices, generator(), width=2)) for one in templates
    )


def test_the_generator_decides_everything():
    """One seed, one result; and the global generator is neither read nor moved."""
    space = word_space(40)
    prompts = torch.randint(40, (2, 6), generator=generator())
    state = torch.get_rng_state()

    def once(seed):
        rng = generator(seed)
        return propose(space, prompts, random_choices(space, prompts, 20, rng), rng, width=32)

    first, again, other = once(3), once(3), once(4)
    assert torch.equal(first.ids, again.ids)
    assert torch.equal(first.parent, again.parent)
    assert not torch.equal(first.ids, other.ids)
    assert torch.equal(torch.get_rng_state(), state)
