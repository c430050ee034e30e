"""Pipelines carried out: stages, observers, checkpoints, interruptions, results."""

import attrs
import pytest
import torch

from preimage import Budget, Catalogue, Pipeline, Stage, Term, hookimpl, rerun
from preimage.errors import AssemblyError, BudgetError, CheckpointError, InputError
from preimage.search_space import Constraints
from preimage.settings import Settings
from preimage.testing.toy import ToyObjective, toy_tokens
from preimage_gcg.config import GCGConfig
from preimage_gcg.optimizer import GCG
from preimage_random_search.config import RandomSearchConfig
from preimage_random_search.optimizer import RandomSearch

TARGETS = ["first", "second"]


@pytest.fixture
def catalogue():
    return Catalogue(Settings(), path=())


def live_pipeline(*budgets, n_targets=2, **options):
    """Return a pipeline of live objects on the toy world: random search first, then GCG if there are two budgets."""
    options = {"prompt_length": 3, "search_width": 8, **options}
    optimizers = [GCG(GCGConfig(topk=12, **options))]
    if len(budgets) == 2:
        optimizers.insert(0, RandomSearch(RandomSearchConfig(**options)))
    stages = [Stage(optimizer=optimizer, budget=budget) for optimizer, budget in zip(optimizers, budgets, strict=True)]
    return Pipeline(stages=stages, terms=[Term(objective=ToyObjective(toy_tokens(), n_targets=n_targets))])


def gist(results):
    """Return what must not depend on how a run was carried out."""
    return [
        (result.text, result.ids, result.loss, [(p.stage, p.step, p.best_loss) for p in result.trajectory])
        for result in results
    ]


def costs(results):
    """Return what each run has spent besides time, in all and by each step of its history."""
    return [
        [attrs.evolve(spent, seconds=0) for spent in (result.spent, *(point.spent for point in result.trajectory))]
        for result in results
    ]


class Counting:
    """An observer that writes down what it is told."""

    def __init__(self):
        self.heard = []

    @hookimpl
    def run_started(self, event):
        self.heard.append(("started", event.optimizer, event.n_runs))

    @hookimpl
    def step_finished(self, event):
        self.heard.append(("step", event.step))

    @hookimpl
    def run_finished(self, results):
        self.heard.append(("finished", len(results)))


def test_observers_are_told_once_a_step_and_never_more(catalogue):
    """One call per run begun, step and run ended: nothing below the step."""
    observer = Counting()
    with catalogue.observers.register(observer):
        live_pipeline(Budget(num_steps=4)).run(TARGETS, catalogue=catalogue)
    assert observer.heard == [("started", "GCG", 2), *(("step", n) for n in range(1, 5)), ("finished", 2)]


def test_no_event_is_made_when_nobody_listens(catalogue, monkeypatch):
    """A hook that nobody implements costs nothing."""

    def fail(_searches):
        raise AssertionError("an event was made")

    monkeypatch.setattr("preimage.loop._event", fail)
    live_pipeline(Budget(num_steps=2)).run(TARGETS, catalogue=catalogue)


def test_two_terms_of_one_name_keep_their_breakdown(catalogue):
    """The second is numbered, so that the weighted sum of what a result shows is its loss."""
    tokens = toy_tokens()
    terms = [Term(objective=ToyObjective(tokens, seed=seed), weight=weight) for seed, weight in ((1, 1.0), (2, 0.5))]
    pipeline = attrs.evolve(live_pipeline(Budget(num_steps=2)), terms=terms)
    (result,) = pipeline.run(TARGETS[:1], catalogue=catalogue)
    assert list(result.terms) == ["ToyObjective", "ToyObjective #2"]
    assert result.terms["ToyObjective"] + 0.5 * result.terms["ToyObjective #2"] == pytest.approx(result.loss)


def test_the_second_stage_starts_from_the_best_of_the_first(catalogue):
    """And the history goes on."""
    whole = live_pipeline(Budget(num_steps=6), Budget(num_steps=6)).run(TARGETS, catalogue=catalogue)
    for result in whole:
        assert [(p.stage, p.step) for p in result.trajectory] == [(s, n) for s in (0, 1) for n in range(1, 7)]
        bests = [point.best_loss for point in result.trajectory]
        assert bests == sorted(bests, reverse=True)
        assert result.spent.candidates == result.trajectory[-1].spent.candidates


