"""Runs saved and taken up again."""

import attrs
import pytest
import torch

from preimage import Pipeline, Stage, Term, checkpoint
from preimage.budget import Budget
from preimage.errors import CheckpointError, PluginError
from preimage.loop import advance, begin
from preimage.search import Search
from preimage.testing.toy import ToyObjective, toy_problem
from preimage.track import Track
from preimage_gcg.config import GCGConfig
from preimage_gcg.optimizer import GCG
from preimage_random_search.config import RandomSearchConfig
from preimage_random_search.optimizer import RandomSearch

OPTIMIZERS = {
    "gcg": lambda: GCG(GCGConfig(prompt_length=3, search_width=16, topk=8, momentum=0.5)),
    "gcg with a buffer": lambda: GCG(GCGConfig(prompt_length=3, search_width=16, buffer_size=4, beam_width=2)),
    "random search": lambda: RandomSearch(RandomSearchConfig(prompt_length=3, search_width=16)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_equal_five_saved_and_five_more(name, tmp_path):
    """Bit for bit, with everything built anew in between."""
    path = tmp_path / "run.safetensors"
    whole = [Track(0), Track(1)]
    problem, optimizer = toy_problem(n_targets=2), OPTIMIZERS[name]()
    searches = begin(problem, optimizer, whole, 3)
    advance(problem, optimizer, searches, Budget(num_steps=10))

    problem, optimizer = toy_problem(n_targets=2), OPTIMIZERS[name]()
    first = begin(problem, optimizer, [Track(0), Track(1)], 3)
    advance(problem, optimizer, first, Budget(num_steps=5))
    checkpoint.save(path, "identity", [tuple(first)], problem)

    problem, optimizer = toy_problem(n_targets=2), OPTIMIZERS[name]()
    saved = checkpoint.load(path, "identity", [optimizer], problem)
    advance(problem, optimizer, saved.searches, Budget(num_steps=10))

    for one, other in zip(searches, saved.searches, strict=True):
        assert torch.equal(one.state.current, other.state.current)
        assert torch.equal(one.rngs[0].get_state(), other.rngs[0].get_state())
        (a,), (b,) = one.tracks, other.tracks
        assert a.best == b.best
        assert [attrs.evolve(p, spent=attrs.evolve(p.spent, seconds=0)) for p in a.trajectory] == [
            attrs.evolve(p, spent=attrs.evolve(p.spent, seconds=0)) for p in b.trajectory
        ]


@pytest.mark.parametrize("budgets", [(3, 2), (6, 2), (3, 5), (6, 5)])
def test_stages_resumed_equal_a_run_from_the_beginning(budgets, tmp_path):
    """Whichever budget has grown: the search goes on in the first such stage, and what came after is done again."""
    target = ToyObjective(toy_problem().space.tokens, n_targets=2)

    def pipeline(*steps):
        optimizers = [
            RandomSearch(RandomSearchConfig(prompt_length=3, search_width=4)),
            GCG(GCGConfig(search_width=4, topk=4)),
        ]
        stages = [
            Stage(optimizer=one, budget=Budget(num_steps=count)) for one, count in zip(optimizers, steps, strict=True)
        ]
        return Pipeline(stages=stages, terms=[Term(objective=target)])

    def shape(result):
        points = [(point.stage, point.step, point.loss, point.best_text) for point in result.trajectory]
        return result.text, result.loss, result.spent.candidates, points

    path = tmp_path / "run.safetensors"
    pipeline(3, 2).run(["one", "two"], seed=4, checkpoint=path)
    resumed = pipeline(*budgets).run(["one", "two"], seed=4, checkpoint=path, resume=True)
    straight = pipeline(*budgets).run(["one", "two"], seed=4)

    assert [shape(result) for result in resumed] == [shape(result) for result in straight]
    assert [point.stage for point in resumed[0].trajectory] == [0] * budgets[0] + [1] * budgets[1]


def test_a_run_with_other_options_is_not_taken_up(tmp_path):
    """The message says that only the budget may differ."""
    problem = toy_problem()
    checkpoint.save(tmp_path / "run", "one", [()], problem)
    with pytest.raises(CheckpointError, match="only the budget may differ"):
        checkpoint.load(tmp_path / "run", "another", [], problem)


@pytest.mark.parametrize("content", [b"", b"not a run", b"\x00" * 64])
def test_a_damaged_file_is_not_taken_up(tmp_path, content):
    """Whatever is in it."""
    (tmp_path / "run").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as a saved run"):
        checkpoint.load(tmp_path / "run", "identity", [], toy_problem())


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    """Rather than a traceback from a library."""
    with pytest.raises(CheckpointError, match="cannot be read as a saved run"):
        checkpoint.load(tmp_path / "none", "identity", [], toy_problem())


def test_a_kill_while_saving_leaves_the_previous_run_whole(tmp_path, monkeypatch):
    """The new one is written beside it and renamed."""
    problem = toy_problem()
    checkpoint.save(tmp_path / "run", "identity", [()], problem)
    before = (tmp_path / "run").read_bytes()

    def fail(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "run", "identity", [(), ()], problem)
    assert (tmp_path / "run").read_bytes() == before


def test_a_state_that_cannot_be_saved_names_what_it_holds(tmp_path):
    """States are tensors, numbers, texts and tuples of these."""

    @attrs.frozen(eq=False)
    class Odd:
        current: torch.Tensor
        extra: object
        done: bool = False

    odd = Search(Odd(torch.zeros(1), {1, 2}), (torch.Generator(),), [Track(0)])
    with pytest.raises(PluginError, match="The state Odd holds a set, which cannot be saved"):
        checkpoint.save(tmp_path / "run", "identity", [(odd,)], toy_problem())
