"""What is wanted of a model: a margin that is not above zero where a row is decided as wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs
import torch

from preimage.errors import InputError
from preimage_counterfactual.models import Form, ModelView, view

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.reach import TableReach
    from preimage_counterfactual.space import TableSpace

__all__ = ["BoundDecision", "Decision", "Wanted", "margin"]


@attrs.frozen(eq=False)
class Wanted:
    """What is wanted of each of N queries.

    Attributes:
        label: the class that decides, ``(N,)``; -1 for regressions.
        away: whether that class is to be left instead of reached, bool ``(N,)``.
        target: the class that an answer probably has, ``(N,)``: for distances that depend on it.
        present: the class that the query has, ``(N,)``.
        margin: of the queries themselves, ``(N,)``; not above 0 where there is nothing to do.
        others: the classes that may be reached, the likeliest first, ``(N, K)``: one of them where a class is wanted,
            all others where the present one is to be left; none for regressions.
    """

    label: Tensor
    away: Tensor
    target: Tensor
    present: Tensor
    margin: Tensor
    others: Tensor

    def repeated(self, times: int, one_by_one: bool) -> Wanted:
        """Return what is wanted of every query `times` in a row.

        With `one_by_one` those that are to leave a class are each to reach one other class, the likeliest first.
        """
        values = {
            field.name: getattr(self, field.name).repeat_interleave(times, dim=0) for field in attrs.fields(Wanted)
        }
        if one_by_one:
            turn = torch.arange(times).repeat(len(self.label)) % self.others.shape[1]
            values["target"] = values["others"].gather(1, turn[:, None])[:, 0]
            values["label"], values["away"] = values["target"], torch.zeros_like(values["away"])
        return Wanted(**values)


class Decision:
    """A model together with what counts as decided as wanted.

    Arguments:
        model: a scikit-learn estimator or pipeline, a torch module, or a function of a table.
        space: the columns.
        threshold: the probability that the wanted class must reach, or one of them where any other than the present one
            is wanted; without it, it must be the likeliest.
        desired_range: for regressions, ``(least, greatest)``; None for no limit.
        margin: a function of a table that answers ``(B,)``, not above 0 where wanted, instead of all this.
        inputs: what a torch module reads: ``"raw"`` units or rows as they are ``"encoded"``.
        outputs: what a function or module answers: ``"probabilities"``, ``"logits"`` or ``"values"``.
        classes: their names, where the model does not tell them.

    Raises:
        InputError: these do not fit together.
    """

    def __init__(
        self,
        model: Any,
        space: TableSpace,
        *,
        threshold: float | None = None,
        desired_range: Sequence[float | None] | None = None,
        margin: Callable[[Any], Any] | None = None,
        inputs: Literal["raw", "encoded"] = "raw",
        outputs: Literal["auto"] | Form = "auto",
        classes: Sequence[Any] | None = None,
    ) -> None:
        self.space = space
        self.threshold = threshold
        self.range: tuple[float, float] | None = None
        if margin is not None:
            self._viewed: tuple[Any, dict[str, Any]] = (margin, {"outputs": "values"})
            self.view = self._view()
            self.range = (-float("inf"), 0.0)
            return
        if desired_range is not None and outputs == "auto":
            outputs = "values"
        named = None if classes is None else tuple(classes)
        self._viewed = (model, {"inputs": inputs, "outputs": outputs, "classes": named})
        self.view = self._view()
        if self.view.form == "values":
            if desired_range is None:
                message = (
                    "The model answers numbers, not classes: say which are wanted, desired_range=(least, greatest)."
                )
                raise InputError(message)
            low, high = desired_range
            self.range = (-float("inf") if low is None else float(low), float("inf") if high is None else float(high))
            if not self.range[0] <= self.range[1]:
                message = f"desired_range={tuple(desired_range)} holds nothing: swap the two."
                raise InputError(message)
        elif desired_range is not None:
            message = f"The model decides between {list(self.view.classes)}; desired_range is for regressions."
            raise InputError(message)
        if threshold is not None and (self.view.form != "probabilities" and not self.view.reads_tensors):
            message = (
                f"threshold={threshold} is a probability, and the model does not decide by those that it gives, if it "
                "gives any: leave the threshold out."
            )
            raise InputError(message)
        if threshold is not None and not 0 < threshold < 1:
            message = f"threshold={threshold} is no probability between 0 and 1."
            raise InputError(message)

    def __getstate__(self) -> dict[str, Any]:
        # The view is made of functions, which cannot be pickled, and is made again from the model.
        return {name: value for name, value in self.__dict__.items() if name != "view"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.view = self._view()

    def _view(self) -> ModelView:
        model, options = self._viewed
        return view(model, self.space, **options)

    @property
    def classes(self) -> tuple[Any, ...]:
        """What can be decided; empty for regressions."""
        return self.view.classes

    @cached_property
    def known_scores(self) -> Tensor:
        """The scores of the rows that the space was made from, ``(M, C)``."""
        return self._scores(self.space.raw(self.space.table))

    @cached_property
    def slopes(self) -> Tensor | None:
        """What each class's score gains with each coordinate, ``(C, D)``, where scores are affine; else None."""
        smooth = self.view.smooth
        if smooth is None or not self.view.linear:
            return None
        found = torch.autograd.functional.jacobian(lambda row: smooth(row[None])[0], self.space.data[0])
        return cast("Tensor", found).to(self.space.data)

    def _scores(self, raw: Tensor) -> Tensor:
        return self.view.scores(raw if self.view.reads_tensors else self.space.write(raw))

    def wanted(self, reach: TableReach, desired: Any = "opposite") -> Wanted:
        """Return what is wanted of each query.

        Arguments:
            reach: of the queries.
            desired: a class, one class for each query, or ``"opposite"``: any other than the one decided now.

        Raises:
            InputError: there is no such class, or not one for each query.
        """
        scores = self._scores(reach.raw_reference)
        n_runs = len(scores)
        if self.range is not None:
            none = torch.full((n_runs,), -1)
            away = torch.zeros(n_runs, dtype=torch.bool)
            return Wanted(none, away, none, none, self.margins(scores, none, away), none[:, None][:, :0])
        present = scores.argmax(dim=1)
        given = [desired] * n_runs if isinstance(desired, str) or not isinstance(desired, Sequence) else list(desired)
        if len(given) != n_runs:
            message = f"There are {n_runs} queries and {len(given)} desired classes: give one, or one for each."
            raise InputError(message)
        places = {name: place for place, name in enumerate(self.classes)}
        places.setdefault("opposite", -1)
        strange = [name for name in given if name not in places]
        if strange:
            message = f"The model knows no class {strange[0]!r}; it decides between {list(self.classes)}."
            raise InputError(message)
        asked = torch.tensor([places[name] for name in given])
        away = asked < 0
        ranked = scores.scatter(1, present[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
        runner_up = ranked[:, 0]
        if len(self.classes) == 2:
            asked, away = torch.where(away, runner_up, asked), torch.zeros_like(away)
        label = torch.where(away, present, asked)
        target = torch.where(away, runner_up, asked)
        # Where some queries are to reach a class and others to leave one, all have as many, the wanted one repeated.
        others = torch.where(away[:, None], ranked[:, :-1], label[:, None]) if away.any() else label[:, None]
        return Wanted(label, away, target, present, self.margins(scores, label, away), others)

    def margins(self, scores: Tensor, label: Tensor, away: Tensor, form: Form | None = None) -> Tensor:
        """Return how far rows are from what is wanted, ``(B,)``; see `margin`."""
        found = margin(scores, label, away, form or self.view.form, self.threshold, self.range)
        return found + self.view.noise

    def known_margins(self, wanted: Wanted) -> Tensor:
        """Return the margin of each known row for each query, ``(M, N)``."""
        scores = self.known_scores
        pairs, inverse = torch.stack([wanted.label, wanted.away.long()]).unique(dim=1, return_inverse=True)
        columns = [
            self.margins(scores, label.expand(len(scores)), away.bool().expand(len(scores))) for label, away in pairs.T
        ]
        return torch.stack(columns, dim=1)[:, inverse]

    def bind(self, reach: TableReach, wanted: Wanted) -> BoundDecision:
        """Return the objective of a search that starts from the queries of `reach`."""
        kind = BoundDecision if self.view.smooth is None else SmoothDecision
        return kind(self, reach, wanted)


class BoundDecision:
    """The margin of rows that answer given queries: an objective of the host, see `preimage.api.Objective`."""

    def __init__(self, decision: Decision, reach: TableReach, wanted: Wanted) -> None:
        self.decision, self.reach, self.wanted = decision, reach, wanted

    @property
    def space(self) -> TableSpace:
        """The columns."""
        return self.decision.space

    @property
    def n_targets(self) -> int:
        """The number of queries."""
        return len(self.reach.reference)

    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the margin of rounded rows as the user's model decides them, ``(B,)``."""
        reads = self.reach.raw if self.decision.view.reads_tensors else self.reach.rows
        scores = self.decision.view.scores(reads(candidates, target))
        return self.decision.margins(scores, self.wanted.label[target], self.wanted.away[target])


class SmoothDecision(BoundDecision):
    """A decision by a model through which gradients flow."""

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return margins, ``(B,)``, of rows as they are, and their gradients, ``(B, D)``."""
        view, slopes = self.decision.view, self.decision.slopes
        assert view.smooth is not None
        label, away = self.wanted.label[target], self.wanted.away[target]
        if slopes is not None and self.decision.threshold is None and self.decision.range is None:
            # Between two planes the gradient is known, and need not be asked for.
            scores = view.smooth(candidates)
            rival = scores.scatter(1, label[:, None], -torch.inf).argmax(dim=1)
            gradient = torch.where(away[:, None], slopes[label] - slopes[rival], slopes[rival] - slopes[label])
            return self.decision.margins(scores, label, away, view.smooth_form), gradient
        with torch.enable_grad():
            leaf = candidates.detach().requires_grad_()
            values = self.decision.margins(view.smooth(leaf), label, away, view.smooth_form)
            (gradient,) = torch.autograd.grad(values.sum(), leaf)
        return values.detach(), gradient


def margin(
    scores: Tensor,
    label: Tensor,
    away: Tensor,
    form: Form,
    threshold: float | None = None,
    wanted: tuple[float, float] | None = None,
) -> Tensor:
    """Return how far scores are from being as wanted, ``(B,)``: not above 0 where they are.

    Arguments:
        scores: ``(B, C)``.
        label: the class that is to be reached, or left, ``(B,)``.
        away: whether it is to be left, bool ``(B,)``.
        form: what the scores are.
        threshold: the probability to be reached, by any other class where one is to be left; without it the class must
            beat every other.
        wanted: the range of a value.

    >>> scores, label = torch.tensor([[0.2, 0.8]]), torch.tensor([0])
    >>> margin(scores, label, torch.tensor([False]), "probabilities")
    tensor([0.6000])
    """
    if wanted is not None:
        value = scores[:, 0]
        return torch.maximum(wanted[0] - value, value - wanted[1])
    own, rest = _apart(scores, label)
    if threshold is None:
        behind = rest.amax(dim=1) - own
        return torch.where(away, -behind, behind)
    # To leave a class is to reach any other one, as surely as one that is named: the likeliest is the nearest to it.
    own, rest = _apart(scores, torch.where(away, rest.argmax(dim=1), label))
    if form == "probabilities":
        return threshold - own
    odds = torch.logit(torch.tensor(threshold, dtype=scores.dtype))
    return odds + torch.logsumexp(rest, dim=1) - own


def _apart(scores: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores of a class, ``(B,)``, and all scores with minus infinity in its place, ``(B, C)``."""
    return scores.gather(1, label[:, None])[:, 0], scores.scatter(1, label[:, None], -torch.inf)
