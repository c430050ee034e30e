"""Losses added up, batches split, duplicates dropped, passes counted."""

import attrs
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from preimage.api.template import Template
from preimage.budget import Budget
from preimage.errors import (
    AssemblyError,
    CapacityError,
    ConstraintError,
    InputError,
    NonFiniteLossError,
    OptionError,
    PluginError,
)
from preimage.loop import advance, begin
from preimage.problem import BoundTerm, Problem
from preimage.prompts import proposable
from preimage.search_space import Constraints, SearchSpace
from preimage.testing.toy import WORDS, ToyObjective, brute_force, toy_problem, toy_tokens
from preimage.text_space import TokenizerSpace
from preimage.track import Track
from preimage_gcg.config import GCGConfig
from preimage_gcg.optimizer import GCG
from preimage_pez.config import PEZConfig
from preimage_pez.optimizer import PEZ
from preimage_random_search.config import RandomSearchConfig
from preimage_random_search.optimizer import RandomSearch

PROMPTS = torch.tensor([[0, 1], [2, 3], [0, 1], [5, 7]])
FIRST = torch.zeros(4, dtype=torch.int64)


class Recording(ToyObjective):
    """The toy objective, remembering how many rows each call had."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.rows = []

    def loss(self, candidates, target):
        self.rows.append(len(candidates))
        return super().loss(candidates, target)

    def loss_and_gradient(self, candidates, target):
        self.rows.append(len(candidates))
        return super().loss_and_gradient(candidates, target)


class Hungry(Recording):
    """Runs out of memory above a number of rows."""

    limit = 3

    def loss(self, candidates, target):
        answer = super().loss(candidates, target)
        if len(candidates) > self.limit:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return answer


def problem_of(objective, **options):
    return Problem(SearchSpace(objective.space), [BoundTerm("toy", objective)], **options)


def test_a_candidate_is_scored_once_in_a_batch_and_never_again():
    """Duplicates and what is remembered cost no pass."""
    objective = Recording(toy_tokens())
    problem = problem_of(objective)

    first = problem.losses(PROMPTS, FIRST)
    second = problem.losses(PROMPTS.flip(0), FIRST)

    assert objective.rows == [3]
    assert first.forward.tolist() == [1, 1, 0, 1]
    assert second.forward.tolist() == [0, 0, 0, 0]
    assert second.losses.flip(0).tolist() == first.losses.tolist()


def test_the_same_prompt_is_another_candidate_for_another_target():
    """Memory is kept per target."""
    problem = toy_problem(n_targets=2)
    losses = problem.losses(PROMPTS[:1].expand(2, -1), torch.tensor([0, 1])).losses
    assert losses[0] != losses[1]


def test_a_batch_equals_its_rows_one_by_one():
    """Whatever else is in the batch."""
    together = toy_problem().losses(PROMPTS, FIRST).losses
    alone = [toy_problem().losses(row[None], FIRST[:1]).losses.item() for row in PROMPTS]
    assert together.tolist() == pytest.approx(alone, abs=1e-12)


def test_terms_are_weighted_and_kept_apart():
    """The sum is what is minimised, the breakdown what is reported."""
    tokens = toy_tokens()
    near, far = ToyObjective(tokens, seed=1), ToyObjective(tokens, seed=2)
    problem = Problem(SearchSpace(tokens), [BoundTerm("near", near), BoundTerm("far", far, weight=0.25)])

    answer = problem.losses(PROMPTS, FIRST)

    expected = torch.stack([near.loss(PROMPTS, FIRST), far.loss(PROMPTS, FIRST)], dim=1)
    torch.testing.assert_close(answer.terms, expected)
    torch.testing.assert_close(answer.losses, expected[:, 0] + 0.25 * expected[:, 1])
    assert answer.forward.tolist() == [2, 2, 0, 2]


def test_the_gradient_is_that_of_the_weighted_sum():
    """Against finite differences of the sum."""
    tokens = toy_tokens()
    terms = [BoundTerm("a", ToyObjective(tokens, seed=1)), BoundTerm("b", ToyObjective(tokens, seed=2), weight=3.0)]
    problem = Problem(SearchSpace(tokens), terms)
    direction = torch.randn(
        2, tokens.embedding.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )

    gradient = problem.losses_and_gradients(PROMPTS[:1], FIRST[:1]).gradient

    def total(step):
        moved = tokens.embedding[PROMPTS[:1]] + step * direction
        return sum(term.weight * term.objective._loss(moved, FIRST[:1]).item() for term in terms)

    assert (gradient[0] * direction).sum().item() == pytest.approx((total(1e-6) - total(-1e-6)) / 2e-6, rel=1e-6)


def test_a_template_with_two_slots_gives_both_gradients():
    """Every slot holds the same prompt, so their gradients add up."""
    tokens = toy_tokens()
    objective = ToyObjective(tokens)
    template = Template("moss {optim_str} oak {optim_str}")
    problem = Problem(SearchSpace(tokens, None, [template]), [BoundTerm("toy", objective, 1.0, template)])
    moss, oak = WORDS.index("moss"), WORDS.index("oak")
    complete = torch.tensor([[moss, 0, 1, oak, 0, 1]])

    answer = problem.losses_and_gradients(PROMPTS[:1], FIRST[:1])

    losses, gradient = objective.loss_and_gradient(complete, FIRST[:1])
    torch.testing.assert_close(answer.losses, losses)
    torch.testing.assert_close(answer.gradient, gradient[:, 1:3] + gradient[:, 4:6])


def test_a_term_with_its_own_tokenizer_reads_the_text():
    """Its loss is that of the text in its tokens."""
    tokens, other = toy_tokens(), toy_tokens(seed=5)
    reordered = _reordered_tokens()
    foreign = ToyObjective(reordered)
    problem = Problem(SearchSpace(tokens), [BoundTerm("own", ToyObjective(other)), BoundTerm("foreign", foreign)])

    values = problem.losses(PROMPTS[:1], FIRST[:1]).terms[0]

    (ids,) = reordered.encode(["amber birch"])
    assert values[1].item() == pytest.approx(foreign.loss(torch.tensor([ids]), FIRST[:1]).item())


def test_a_gradient_from_another_embedding_needs_an_adapter():
    """The message says what to name."""
    problem = Problem(SearchSpace(toy_tokens()), [BoundTerm("foreign", ToyObjective(_reordered_tokens()))])
    with pytest.raises(AssemblyError, match="needs an adapter: name one"):
        problem.losses_and_gradients(PROMPTS, FIRST)


def test_two_models_with_the_same_embeddings_share_gradients():
    """Two roles of one reference are loaded as two models, and need no adapter."""
    tokens, twin = toy_tokens(), toy_tokens()
    terms = [BoundTerm("one", ToyObjective(tokens)), BoundTerm("twin", ToyObjective(twin, seed=2))]

    gradient = Problem(SearchSpace(tokens), terms).losses_and_gradients(PROMPTS, FIRST).gradient

    one, other = (term.objective.loss_and_gradient(PROMPTS, FIRST)[1] for term in terms)
    assert tokens.embedding.data_ptr() != twin.embedding.data_ptr()
    torch.testing.assert_close(gradient, one + other)


def test_models_that_share_a_tokenizer_but_not_its_embeddings_do_not_share_gradients():
    """A gradient with respect to one table means nothing in the other."""
    problem = Problem(SearchSpace(toy_tokens()), [BoundTerm("twin", ToyObjective(toy_tokens(seed=9)))])
    with pytest.raises(AssemblyError, match="needs an adapter"):
        problem.losses_and_gradients(PROMPTS, FIRST)


class Narrow(ToyObjective):
    """The toy objective of a model that refuses what is longer than it reads."""

    def loss_and_gradient(self, candidates, target):
        assert 0 < candidates.shape[1] <= self.space.max_length
        return super().loss_and_gradient(candidates, target)

    def loss(self, candidates, target):
        assert 0 < candidates.shape[1] <= self.space.max_length
        return super().loss(candidates, target)


class Flat:
    """An adapter that says nothing about where to go."""

    def pull_back(self, ids, translated, gradient):
        return torch.zeros(*ids.shape, 6, dtype=gradient.dtype)


def problem_read_by_letters(max_length, template="{optim_str}"):
    """Words are searched; a second term reads their letters, of which few fit."""
    tokens, template = toy_tokens(), Template(template)
    second = BoundTerm("letters", Narrow(_letter_tokens(max_length)), 1.0, template, Flat())
    return Problem(SearchSpace(tokens), [BoundTerm("words", ToyObjective(tokens)), second])


def test_a_prompt_that_another_model_cannot_hold_is_not_stable():
    """However well it is read back by the model whose tokens are searched."""
    problem = problem_read_by_letters(9, "moss {optim_str}")
    prompts = torch.tensor([[WORDS.index("fern")], [WORDS.index("quartz")]])
    assert problem.space.tokens.is_stable(prompts, Template()).all()
    assert problem.space.is_stable(prompts).tolist() == [True, False]
    assert proposable(problem.space, [*prompts.tolist(), []]) == [True, False, False]
    assert problem.space.is_readable(["fern", "quartz"]).tolist() == [True, False]


def test_the_template_of_a_model_with_tokens_of_its_own_is_read_as_text():
    """Whether a prompt keeps the searched tokens in that template makes no difference to anybody."""
    tokens, template = toy_tokens(), Template("moss{optim_str}")
    terms = [BoundTerm("words", ToyObjective(tokens)), BoundTerm("letters", Narrow(_letter_tokens(20)), 1.0, template)]
    assert not tokens.is_stable(PROMPTS, template).any()
    assert Problem(SearchSpace(tokens, templates=[Template(), template]), terms).stable(PROMPTS).all()


def test_a_model_that_is_asked_about_too_long_a_text_reads_its_beginning():
    """Where no filter has seen the candidates, the search goes on; a text that was typed is refused."""
    problem = problem_read_by_letters(8)
    words = torch.tensor([[WORDS.index("moss"), WORDS.index("fern")], [WORDS.index("moss"), WORDS.index("quartz")]])
    letters = problem.terms[1].objective

    answer = problem.losses(words, FIRST[:2])

    read = torch.tensor(letters.space.encode(["moss fern", "moss quar"]))
    torch.testing.assert_close(answer.terms[:, 1], letters.loss(read, FIRST[:2]))
    torch.testing.assert_close(problem.losses_and_gradients(words, FIRST[:2]).losses, answer.losses)
    with pytest.raises(InputError, match="'moss quartz' has 10 tokens for letters .* reads 1 to 8: shorten the prompt"):
        problem.score_texts(["moss quartz"], FIRST[:1])


@pytest.mark.parametrize(
    "optimizer",
    [
        GCG(GCGConfig(prompt_length=5, search_width=16)),
        GCG(GCGConfig(prompt_length=5, search_width=16, filter_ids=False)),
        PEZ(PEZConfig(prompt_length=5, restarts=4, lr=1.0)),
        RandomSearch(RandomSearchConfig(prompt_length=5, search_width=16)),
    ],
    ids=["gcg", "gcg-unfiltered", "pez", "random-search"],
)
def test_a_search_goes_on_past_prompts_that_another_model_cannot_hold(optimizer):
    """They are never the best, and nobody's search ends with them."""
    problem = problem_read_by_letters(21)
    (search,) = searches = begin(problem, optimizer, [Track(0)], seed=0)
    advance(problem, optimizer, searches, Budget(num_steps=8))
    best = search.tracks[0].best
    assert search.tracks[0].step == 8
    assert len(best.text.replace(" ", "")) <= 21
    assert problem.score_texts([best.text], FIRST[:1]).losses.item() == pytest.approx(best.loss)


