"""What a study says, in sentences, with the numbers that they rest on; nothing here knows how it will come out.

The first paper's two findings are put to every study that has a captioner and optimizers: optimizers win on what they
optimise, and the captioner wins on the pictures that the prompts make. Each is a paired difference over pictures; it
holds where that is above zero beyond chance, does not where it is below, and is open otherwise. Beyond chance is what
both its interval and a paired test say: of few pictures the interval alone is wrong too often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import attrs

from preimage.study.measures import Measure
from preimage.study.statistics import Difference, Interval
from preimage.study.summary import Summary

__all__ = ["Finding", "Verdict", "findings_of"]

Verdict = Literal["holds", "does not hold", "is open", "cannot be told"]

_OF_TEXTS = ("scene-attributes", "text-similarity", "token-f1")
"""What recovery is told by where the true prompt is known: the first that was measured."""


@attrs.frozen
class Finding:
    """A claim, whether it holds in this study, and why."""

    claim: str
    verdict: Verdict
    sentences: tuple[str, ...]
    differences: tuple[tuple[str, Interval], ...] = ()
    """Each comparison that the sentences speak of: what is compared, and by how much the first is better."""


def findings_of(summary: Summary) -> tuple[Finding, ...]:
    """Return what the study says about the paper's findings, and about what predicts the truth."""
    return (_on_the_objective(summary), _on_pictures(summary), _at_once(summary), _the_gap(summary))


def _on_the_objective(summary: Summary) -> Finding:
    claim = "Optimizers win on the objective"
    measure = summary.objective
    captioners, optimizers = summary.of_kind("captioner"), summary.of_kind("optimizer")
    if measure is None or not captioners or not optimizers:
        return _cannot(claim, _missing(captioners, optimizers))
    return _compared(summary, claim, measure, optimizers, captioners)


def _on_pictures(summary: Summary) -> Finding:
    claim = "The captioner wins on regenerated pictures"
    measure = summary.truth
    captioners, optimizers = summary.of_kind("captioner"), summary.of_kind("optimizer")
    if measure is None:
        return _cannot(claim, "No pictures were made from the prompts: name a generator among the measures.")
    if not captioners or not optimizers:
        return _cannot(claim, _missing(captioners, optimizers))
    return _compared(summary, claim, measure, captioners, optimizers)


def _compared(summary: Summary, claim: str, measure: Measure, left: Sequence[str], right: Sequence[str]) -> Finding:
    """Return a finding about the means of two groups, about each captioner, and about each optimizer."""
    first, second = _group(summary, left), _group(summary, right)
    whole = summary.difference(measure, left, right)
    ahead, gap = ("ahead of", whole) if whole.value >= 0 else ("behind", -whole)
    sentences = [
        f"In {_quoted(measure)}, {first} {'is' if len(left) == 1 else 'are'} {ahead} {second} by {gap} over "
        f"{_pictures(whole.count)}."
    ]
    differences = [(f"{first} against {second}", whole)]

    def alone(recipe: str) -> Difference:
        """Return the difference with one recipe in the place of its group."""
        name = f"{recipe} against {second}" if recipe in left else f"{first} against {recipe}"
        found = summary.difference(measure, *(([recipe], right) if recipe in left else (left, [recipe])))
        differences.append((name, found))
        return found

    captioners, optimizers = summary.of_kind("captioner"), summary.of_kind("optimizer")
    if len(captioners) > 1:
        told = "; ".join(f"{recipe} {alone(recipe)}" for recipe in captioners)
        sentences.append(f"Captioner by captioner the difference, above zero in favour of the claim, is: {told}.")
    if len(optimizers) > 1:
        signs: dict[int, list[str]] = {1: [], -1: [], 0: []}
        for recipe in optimizers:
            signs[alone(recipe).sign].append(recipe)
        sentences.append(
            f"Optimizer by optimizer, the difference is beyond chance in favour of the claim for {_listed(signs[1])}, "
            f"against it for {_listed(signs[-1])}, and not told from chance for {_listed(signs[0])}."
        )
    return Finding(claim, _verdict(whole), tuple(sentences), tuple(differences))