def test_each_stage_has_its_own_budget(catalogue):
    """Counted from where it began."""
    pipeline = live_pipeline(Budget(max_candidates=50), Budget(max_candidates=70))
    for result in pipeline.run(TARGETS, catalogue=catalogue):
        assert result.spent.candidates == 120


@pytest.mark.parametrize(
    ("first", "total", "stops", "cost"),
    [
        (Budget(num_steps=2), Budget(max_candidates=100), "max_candidates", (100, None)),
        (Budget(num_steps=2), Budget(num_steps=6), "num_steps", (None, 6)),
        (Budget(num_steps=50), Budget(num_steps=6), "num_steps", (None, 6)),
    ],
)
def test_stages_share_the_budget_of_the_pipeline(catalogue, first, total, stops, cost):
    """What the first leaves is the second's; nothing is lost and nothing spent twice."""
    pipeline = attrs.evolve(live_pipeline(first, Budget(num_steps=100)), budget=total)
    for result in pipeline.run(TARGETS, catalogue=catalogue):
        assert result.stop_reason == stops
        candidates, steps = cost
        assert candidates in (None, result.spent.candidates)
        assert steps in (None, len(result.trajectory))


def test_the_budget_of_a_pipeline_counts_what_no_stage_has_to_itself():
    """Patience would not know which stage is meant."""
    with pytest.raises(BudgetError, match="patience and target_loss end a stage"):
        attrs.evolve(live_pipeline(Budget(num_steps=1)), budget=Budget(num_steps=2, patience=1))


@pytest.mark.parametrize("budgets", [(3,), (3, 5), (8, 2)])
def test_a_run_taken_up_again_equals_one_that_was_not_interrupted(catalogue, tmp_path, budgets):
    """In whichever stage it stopped."""
    path = tmp_path / "run.safetensors"
    full = [Budget(num_steps=8), Budget(num_steps=6)]
    undisturbed = live_pipeline(*full).run(TARGETS, catalogue=catalogue)

    stopped = _StopAfter(budgets[0] if len(budgets) == 1 else 8 + budgets[1])
    live_pipeline(*full).run(TARGETS, catalogue=catalogue, checkpoint=path, listeners=[stopped])
    resumed = live_pipeline(*full).run(TARGETS, catalogue=catalogue, checkpoint=path, resume=True)

    assert gist(resumed) == gist(undisturbed)


def test_a_larger_budget_goes_on_where_the_smaller_ended(catalogue, tmp_path):
    """The budget is the one thing that may differ."""
    path = tmp_path / "run.safetensors"
    live_pipeline(Budget(num_steps=5)).run(TARGETS, catalogue=catalogue, checkpoint=path)
    resumed = live_pipeline(Budget(num_steps=10)).run(TARGETS, catalogue=catalogue, checkpoint=path, resume=True)
    assert gist(resumed) == gist(live_pipeline(Budget(num_steps=10)).run(TARGETS, catalogue=catalogue))


def test_a_step_that_the_budget_cut_short_is_repeated_and_paid_once(catalogue, tmp_path):
    """More candidates later give what as many at once do, to the last pass."""
    path = tmp_path / "run.safetensors"
    (short, _) = live_pipeline(Budget(max_candidates=23)).run(TARGETS, catalogue=catalogue, checkpoint=path)
    resumed = live_pipeline(Budget(max_candidates=60)).run(TARGETS, catalogue=catalogue, checkpoint=path, resume=True)
    straight = live_pipeline(Budget(max_candidates=60)).run(TARGETS, catalogue=catalogue)

    assert short.spent.candidates == 23
    assert gist(resumed) == gist(straight)
    assert costs(resumed) == costs(straight)