def test_the_narrowest_of_the_models_with_the_searched_tokens_bounds_the_prompt():
    """Another one may read less of the same tokens, or stand in a longer template."""
    tokens, narrow = toy_tokens(), toy_tokens()
    narrow.max_length, narrow.name = 9, "narrow"
    template = Template("moss oak {optim_str}")
    terms = [BoundTerm("wide", ToyObjective(tokens)), BoundTerm("narrow", ToyObjective(narrow), 1.0, template)]

    problem = Problem(SearchSpace(tokens), terms)

    assert problem.space.max_length == 7
    with pytest.raises(ConstraintError, match="A prompt has 8 tokens, but narrow has room for 7 besides the template"):
        problem.space.check_length(8, "A prompt")


def test_running_out_of_memory_halves_the_batch_for_good():
    """The search goes on and does not run into the same wall again."""
    hungry = Hungry(toy_tokens())
    problem = problem_of(hungry)
    prompts = torch.arange(16).reshape(8, 2)
    target = torch.zeros(8, dtype=torch.int64)

    first = problem.losses(prompts, target)
    problem.losses(prompts + 1, target)

    assert hungry.rows == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    torch.testing.assert_close(first.losses, ToyObjective(toy_tokens()).loss(prompts, target))
    assert problem.batch_size == 2


