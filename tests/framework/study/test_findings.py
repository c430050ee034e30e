"""Findings come out as they were planted, either way, and as open where nothing was."""

from __future__ import annotations

import attrs
import pytest

from preimage.study.findings import findings_of
from preimage.study.summary import summarise

from .conftest import TERMS


def verdicts(store):
    return [finding.verdict for finding in findings_of(summarise(store))]


def test_papers_findings_hold_where_they_were_planted(planted):
    """Optimizers lead on the objective, the captioner on pictures, a refined caption beats it at once."""
    objective, pictures, at_once, gap = findings_of(summarise(planted.store()))
    assert (objective.verdict, pictures.verdict, at_once.verdict) == ("holds", "holds", "holds")
    assert objective.sentences[0].startswith("In “similarity”, the 2 optimizers are ahead of caption by 0.1")
    assert "for gcg, random, against it for none" in objective.sentences[1]
    assert pictures.sentences[0].startswith("In “image similarity, shared”, caption is ahead of the 2 optimizers")
    assert "over 8 pictures" in pictures.sentences[0]
    assert at_once.sentences[0].startswith("Better in both beyond chance: refined: image similarity, shared 0.")
    assert [name for name, _ in pictures.differences] == [
        "caption against the 2 optimizers",
        "caption against gcg",
        "caption against random",
    ]
    assert gap.verdict in ("holds", "is open")


def test_the_best_captioner_is_the_one_to_beat(planted):
    """Whoever is ahead of the captioners on average, and behind one of them, beats nobody; each is told of."""
    recipes = {**planted.recipes, "caption twice": {"stages": [{"optimizer": "blip2"}], "terms": [*TERMS, *TERMS]}}
    levels = {
        "caption": (0.6, 0.95, 0.9),
        "caption twice": (0.6, 0.3, 0.2),
        "gcg": (0.8, 0.6, 0.1),
        "random": (0.7, 0.5, 0.1),
        "refined": (0.75, 0.9, 0.7),
    }

    def change(record):
        return attrs.evolve(record, spent=attrs.evolve(record.spent, candidates=1))

    _, pictures, at_once, _ = findings_of(summarise(planted.store(recipes=recipes, levels=levels, change=change)))
    assert [name for name, _ in pictures.differences[1:3]] == [
        "caption against the 2 optimizers",
        "caption twice against the 2 optimizers",
    ]
    assert [difference.sign for _, difference in pictures.differences[1:3]] == [1, -1]
    assert pictures.sentences[1].startswith("Captioner by captioner the difference, above zero in favour of the claim")
    assert at_once.verdict == "does not hold"
    assert [name for name, _ in at_once.differences] == [
        "refined against caption: image similarity, shared",
        "refined against caption: token F1",
    ]


def test_the_opposite_is_said_where_it_was_planted(planted):
    """A captioner that leads on the objective and trails on pictures turns both findings round."""
    levels = {
        "caption": (0.9, 0.3, 0.9),
        "gcg": (0.5, 0.6, 0.1),
        "random": (0.4, 0.5, 0.1),
        "refined": (0.6, 0.2, 0.1),
    }
    objective, pictures, at_once, _ = findings_of(summarise(planted.store(levels=levels)))
    assert (objective.verdict, pictures.verdict, at_once.verdict) == ("does not hold",) * 3
    assert "the 2 optimizers are behind caption by 0.4" in objective.sentences[0]
    assert at_once.sentences[0].startswith("Better in both beyond chance is none; nearest comes")


@pytest.mark.parametrize(("n_images", "verdict"), [(2, "is open"), (5, "is open"), (6, "holds")])
def test_few_pictures_decide_nothing(planted, n_images, verdict):
    """Of so few even noise has intervals beside zero, and no paired test can tell a difference from chance."""
    objective, pictures, at_once, _ = findings_of(summarise(planted.store(n_images=n_images)))
    assert all(interval.low > 0 for _, interval in (*objective.differences, *pictures.differences))
    assert [objective.verdict, pictures.verdict, at_once.verdict] == [verdict] * 3
    told = "not told from chance for gcg, random" if verdict == "is open" else "in favour of the claim for gcg, random"
    assert told in objective.sentences[1]


def test_nothing_planted_is_open(planted):
    """Where all are alike, no finding is claimed."""
    levels = dict.fromkeys(("caption", "gcg", "random", "refined"), (0.5, 0.5, 0.5))
    assert verdicts(planted.store(levels=levels, spread=0.1))[:3] == ["is open"] * 3


def test_a_good_proxy_is_called_one(planted):
    """Where the objective orders the runs as the pictures do, the gap does not hold."""
    levels = {
        "caption": (0.1, 0.1, 0.1),
        "gcg": (0.4, 0.4, 0.1),
        "random": (0.7, 0.7, 0.1),
        "refined": (0.9, 0.9, 0.1),
    }
    gap = findings_of(summarise(planted.store(levels=levels, spread=0.01)))[3]
    assert gap.verdict == "does not hold"


def test_what_cannot_be_told(planted):
    """Without a captioner, or without pictures, it is said what is missing."""
    recipes = {name: planted.recipes[name] for name in ("gcg", "random")}
    without_captioner = findings_of(summarise(planted.store(recipes=recipes)))
    assert [finding.verdict for finding in without_captioner[:3]] == ["cannot be told"] * 3
    assert "is a captioner alone" in without_captioner[0].sentences[0]


def test_without_pictures(planted):
    """No generator, no truth to predict."""
    found = findings_of(summarise(planted.store(measures={"similarity": "miniworld:clip", "distances": []})))
    assert found[0].verdict == "holds"
    assert [finding.verdict for finding in found[1:]] == ["cannot be told"] * 3
    assert "name a generator" in found[1].sentences[0]
