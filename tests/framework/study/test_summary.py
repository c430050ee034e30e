"""A study's numbers: means and intervals over pictures, what differs from the best, what predicts the truth."""

from __future__ import annotations

import math
import statistics

import attrs
import pytest
import scipy.stats

from preimage.study.statistics import against_best, interval_of_mean, sign_flip_test
from preimage.study.summary import summarise, values_of


def means(summary, measure, recipe):
    """Return a recipe's mean for each picture, from the records themselves."""
    of_picture = {}
    for record in summary.records:
        if record.key.recipe == recipe:
            of_picture.setdefault(record.key.image, []).append(record.measures[measure])
    return {picture: statistics.fmean(values) for picture, values in of_picture.items()}


class TestCells:
    def test_means_and_intervals_are_over_pictures(self, planted):
        """The two seeds of a picture are averaged before the interval is taken."""
        summary = summarise(planted.store())
        cell = summary.cells["similarity"]["gcg"]
        of_picture = means(summary, "similarity", "gcg")
        assert cell.interval == interval_of_mean(list(of_picture.values()))
        assert cell.interval.count == 8
        assert cell.interval.low < 0.8 < cell.interval.high

    def test_best_and_what_differs_from_it(self, planted):
        """The best of a measure is marked; the others carry the paired difference and its corrected p-value."""
        summary = summarise(planted.store())
        cells = summary.cells["image-similarity/shared"]
        assert [recipe for recipe, cell in cells.items() if cell.best] == ["refined"]
        best = means(summary, "image-similarity/shared", "refined")
        others = ["caption", "gcg", "random"]
        differences = {}
        for recipe in others:
            own = means(summary, "image-similarity/shared", recipe)
            differences[recipe] = [own[picture] - best[picture] for picture in own]
        expected = against_best([sign_flip_test(differences[recipe]) for recipe in others])
        assert [cells[recipe].p_value for recipe in others] == pytest.approx(expected)
        assert cells["gcg"].difference == interval_of_mean(differences["gcg"])
        assert not cells["gcg"].tied
        assert cells["refined"].difference is None

    def test_lower_is_better_where_it_is(self, planted):
        """The best loss is the lowest."""
        cells = summarise(planted.store()).cells["loss"]
        assert cells["gcg"].best

    def test_methods_that_cannot_be_told_apart(self, planted):
        """Two methods of one level are tied."""
        levels = {"caption": (0.6, 0.7, 0.5), "gcg": (0.6, 0.7, 0.5), "random": (0.1,) * 3, "refined": (0.2,) * 3}
        cells = summarise(planted.store(levels=levels)).cells["similarity"]
        best, *others = sorted(cells, key=lambda recipe: -cells[recipe].interval.value)
        assert {best, others[0]} == {"caption", "gcg"}
        assert cells[others[0]].tied
        assert not cells["random"].tied

    def test_losses_of_different_objectives_are_not_compared(self, planted):
        """A recipe with another term has losses on another scale."""
        more = [*planted.recipes["gcg"]["terms"], {"objective": "fluency", "model": "miniworld:gpt2"}]
        recipes = {**planted.recipes, "gcg": {**planted.recipes["gcg"], "terms": more}}
        summary = summarise(planted.store(recipes=recipes))
        assert not any(cell.best or cell.tied for cell in summary.cells["loss"].values())
        assert summary.cells["similarity"]["gcg"].best

    def test_failed_runs_are_left_out(self, planted):
        """A picture on which one method failed does not count where this method is compared, and elsewhere does."""

        def change(record):
            if record.key.recipe == "random" and record.key.image == "03":
                return attrs.evolve(record, status="failed", traceback="ValueError: no", measures={}, pictures={})
            return record

        summary = summarise(planted.store(change=change))
        assert len(summary.failed) == 2
        assert summary.cells["similarity"]["random"].interval.count == 7
        assert summary.cells["similarity"]["random"].difference.count == 7
        assert summary.cells["similarity"]["caption"].difference.count == 8

    def test_orders_of_magnitude_are_averaged_by_their_logarithms(self, planted):
        """One endless word does not make a method's perplexity."""

        def change(record):
            perplexity = 1e12 if record.key.image == "00" else 10.0
            return attrs.evolve(record, measures={**record.measures, "perplexity-per-word": perplexity})

        measures = {"language_model": "miniworld:gpt2", "distances": []}
        summary = summarise(planted.store(change=change, measures=measures))
        value = summary.cells["perplexity-per-word"]["gcg"].interval.value
        assert value == pytest.approx(math.exp((math.log(1e12) + 7 * math.log(10)) / 8))

    def test_the_true_prompts_are_there(self, planted):
        """What the true prompts come to stands beside the methods."""
        of_truth = summarise(planted.store()).of_truth
        assert of_truth["similarity"].value == pytest.approx(0.7)
        assert "token-f1" not in of_truth

    def test_nothing_measured(self, planted):
        """A study that measured nothing has losses and costs."""
        summary = summarise(planted.store(measures=None))
        assert [measure.name for measure in summary.measures] == ["loss", "candidates", "passes", "seconds"]
        assert summary.truth is None
        assert summary.correlations == ()


