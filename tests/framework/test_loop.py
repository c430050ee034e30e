"""The loop: lockstep, budgets, the best, and what may be called the best."""

import attrs
import pytest
import torch

from preimage.api import Gradients, Losses, NextTokens
from preimage.api.events import Spent
from preimage.budget import Budget
from preimage.errors import ConstraintError, PluginError
from preimage.loop import advance, begin
from preimage.problem import BoundTerm, Problem
from preimage.search_space import Constraints, SearchSpace
from preimage.testing.toy import ToyObjective, brute_force, toy_problem
from preimage.text_space import TokenizerSpace
from preimage.track import Best, Track
from preimage_gcg.config import GCGConfig
from preimage_gcg.optimizer import GCG
from preimage_random_search.config import RandomSearchConfig
from preimage_random_search.optimizer import RandomSearch


def gcg(**options):
    return GCG(GCGConfig(**{"prompt_length": 2, "search_width": 8, "topk": 24, **options}))


def random_search(**options):
    return RandomSearch(RandomSearchConfig(**{"prompt_length": 2, "search_width": 8, **options}))


def search(problem, optimizer, budget, *, seed=0, targets=None, **options):
    tracks = [Track(target) for target in targets or range(problem.n_targets)]
    advance(problem, optimizer, begin(problem, optimizer, tracks, seed), budget, **options)
    return tracks


@attrs.frozen(eq=False)
class WalkState:
    current: torch.Tensor
    done: bool = False


class Walk:
    """Asks for whatever it was given, step after step."""

    requires = frozenset()
    rowwise = False
    State = WalkState

    def __init__(self, *requests, start=(0, 0)):
        self.requests = requests
        self.answers = []
        self.first = torch.tensor(start)

    def start(self, space, rng, initial):
        return WalkState(self.first)

    def step(self, space, state, rng):
        for request in self.requests:
            self.answers.append((yield request))
        return state


@pytest.mark.parametrize("make", [gcg, random_search])
def test_the_brute_force_optimum_is_found(make):
    """On two tokens of 24 words."""
    problem = toy_problem()
    ids, loss = brute_force(problem, length=2)
    (track,) = search(problem, make(), Budget(num_steps=200))
    assert track.best.ids == tuple(ids.tolist())
    assert track.best.loss == pytest.approx(loss)


@pytest.mark.parametrize("make", [gcg, random_search])
def test_runs_in_lockstep_take_the_path_they_take_alone(make):
    """Company changes nothing but the cost."""
    together = search(toy_problem(n_targets=3), make(), Budget(num_steps=8))
    for target, track in enumerate(together):
        (alone,) = search(toy_problem(n_targets=3), make(), Budget(num_steps=8), targets=[target])
        assert alone.best == track.best
        assert [point.best_text for point in alone.trajectory] == [point.best_text for point in track.trajectory]


def test_lockstep_joins_the_requests_of_all_runs_into_one_pass():
    """One call of the objective a request, however many targets there are."""
    calls = []

    class Counting(ToyObjective):
        def loss_and_gradient(self, candidates, target):
            calls.append(target.tolist())
            return super().loss_and_gradient(candidates, target)

    tokens = toy_problem().space.tokens
    problem = Problem(SearchSpace(tokens), [BoundTerm("toy", Counting(tokens, n_targets=3))])
    search(problem, gcg(), Budget(num_steps=2))
    assert calls == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("limit", [1, 7, 17, 40])
def test_candidates_are_spent_to_the_last_one_and_no_further(limit):
    """So that methods can be compared at equal cost."""
    (track,) = search(toy_problem(), gcg(), Budget(max_candidates=limit))
    assert track.spent.candidates == limit
    assert track.stop_reason == "max_candidates"


def test_steps_are_counted_exactly():
    """And written down one by one."""
    (track,) = search(toy_problem(), gcg(), Budget(num_steps=5))
    assert [point.step for point in track.trajectory] == [1, 2, 3, 4, 5]
    assert track.stop_reason == "num_steps"


def test_seconds_end_a_run_after_the_step_they_ran_out_in():
    """The clock is looked at between steps."""
    (track,) = search(toy_problem(), gcg(), Budget(max_seconds=1e-9))
    assert (track.step, track.stop_reason) == (1, "max_seconds")


def test_patience_ends_a_run_that_has_stopped_improving():
    """Counted from the last improvement."""
    (track,) = search(toy_problem(), gcg(), Budget(num_steps=500, patience=20))
    assert track.stop_reason == "patience"
    assert track.step == track.improved_at + 20