@pytest.mark.parametrize("size", [0, -1, "4", 2.5, True])
def test_a_batch_has_a_whole_number_of_rows(size):
    """Anything else would end in an endless loop or an error far from here."""
    with pytest.raises(OptionError, match=f"batch_size is {size!r}, .* a whole number of at least 1"):
        problem_of(ToyObjective(toy_tokens()), batch_size=size)


def test_a_single_candidate_that_does_not_fit_is_an_error():
    """It is also the MemoryError that a caller would catch."""
    hungry = Hungry(toy_tokens())
    hungry.limit = 0
    with pytest.raises(MemoryError, match="Not even one candidate of 2 tokens fits into memory") as caught:
        problem_of(hungry).losses(PROMPTS, FIRST)
    assert isinstance(caught.value, CapacityError)


def test_an_ordinary_error_of_a_model_is_not_taken_for_lack_of_memory():
    """It is raised as it is."""

    class Broken(ToyObjective):
        def loss(self, candidates, target):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        problem_of(Broken(toy_tokens())).losses(PROMPTS, FIRST)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error(value):
    """The message names the objective."""

    class Broken(ToyObjective):
        def loss(self, candidates, target):
            return super().loss(candidates, target) + value

    with pytest.raises(NonFiniteLossError, match=r"'toy' answered (nan|inf) for 3 of 3 candidates"):
        problem_of(Broken(toy_tokens())).losses(PROMPTS, FIRST)