class TestCorrelations:
    def test_within_pictures_and_pooled_are_scipys(self, planted):
        """Each picture's correlation, averaged, and that of all runs together, higher losses counting as worse."""
        summary = summarise(planted.store(spread=0.15))
        found = {each.measure.name: each for each in summary.correlations}
        of_picture, pooled = {}, ([], [])
        for record in summary.records:
            pair = (record.measures["held-out-similarity"], record.measures["image-similarity/shared"])
            of_picture.setdefault(record.key.image, []).append(pair)
            pooled[0].append(pair[0])
            pooled[1].append(pair[1])
        own = [scipy.stats.spearmanr(*zip(*pairs, strict=True)).statistic for pairs in of_picture.values()]
        assert found["held-out-similarity"].within.value == pytest.approx(statistics.fmean(own))
        assert found["held-out-similarity"].pooled.value == pytest.approx(scipy.stats.spearmanr(*pooled).statistic)
        assert found["loss"].within.value == pytest.approx(found["similarity"].within.value)

    def test_each_method_alone(self, planted):
        """The objective's correlation among the runs of one recipe is scipy's."""
        summary = summarise(planted.store(spread=0.15))
        own = [record.measures for record in summary.records if record.key.recipe == "random"]
        expected = scipy.stats.spearmanr(*([each[name] for each in own] for name in ("similarity", summary.truth.name)))
        assert summary.of_methods["random"].value == pytest.approx(expected.statistic)
        assert summary.of_methods["random"].count == 8

    def test_planted_gap(self, planted):
        """The held-out encoder was made to know half of the truth, and the objective none of it."""
        levels = dict.fromkeys(("caption", "gcg", "random", "refined"), (0.5, 0.5, 0.5))
        summary = summarise(planted.store(levels=levels, spread=0.1, n_images=12, seeds=(0, 1, 2)))
        found = {each.measure.name: each for each in summary.correlations}
        assert found["held-out-similarity"].within.low > 0.5
        assert found["similarity"].within.low < 0 < found["similarity"].within.high
        assert summary.correlations[0].measure.name == "held-out-similarity"

    def test_pictures_with_different_numbers_of_runs(self, planted):
        """Runs that are missing are left out of the ranking, in the value and in every drawn sample."""

        def change(record):
            lost = record.key.image == "02" and record.key.seed == 1
            return attrs.evolve(record, status="failed", traceback="E: x") if lost else record

        summary = summarise(planted.store(spread=0.15, change=change, n_images=4))
        (found,) = [each for each in summary.correlations if each.measure.name == "similarity"]
        sides = [
            [record.measures[name] for record in summary.records] for name in ("similarity", "image-similarity/shared")
        ]
        assert found.pooled.value == pytest.approx(scipy.stats.spearmanr(*sides).statistic)
        assert found.pooled.low <= found.pooled.value <= found.pooled.high

    def test_what_one_picture_says_comes_last(self, planted):
        """A measure that differs on a single picture predicts perfectly there, and is not called the best."""

        def change(record):
            value = record.measures["image-similarity/shared"] if record.key.image == "00" else 0.0
            return attrs.evolve(record, measures={**record.measures, "nats-per-token": -value})

        measures = {**planted.measures, "language_model": "miniworld:gpt2"}
        found = summarise(planted.store(change=change, measures=measures)).correlations
        assert found[-1].measure.name == "nats-per-token"
        assert found[-1].within.value == pytest.approx(1)

    def test_fresh_seeds_where_there_are_no_shared_ones(self, planted):
        """The truth is the first similarity of regenerated pictures that was measured."""

        def change(record):
            kept = {name: value for name, value in record.measures.items() if name != "image-similarity/shared"}
            return attrs.evolve(record, measures=kept)

        assert summarise(planted.store(change=change)).truth.name == "image-similarity/fresh"


def test_kinds(planted):
    """A captioner's first word is a caption; what has none is an optimizer; the rest refines or chooses captions."""
    summary = summarise(planted.store(n_images=2))
    assert summary.kinds == {
        "caption": "captioner",
        "gcg": "optimizer",
        "random": "optimizer",
        "refined": "refined caption",
    }
    assert summary.of_kind("optimizer") == ["gcg", "random"]


def test_a_caption_that_an_objective_chose_is_refined(planted):
    """The captioner alone would have said another one."""

    def change(record):
        return attrs.evolve(record, spent=attrs.evolve(record.spent, candidates=48))

    assert summarise(planted.store(n_images=2, change=change)).kinds["caption"] == "refined caption"


def test_difference_is_of_means_and_positive_where_the_first_is_better(planted):
    """It is paired by pictures, and a lower loss is better."""
    summary = summarise(planted.store())
    loss = summary.measure("loss")
    found = summary.difference(loss, ["gcg", "random"], ["caption"])
    values = values_of(summary.records, loss)
    expected = [
        statistics.fmean(values["caption"][picture])
        - statistics.fmean([*values["gcg"][picture], *values["random"][picture]])
        for picture in values["caption"]
    ]
    assert found.value == pytest.approx(statistics.fmean(expected))
    assert found.sign == 1