def test_patience_counts_the_steps_after_the_one_that_improved():
    """One step of patience is one step without an improvement, not the very step that improved."""

    class Downhill(Walk):
        def step(self, space, state, rng):
            following = path[path.index(state.current.tolist()) + 1]
            yield Losses(torch.tensor([following]))
            return WalkState(torch.tensor(following))

    problem = toy_problem()
    pairs = torch.arange(24)[:, None].repeat(1, 2)
    worst_first = problem.losses(pairs, torch.zeros(24, dtype=torch.int64)).losses.argsort(descending=True)
    path = pairs[worst_first[[3, 4, 5, 6, 0, 1, 2]]].tolist()
    (track,) = search(problem, Downhill(start=path[0]), Budget(num_steps=6, patience=1))

    assert (track.step, track.best.step, track.stop_reason) == (4, 3, "patience")


def test_a_loss_that_is_low_enough_ends_a_run():
    """As soon as it is reached."""
    problem = toy_problem()
    _, loss = brute_force(problem, length=2)
    (track,) = search(problem, gcg(), Budget(num_steps=500, target_loss=loss + 1e-9))
    assert track.stop_reason == "target_loss"


def test_a_run_that_is_over_is_not_stepped_any_more():
    """While the others go on."""
    problem = toy_problem(n_targets=2)
    _, loss = brute_force(problem, length=2, target=0)
    first, second = search(problem, gcg(), Budget(num_steps=80, target_loss=loss + 1e-9))
    assert first.stop_reason == "target_loss"
    assert (second.step, second.stop_reason) == (80, "num_steps")
    assert first.step < 80


def test_the_best_never_worsens():
    """However the current prompt wanders."""
    (track,) = search(toy_problem(), gcg(search_width=2), Budget(num_steps=40))
    bests = [point.best_loss for point in track.trajectory]
    assert bests == sorted(bests, reverse=True)
    assert any(point.loss > point.best_loss for point in track.trajectory)


def test_of_equal_losses_the_shorter_prompt_is_the_best():
    """Not the earlier one, and a longer one never."""

    def best(*ids):
        return Best(" ".join(map(str, ids)), ids, 0.5, (0.5,), 0)

    track, losses = Track(0), torch.tensor([0.4, 0.5, 0.6])
    assert track.would_improve(losses, 9).all()
    track.improve(best(1, 2, 3))
    for length, expected in ((2, [True, True, False]), (3, [True, False, False]), (4, [True, False, False])):
        assert track.would_improve(losses, length).tolist() == expected
    track.improve(best(4, 5))
    track.improve(best(6, 7, 8))
    track.improve(best(9, 9))

    assert track.best.ids == (4, 5)


def test_a_prompt_that_reads_back_differently_is_never_the_best():
    """The text it turns into may be."""
    problem = _merging_problem()
    unstable = torch.tensor([[0, 1]])  # "a" + "b", which is read as the one token "ab"
    tracks = [Track(0)]
    optimizer = Walk(Losses(unstable), start=(2, 2))
    advance(problem, optimizer, begin(problem, optimizer, tracks, 0), Budget(num_steps=1))
    best = tracks[0].best
    (ids,) = problem.space.encode([best.text])
    assert tuple(ids) == best.ids
    assert best.loss == problem.score_texts([best.text], torch.tensor([0])).losses.item()
    assert (best.text, best.step) == ("ab", 1)


def test_prompts_that_read_as_more_than_fits_are_not_blamed_on_the_plugin():
    """The message says what to shorten; an optimizer that asks about nothing is a plugin's fault."""
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, []))
    tokenizer.decoder = decoders.Fuse()
    tokens = TokenizerSpace(tokenizer, torch.ones(3, 6).double(), name="splitting", max_length=3, special_ids=())
    problem = Problem(SearchSpace(tokens), [BoundTerm("toy", ToyObjective(tokens))])
    long = torch.tensor([[2, 2]])  # "abab", which is read as four tokens
    with pytest.raises(ConstraintError, match="None of the 1 prompts that Walk .* as 1 to 3 tokens"):
        search(problem, Walk(Losses(long), start=(2, 2)), Budget(num_steps=1))
    with pytest.raises(PluginError, match="has to ask for the loss of at least one"):
        search(problem, Walk(start=(2, 2)), Budget(num_steps=1))


def test_reading_back_brings_in_no_token_that_may_not_be_proposed():
    """A banned word that two allowed tokens are read as is no result; what the user started from may be."""
    banned = Constraints(banned_words=["ab"])
    unstable = torch.tensor([[0, 1]])
    for start, best in (((2, 2), "cc"), ((0, 1), "ab"), ((2, 3), "cab")):
        problem, optimizer = _merging_problem(banned), Walk(Losses(unstable), start=start)
        (track,) = search(problem, optimizer, Budget(num_steps=1))
        assert track.best.text == best


