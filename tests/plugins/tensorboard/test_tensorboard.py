"""What TensorBoard is shown, and that nothing is written unless somebody has asked."""

from __future__ import annotations

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from preimage import Budget, Catalogue, Pipeline, Stage, Term
from preimage.errors import PluginError
from preimage.settings import Settings
from preimage.testing.toy import ToyObjective, toy_tokens
from preimage_random_search.config import RandomSearchConfig
from preimage_random_search.optimizer import RandomSearch
from preimage_tensorboard import plugin


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that searches with two stages, the plugin listening, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    catalogue = Catalogue(Settings(), path=())
    catalogue.observers.register(plugin)

    def run(objective=None, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        search = RandomSearch(RandomSearchConfig(prompt_length=3, search_width=8))
        pipeline = Pipeline(
            stages=[Stage(optimizer=search, budget=Budget(num_steps=steps)) for steps in (4, 3)],
            terms=[Term(objective=objective or ToyObjective(toy_tokens(), n_targets=2))],
        )
        return pipeline.run(["first", "the second"], seed=7, catalogue=catalogue)

    return run


def read(folder):
    """Return what TensorBoard reads from a folder."""
    log = EventAccumulator(str(folder))
    log.Reload()
    return log


def test_nothing_is_written_unless_asked(run, tmp_path):
    """Installing it changes nothing."""
    run()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["file", "environment"])
def test_every_step_of_every_run_can_be_seen(run, tmp_path, how):
    """Each run has a folder of its own, and its curve is the trajectory of its result."""
    if how == "file":
        (tmp_path / "preimage.toml").write_text('[observers]\ntensorboard = "runs"\n')
        results = run()
    else:
        results = run(PREIMAGE_OBSERVERS="tensorboard=runs")

    for result, name in zip(results, ["0-first", "1-the-second"], strict=True):
        (folder,) = (tmp_path / "runs/RandomSearch-RandomSearch" / name).glob("seed-7-*")
        log = read(folder)
        best = log.Scalars("loss/best")
        assert [event.step for event in best] == list(range(1, 8))
        assert [event.value for event in best] == pytest.approx([point.best_loss for point in result.trajectory])
        assert [event.value for event in log.Scalars("spent/candidates")] == [
            point.spent.candidates for point in result.trajectory
        ]
        shown = log.Tensors("result/text_summary")[0].tensor_proto.string_val[0].decode()
        assert shown.startswith(f"    {result.text}\n")


def test_runs_of_the_same_second_have_folders_of_their_own(run, tmp_path, monkeypatch):
    """Two recipes of a study may begin together; in one folder their curves would be one."""
    monkeypatch.setattr("preimage_tensorboard.writer.time.strftime", lambda form: "20261130-120000")
    for _ in range(3):
        run(PREIMAGE_OBSERVERS="tensorboard=runs")

    folders = sorted((tmp_path / "runs/RandomSearch-RandomSearch/0-first").iterdir())
    assert [folder.name.removeprefix("seed-7-20261130-120000") for folder in folders] == ["", "-2", "-3"]
    assert all([event.step for event in read(folder).Scalars("loss/best")] == list(range(1, 8)) for folder in folders)


def test_a_run_that_fails_does_not_leak_into_the_next(run, tmp_path):
    """Its log is closed when the next begins."""

    class Failing(ToyObjective):
        def loss(self, ids, target):
            if len(ids) > 2:
                raise PluginError("no more")
            return super().loss(ids, target)

    with pytest.raises(PluginError, match="no more"):
        run(Failing(toy_tokens(), n_targets=2), PREIMAGE_OBSERVERS="tensorboard=runs")
    run(PREIMAGE_OBSERVERS="tensorboard=other")

    assert len(list(tmp_path.glob("other/*/0-first/*/events*"))) == 1