def _at_once(summary: Summary) -> Finding:
    """Is there a method that regenerates better pictures than the captioner and says more of the truth as well?"""
    text = next((measure for name in _OF_TEXTS if (measure := summary.measure(name))), None)
    what = text.spoken if text else "the true prompt"
    claim = f"Some method beats the captioner on regenerated pictures and on {what} at once"
    captioners, others = summary.of_kind("captioner"), summary.of_kind("optimizer", "refined caption")
    if summary.truth is None or text is None:
        return _cannot(claim, "It takes a generator and the true prompts, or a measure of them.")
    if not captioners or not others:
        return _cannot(claim, _missing(captioners, others))
    # Whoever beats one captioner in each may still be behind another.
    strongest = {measure: summary.strongest(measure, captioners) for measure in (summary.truth, text)}
    both = {
        recipe: [summary.difference(measure, [recipe], [captioner]) for measure, captioner in strongest.items()]
        for recipe in others
    }
    won = [recipe for recipe, (pictures, words) in both.items() if pictures.sign > 0 and words.sign > 0]
    # The one whose worse side is least bad.
    nearest = max(both, key=lambda recipe: min(_rank(difference) for difference in both[recipe]))
    named = won or [nearest]
    begin = "Better in both beyond chance:" if won else "Better in both beyond chance is none; nearest comes"
    numbers = "; ".join(
        f"{recipe}: {summary.truth.spoken} {both[recipe][0]}, {what} {both[recipe][1]}" for recipe in named
    )
    certain = [recipe for recipe, pair in both.items() if any(difference.sign < 0 for difference in pair)]
    verdict: Verdict = "holds" if won else ("does not hold" if len(certain) == len(both) else "is open")
    differences = tuple(
        (f"{recipe} against {captioner}: {measure.spoken}", difference)
        for recipe in named
        for (measure, captioner), difference in zip(strongest.items(), both[recipe], strict=True)
    )
    return Finding(claim, verdict, (f"{begin} {numbers}.",), differences)


def _the_gap(summary: Summary) -> Finding:
    claim = "The objective is a poor proxy of the regenerated picture"
    objective = summary.objective
    found = {correlation.measure.name: correlation for correlation in summary.correlations}
    if summary.truth is None or objective is None or objective.name not in found:
        return _cannot(claim, "No pictures were made from the prompts: name a generator among the measures.")
    own = found[objective.name]
    sentences = [
        f"Across the runs on one picture, {_quoted(objective)} and {_quoted(summary.truth)} have a rank "
        f"correlation of {own.within} on average over {_pictures(own.within.count)}; across all runs {own.pooled}."
    ]
    best = summary.correlations[0]
    if best is not own and math.isfinite(best.within.low):
        sentences.append(
            f"The best predictor on these pictures is {_quoted(best.measure)} with {best.within} within a picture."
        )
    # Half of the variance of ranks explained, or more, is no poor proxy.
    strong = 0.5**0.5
    verdict: Verdict = (
        "holds" if own.within.high < strong else "does not hold" if own.within.low > strong else "is open"
    )
    sentences.append(
        f"It counts as poor where the interval is below {strong:.2f}: less than half of the ranks' variance."
    )
    differences = ((f"{objective.title}, within a picture", own.within), (f"{objective.title}, pooled", own.pooled))
    return Finding(claim, verdict, tuple(sentences), differences)


def _cannot(claim: str, reason: str) -> Finding:
    return Finding(claim, "cannot be told", (reason,))


def _missing(captioners: Sequence[str], others: Sequence[str]) -> str:
    missing = "captioner" if not captioners else "optimizer"
    return f"No recipe of the study that came to something is a {missing} alone, so there is nothing to compare."


def _verdict(difference: Difference) -> Verdict:
    return {1: "holds", -1: "does not hold", 0: "is open"}[difference.sign]  # type: ignore[return-value]


def _rank(difference: Interval) -> float:
    """Return how far a difference is above zero, in widths of its interval."""
    width = difference.high - difference.low
    return difference.value / width if width > 0 and math.isfinite(width) else difference.value


def _group(summary: Summary, recipes: Sequence[str]) -> str:
    return recipes[0] if len(recipes) == 1 else f"the {len(recipes)} {summary.kinds[recipes[0]]}s"


def _quoted(measure: Measure) -> str:
    return f"“{measure.spoken}”"


def _listed(recipes: Sequence[str]) -> str:
    return ", ".join(recipes) or "none"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