def test_a_candidate_may_keep_the_tokens_it_was_made_from():
    """A banned word that a candidate itself holds was in the user's start."""
    problem = _merging_problem(Constraints(banned_words=["ab"]))
    optimizer = Walk(Losses(torch.tensor([[0, 1, 3]])), start=(2, 3))  # "abab", which is read as two tokens
    (track,) = search(problem, optimizer, Budget(num_steps=1))
    assert track.best.text == "abab"


def test_the_cost_is_counted_by_the_host():
    """One forward and one backward row for the gradient, one forward row for each new candidate."""
    problem = toy_problem()
    prompts = torch.tensor([[0, 1], [2, 3], [0, 1]])
    (track,) = search(problem, Walk(Gradients(prompts[:1]), Losses(prompts)), Budget(num_steps=1))
    assert track.spent.candidates == 4
    assert track.spent.backward == 1
    assert track.spent.forward == 1 + 1 + 2  # the start's text, the gradient, two new candidates


def test_a_step_that_the_budget_cuts_short_is_not_part_of_the_state():
    """So that a larger budget goes on as if there had been no limit."""
    problem, optimizer = toy_problem(), gcg()
    tracks = [Track(0)]
    searches = begin(problem, optimizer, tracks, 0)
    advance(problem, optimizer, searches, Budget(max_candidates=2 * 17 + 5))
    tracks[0].stop_reason = None
    advance(problem, optimizer, searches, Budget(num_steps=6))

    (undisturbed,) = search(toy_problem(), gcg(), Budget(num_steps=6))
    assert tracks[0].best.ids == undisturbed.best.ids
    reference = begin(toy_problem(), gcg(), [Track(0)], 0)
    advance(toy_problem(), gcg(), reference, Budget(num_steps=6))
    assert searches[0].state.prompts.tolist() == reference[0].state.prompts.tolist()


def test_listeners_hear_each_step_once():
    """With the best of every run."""
    events = []
    search(toy_problem(n_targets=2), gcg(), Budget(num_steps=3), listeners=[events.append])
    assert [event.step for event in events] == [1, 2, 3]
    assert all(len(event.best_text) == 2 for event in events)
    assert events[-1].running == 0


def test_what_is_likely_to_follow_can_be_asked():
    """It costs a forward pass."""
    heard = []

    class Asking(Walk):
        def step(self, space, state, rng):
            heard.append((yield NextTokens(torch.empty(1, 0, dtype=torch.int64))))
            yield Losses(state.current[None])
            return state

    (track,) = search(toy_problem(), Asking(), Budget(num_steps=1))
    assert heard[0].shape == (1, 25)
    assert track.spent.forward == 3  # the start's text, what follows, the current prompt


def test_a_rowwise_optimizer_carries_all_runs_in_one_state():
    """Each row is charged to, and kept for, its own run."""

    @attrs.frozen(eq=False)
    class Rows:
        current: torch.Tensor
        done: bool = False

    class Rowwise:
        requires = frozenset({"gradient"})
        rowwise = True
        State = Rows

        def start(self, space, rng, initial):
            assert len(rng) == 3
            return Rows(torch.stack(initial))

        def step(self, space, state, rng):
            restarts = state.current.repeat_interleave(2, dim=0)
            run = torch.arange(len(state.current)).repeat_interleave(2)
            _, gradient = yield Gradients(restarts, run)
            assert gradient.shape[:2] == restarts.shape
            nudged = (restarts + torch.arange(2).repeat(len(state.current))[:, None]) % 24
            losses = yield Losses(nudged, run)
            best = losses.reshape(-1, 2).argmin(1)
            return Rows(nudged.reshape(len(state.current), 2, -1)[torch.arange(len(best)), best])

    problem = toy_problem(n_targets=3)
    tracks = [Track(target) for target in range(3)]
    advance(problem, gcg(), begin(problem, gcg(), tracks, 0), Budget(num_steps=1))
    before = [track.spent.candidates for track in tracks]
    searches = begin(problem, Rowwise(), tracks, 0, stage=1)
    advance(problem, Rowwise(), searches, Budget(num_steps=2))
    assert len(searches) == 1
    assert [track.spent.candidates - start for track, start in zip(tracks, before, strict=True)] == [8, 8, 8]


@attrs.frozen(eq=False)
class Rows:
    current: torch.Tensor
    done: bool = False


class Cycle:
    """A rowwise optimizer whose runs go through the vocabulary, token by token."""

    requires = frozenset()
    rowwise = True
    State = Rows

    def start(self, space, rng, initial):
        given = [torch.tensor([5, 9]) if ids is None else ids for ids in initial]
        return Rows(torch.stack(given))

    def step(self, space, state, rng):
        yield Losses(state.current)
        return Rows((state.current + 1) % 24)