@pytest.mark.parametrize(("first", "begins"), [(20, 1), (45, 0)])
def test_a_stage_that_was_cut_short_goes_on_only_with_more(catalogue, tmp_path, first, begins):
    """With the same budget it stays as it ended, its last candidates included."""
    path, heard = tmp_path / "run.safetensors", []

    def pipeline(candidates, steps):
        return live_pipeline(Budget(max_candidates=candidates), Budget(num_steps=steps))

    pipeline(20, 2).run(TARGETS, catalogue=catalogue, checkpoint=path)
    options = {"catalogue": catalogue, "checkpoint": path, "resume": True, "listeners": [heard.append]}
    resumed = pipeline(first, 5).run(TARGETS, **options)
    straight = pipeline(first, 5).run(TARGETS, catalogue=catalogue)

    assert heard[0].stage == begins
    assert gist(resumed) == gist(straight)
    assert [result.spent.candidates for result in resumed] == [result.spent.candidates for result in straight]


@pytest.mark.parametrize("budgets", [(2, 5), (4, 3)])
def test_coverage_counts_on_where_the_run_is_taken_up(catalogue, tmp_path, budgets):
    """From the beginning of the run, without the stages that are done again."""

    @attrs.define
    class Served:
        words: int = 0

    class Counted:
        """An adapter between spaces of the same words."""

        def __init__(self):
            self.coverage = Served()

        def pull_back(self, ids, translated, gradient):
            self.coverage.words += ids.numel()
            return gradient

    def pipeline(*steps):
        optimizer = GCG(GCGConfig(prompt_length=3, search_width=4, topk=4))
        terms = [
            Term(objective=ToyObjective(toy_tokens(), n_targets=2)),
            Term(objective=ToyObjective(toy_tokens(seed=1), n_targets=2), adapter=Counted()),
        ]
        return Pipeline(stages=[Stage(optimizer=optimizer, budget=Budget(num_steps=n)) for n in steps], terms=terms)

    path = tmp_path / "run.safetensors"
    pipeline(2, 3).run(TARGETS, catalogue=catalogue, checkpoint=path)
    resumed = pipeline(*budgets).run(TARGETS, catalogue=catalogue, checkpoint=path, resume=True)
    straight = pipeline(*budgets).run(TARGETS, catalogue=catalogue)

    assert resumed[0].coverage == straight[0].coverage == {"ToyObjective #2": {"words": sum(budgets) * 2 * 3}}


def test_other_options_do_not_take_up_the_run(catalogue, tmp_path):
    """Also those of live objects."""
    path = tmp_path / "run.safetensors"
    live_pipeline(Budget(num_steps=2)).run(TARGETS, catalogue=catalogue, checkpoint=path)
    other = live_pipeline(Budget(num_steps=2), search_width=9)
    with pytest.raises(CheckpointError, match="other options, models, targets or seed"):
        other.run(TARGETS, catalogue=catalogue, checkpoint=path, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"template": "oak {optim_str}"},
        {"weight": 2.0},
        {"objective": type("Other", (ToyObjective,), {})(toy_tokens(), n_targets=2)},
        {"targets": ["third", "fourth"]},
        {"constraints": Constraints(banned_words=["oak"])},
        {"dtype": "bfloat16"},
    ],
)
def test_live_objects_leave_nothing_else_out_of_a_checkpoint_s_identity(catalogue, tmp_path, change):
    """What has a name, and what live objects show of themselves, tells the runs apart."""
    path = tmp_path / "run.safetensors"
    pipeline = live_pipeline(Budget(num_steps=2))
    pipeline.run(TARGETS, catalogue=catalogue, checkpoint=path)
    names = {field.name for field in attrs.fields(Term)}
    (term,) = pipeline.terms
    term = attrs.evolve(term, **{name: value for name, value in change.items() if name in names})
    rest = {name: value for name, value in change.items() if name not in names}
    other = attrs.evolve(pipeline, terms=[term], **rest)
    with pytest.raises(CheckpointError, match="other options, models, targets or seed"):
        other.run(TARGETS, catalogue=catalogue, checkpoint=path, resume=True)


def test_resuming_what_was_never_saved_begins(catalogue, tmp_path):
    """So that one command line serves the first run and all others."""
    path = tmp_path / "run.safetensors"
    results = live_pipeline(Budget(num_steps=2)).run(TARGETS, catalogue=catalogue, checkpoint=path, resume=True)
    assert path.exists()
    assert gist(results) == gist(live_pipeline(Budget(num_steps=2)).run(TARGETS, catalogue=catalogue))


