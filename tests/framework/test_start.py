"""Where a search over texts begins."""

import pytest
import torch

from preimage.api.template import Template
from preimage.errors import ConstraintError, InputError
from preimage.search_space import Constraints, SearchSpace
from preimage.start import TextStart, initial_ids, random_ids
from preimage.testing.toy import WORDS, toy_tokens


def begin(initial=None, **options):
    rng = torch.Generator().manual_seed(0)
    return initial_ids(SearchSpace(toy_tokens()), rng, TextStart(**options), initial)


def test_an_earlier_stage_comes_first():
    """Whatever the options say."""
    given = torch.tensor([1, 2])
    assert begin(given, optim_str_init="moss") is given


def test_ids_come_before_a_text_and_a_text_before_chance():
    """In this order."""
    assert begin(optim_ids_init=(3, 4), optim_str_init="moss").tolist() == [3, 4]
    assert begin(optim_str_init="moss oak", prompt_length=5).tolist() == [WORDS.index("moss"), WORDS.index("oak")]
    assert begin(prompt_length=5).shape == (5,)


def test_chance_draws_allowed_tokens_only_and_the_same_for_one_seed():
    """Drawn from the generator it is given."""
    space = SearchSpace(toy_tokens(), Constraints(allowed_words=("moss", "oak")))
    draws = [random_ids(space, torch.Generator().manual_seed(7), 6) for _ in range(2)]
    assert torch.equal(*draws)
    assert set(draws[0].tolist()) <= {WORDS.index("moss"), WORDS.index("oak")}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"optim_str_init": ""}, "The start text '' has no token that toy can read"),
        ({"optim_str_init": "moss " * 17}, "has 17 tokens, but toy has room for 16"),
        ({"prompt_length": 17}, "A prompt has 17 tokens, but toy has room for 16"),
        ({"optim_ids_init": (3, 99)}, "are not token ids of toy: give at least one, each from 0 to 24"),
        ({"optim_ids_init": (-1,)}, "are not token ids of toy"),
        ({"optim_ids_init": ()}, "are not token ids of toy"),
        ({"optim_ids_init": (1,) * 17}, "has 17 tokens, but toy has room for 16"),
    ],
)
def test_a_start_that_cannot_be_is_a_sentence(options, sentence):
    """With the values in it."""
    with pytest.raises(ConstraintError, match=sentence):
        begin(**options)


def test_a_start_text_that_another_model_cannot_hold_is_a_sentence():
    """It was typed by somebody who can shorten it; nothing near it could be read, either."""
    other = toy_tokens()
    other.max_length, other.name, other.fingerprint = 3, "other", "read otherwise"
    space = SearchSpace(toy_tokens()).read_by([(other, Template())])
    with pytest.raises(InputError, match="has 4 tokens for other in the template .* reads 1 to 3: shorten the prompt"):
        initial_ids(space, torch.Generator(), TextStart(optim_str_init="moss oak fern reed"), None)