@pytest.mark.parametrize(
    "budget",
    [Budget(num_steps=30, patience=4), Budget(num_steps=30, target_loss=3.0), Budget(max_candidates=9, patience=4)],
)
def test_a_run_that_has_stopped_is_neither_charged_nor_improved_by_its_company(budget):
    """Rows of a rowwise optimizer's finished runs are answered, because its state goes on, but count no more."""

    def run(targets):
        problem = toy_problem(n_targets=3)
        tracks = [Track(target) for target in targets]
        advance(problem, Cycle(), begin(problem, Cycle(), tracks, 0), budget)
        return [(track.best, track.spent.candidates, track.step, track.stop_reason) for track in tracks]

    together = run([0, 1, 2])
    assert together == [*run([0]), *run([1]), *run([2])]


def test_a_run_whose_budget_ends_in_the_midst_of_a_step_costs_its_company_nothing():
    """The others finish that step: each run gets what it gets alone."""

    class Trios(Cycle):
        def step(self, space, state, rng):
            rows = (state.current[:, None] + torch.arange(3)[:, None]) % 24
            yield Losses(rows.flatten(0, 1), torch.arange(len(rows)).repeat_interleave(3))
            return Rows((state.current + 3) % 24)

    def run(targets):
        problem = toy_problem(n_targets=3)
        tracks = [Track(target, spent=Spent(candidates=7 * target)) for target in targets]
        searches = begin(problem, Trios(), tracks, 0)
        advance(problem, Trios(), searches, Budget(num_steps=30), total=Budget(max_candidates=20))
        return [(track.best, _history(track), track.step, track.stop_reason) for track in tracks]

    together = run([0, 1, 2])
    assert together == [*run([0]), *run([1]), *run([2])]
    assert [(step, points[-1][1].candidates) for _, points, step, _ in together] == [(6, 20), (4, 20), (2, 20)]


def test_starts_of_different_lengths_become_states_of_their_own():
    """What earlier stages hand on need not be equally long; every state's rows are."""
    problem = toy_problem(n_targets=3)
    tracks = [Track(target) for target in range(3)]
    for track, text in zip(tracks, ("oak", "fern moss", "reed"), strict=True):
        track.best = Best(text, tuple(problem.space.encode([text])[0]), 9e9, (9e9,), 0)
    searches = begin(problem, Cycle(), tracks, 0)
    advance(problem, Cycle(), searches, Budget(num_steps=3))

    assert [[track.target for track in search.tracks] for search in searches] == [[0, 2], [1]]
    assert [track.spent.candidates for track in tracks] == [3, 3, 3]
    assert [len(track.best.ids) for track in tracks] == [1, 2, 1]


def test_rows_that_belong_to_nobody_are_refused():
    """A rowwise optimizer says which run each row belongs to."""

    class Vague(Walk):
        rowwise = True

        def start(self, space, rng, initial):
            return WalkState(torch.stack(initial))

    problem = toy_problem(n_targets=2)
    tracks = [Track(0), Track(1)]
    advance(problem, gcg(), begin(problem, gcg(), tracks, 0), Budget(num_steps=1))
    optimizer = Vague(Losses(torch.tensor([[0, 1], [1, 2], [2, 3]])))
    with pytest.raises(PluginError, match="3 rows for 2 runs without saying which row"):
        advance(problem, optimizer, begin(problem, optimizer, tracks, 0), Budget(num_steps=1))


def test_a_step_that_asks_about_nothing_is_refused():
    """It was taken for one that the budget had cut short, and repeated without end."""
    with pytest.raises(PluginError, match="Walk asked about no rows"):
        search(toy_problem(), Walk(Losses(torch.empty(0, 2, dtype=torch.int64))), Budget(num_steps=1))


def test_a_step_may_only_ask_what_the_host_can_answer():
    """Anything else names the optimizer."""
    with pytest.raises(PluginError, match="Walk yielded 'loss'"):
        search(toy_problem(), Walk("loss"), Budget(num_steps=1))


def _history(track):
    return [(point.loss, attrs.evolve(point.spent, seconds=0)) for point in track.trajectory]


def _merging_problem(constraints=None):
    """Return a problem whose tokenizer reads the tokens "a" and "b" in a row as one, and where "c" alone is bad."""
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2, "ab": 3}, [("a", "b")]))
    tokenizer.decoder = decoders.Fuse()
    near, far = torch.ones(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    embedding = torch.stack([near, near, far, near])
    tokens = TokenizerSpace(tokenizer, embedding, name="merging", max_length=8, special_ids=())
    objective = ToyObjective(tokens)
    objective.hidden = near[None]
    return Problem(SearchSpace(tokens, constraints), [BoundTerm("toy", objective)])