def test_one_number_for_the_whole_batch_is_a_breach_of_contract():
    """Broadcasting it back would make all candidates equal in silence."""

    class Averaging(ToyObjective):
        def loss(self, candidates, target):
            return super().loss(candidates, target).mean()

    with pytest.raises(PluginError, match="one number per candidate"):
        problem_of(Averaging(toy_tokens())).losses(PROMPTS, FIRST)


def test_a_text_is_scored_as_it_is_typed():
    """The loss of a text is that of its ids in the template."""
    problem = toy_problem()
    ids, loss = brute_force(problem, length=2)
    (text,) = problem.space.decode(ids[None])
    assert problem.score_texts([text], FIRST[:1]).losses.item() == pytest.approx(loss, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "has 0 tokens"), (" ".join(["moss"] * 17), "has 17 tokens for toy .* shorten the prompt")],
)
def test_a_text_without_or_with_too_many_tokens_cannot_be_scored(text, sentence):
    """The message says how many there may be."""
    with pytest.raises(InputError, match=sentence):
        toy_problem().score_texts([text], FIRST[:1])


def test_a_problem_needs_a_term():
    """There would be nothing to minimise."""
    with pytest.raises(AssemblyError, match="nothing to minimise"):
        Problem(SearchSpace(toy_tokens()), [])