def test_an_interruption_keeps_the_best(catalogue):
    """Whatever has been found by then is returned."""
    stop = _StopAfter(3)
    results = live_pipeline(Budget(num_steps=50)).run(TARGETS, catalogue=catalogue, listeners=[stop])
    for result in results:
        assert result.stop_reason == "interrupted"
        assert len(result.trajectory) == 3
        assert result.loss == pytest.approx(result.trajectory[-1].best_loss)


def test_an_interruption_in_the_middle_of_a_step_is_taken_up_bit_for_bit(catalogue, tmp_path):
    """The step that was under way is repeated with the same random numbers."""

    class Interrupting(ToyObjective):
        calls = 0

        def loss(self, candidates, target):
            self.calls += 1
            if self.calls == 7:
                raise KeyboardInterrupt
            return super().loss(candidates, target)

    path = tmp_path / "run.safetensors"
    pipeline = live_pipeline(Budget(num_steps=8))
    interrupted = attrs.evolve(pipeline, terms=[Term(objective=Interrupting(toy_tokens(), n_targets=2))])
    (stopped, _) = interrupted.run(TARGETS, catalogue=catalogue, checkpoint=path)
    assert stopped.stop_reason == "interrupted"

    resumed = interrupted.run(TARGETS, catalogue=catalogue, checkpoint=path, resume=True)
    undisturbed = pipeline.run(TARGETS, catalogue=catalogue)
    assert gist(resumed) == gist(undisturbed)
    assert costs(resumed) == costs(undisturbed)


def test_an_interruption_before_there_is_a_prompt_is_an_interruption(catalogue):
    """There is nothing to return."""

    class Interrupted(GCG):
        def start(self, space, rng, initial):
            raise KeyboardInterrupt

    pipeline = live_pipeline(Budget(num_steps=1))
    pipeline = attrs.evolve(pipeline, stages=[Stage(optimizer=Interrupted(GCGConfig()), budget=Budget(num_steps=1))])
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(TARGETS, catalogue=catalogue)


def test_the_same_seed_gives_the_same_results_and_another_does_not(catalogue):
    """The global random state has no say."""
    torch.manual_seed(1)
    first = gist(live_pipeline(Budget(num_steps=3)).run(TARGETS, seed=5, catalogue=catalogue))
    torch.manual_seed(2)
    again = gist(live_pipeline(Budget(num_steps=3)).run(TARGETS, seed=5, catalogue=catalogue))
    other = gist(live_pipeline(Budget(num_steps=3)).run(TARGETS, seed=6, catalogue=catalogue))
    assert first == again
    assert first != other


def test_a_result_of_live_objects_says_that_it_cannot_be_rerun(catalogue):
    """It has no names to find them again by."""
    (result, _) = live_pipeline(Budget(num_steps=1)).run(TARGETS, catalogue=catalogue)
    assert result.provenance.recipe == {}
    with pytest.raises(InputError, match="made with live objects"):
        rerun(result)


def test_a_result_knows_what_made_it(catalogue):
    """Versions, seed and cost."""
    (result, _) = live_pipeline(Budget(num_steps=2)).run(TARGETS, seed=9, catalogue=catalogue)
    assert result.provenance.seed == 9
    assert {"python", "torch", "preimage"} <= set(result.provenance.versions)
    assert result.target.kind == "text"
    assert result.target.name == "first"


def test_as_many_targets_as_the_objectives_were_bound_to(catalogue):
    """Otherwise the message counts both."""
    with pytest.raises(AssemblyError, match="bound to 2 targets and the pipeline is run on 3"):
        live_pipeline(Budget(num_steps=1)).run(["a", "b", "c"], catalogue=catalogue)


@pytest.mark.parametrize(("targets", "sentence"), [([], "There is no target"), ("picture.png", "give a list")])
def test_targets_are_a_list_with_something_in_it(catalogue, targets, sentence):
    """Also for a single one."""
    with pytest.raises(InputError, match=sentence):
        live_pipeline(Budget(num_steps=1)).run(targets, catalogue=catalogue)


class _StopAfter:
    """A listener that presses Ctrl-C after a number of steps, over all stages."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self, event):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