def test_terms_must_agree_on_how_many_targets_there_are():
    """The message shows how many each has."""
    tokens = toy_tokens()
    terms = [BoundTerm("one", ToyObjective(tokens)), BoundTerm("two", ToyObjective(tokens, n_targets=2))]
    with pytest.raises(AssemblyError, match="'one': 1, 'two': 2"):
        Problem(SearchSpace(tokens), terms)


def test_what_is_likely_to_follow_comes_from_the_terms_that_know():
    """Without one of them it is an error."""

    @attrs.define(eq=False)
    class Mute:
        space: object
        n_targets: int = 1

        def loss(self, candidates, target):
            return torch.zeros(len(candidates))

    problem = toy_problem()
    log_probs = problem.next_token_log_probs(torch.empty(1, 0, dtype=torch.int64), FIRST[:1])
    assert log_probs.exp().sum().item() == pytest.approx(1.0)
    with pytest.raises(AssemblyError, match="knows what is likely to follow"):
        problem_of(Mute(toy_tokens())).next_token_log_probs(PROMPTS, FIRST)


@pytest.mark.parametrize("weight", [0.0, 0.02, 1.0, 30.0])
def test_a_weight_does_not_change_what_a_language_model_knows(weight):
    """It says how much the term counts in the loss."""
    objective = ToyObjective(toy_tokens())
    problem = Problem(SearchSpace(objective.space), [BoundTerm("toy", objective, weight)])
    empty = torch.empty(1, 0, dtype=torch.int64)
    known = objective.next_token_log_probs(empty, FIRST[:1])
    torch.testing.assert_close(problem.next_token_log_probs(empty, FIRST[:1]), known)


def test_two_language_models_have_a_say_by_their_weights():
    """The geometric mean, and still probabilities."""
    tokens = toy_tokens()
    first, second = ToyObjective(tokens, seed=1), ToyObjective(tokens, seed=2)
    problem = Problem(SearchSpace(tokens), [BoundTerm("a", first, 3.0), BoundTerm("b", second, 1.0)])
    empty = torch.empty(1, 0, dtype=torch.int64)

    mixed = problem.next_token_log_probs(empty, FIRST[:1]).exp()

    one, other = (known.next_token_log_probs(empty, FIRST[:1]).exp() for known in (first, second))
    expected = one**0.75 * other**0.25
    torch.testing.assert_close(mixed, expected / expected.sum())


def test_constraints_take_words_away():
    """Banned words are never proposed; of allowed words nothing else is."""
    tokens = toy_tokens()
    banned = SearchSpace(tokens, Constraints(banned_words=("moss",)))
    allowed = SearchSpace(tokens, Constraints(allowed_words=("moss", "oak")))
    assert not banned.allowed[WORDS.index("moss")]
    assert [WORDS[index] for index in allowed.allowed_ids] == ["moss", "oak"]


def test_a_single_word_stands_for_a_list_of_one():
    """A text would otherwise be taken for its letters, and ban something else in silence."""
    assert Constraints(banned_words="moss", allowed_words="oak") == Constraints(
        banned_words=["moss"], allowed_words=["oak"]
    )


def test_constraints_that_leave_nothing_are_an_error():
    """The message shows them."""
    with pytest.raises(ValueError, match="No token of toy is left to search") as caught:
        SearchSpace(toy_tokens(), Constraints(banned_words=WORDS))
    assert "allows 24" in str(caught.value)


def _reordered_tokens():
    """Return the toy space with a tokenizer that numbers the words the other way round."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<end>", *WORDS[::-1]])}, "<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return TokenizerSpace(tokenizer, toy_tokens(seed=3).embedding, name="reordered", max_length=16, special_ids=(0,))


def _letter_tokens(max_length):
    """Return a space of one token a letter."""
    letters = {letter: index for index, letter in enumerate(sorted(set("".join(WORDS))))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    embedding = torch.randn(len(letters), 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return TokenizerSpace(tokenizer, embedding, name="letters", max_length=max_length, special_ids=())
