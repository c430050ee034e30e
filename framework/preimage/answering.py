"""Requests answered: the rows of many runs joined into one pass, granted, charged, and searched for a new best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs
import torch

from preimage.api.optimizer import Captions, Gradients, Losses, NextTokens, Optimizer, Request
from preimage.errors import PluginError
from preimage.track import Best, Track

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.budget import Limits
    from preimage.problem import Evaluation, Problem
    from preimage.search import Search

__all__ = ["Asked", "answer", "read_back", "read_request"]

_READ_BACK = 8
"""Unstable candidates of a step whose text is scored on the chance that it is still an improvement."""


@attrs.frozen(eq=False)
class Asked:
    """A request together with what the host needs to answer it."""

    search: Search
    request: Request
    rows: Tensor
    run: Tensor
    live: tuple[bool, ...]
    """Which of the search's runs go on; the rows of the others are answered, but neither charged nor kept."""

    @property
    def kind(self) -> tuple[type, int]:
        """Requests of one kind, type and length, are answered by one forward pass."""
        return type(self.request), self.rows.shape[1]

    @property
    def target(self) -> Tensor:
        """The index of each row's target, ``(B,)``."""
        targets = torch.tensor([track.target for track in self.search.tracks], device=self.run.device)
        return targets[self.run]


def read_request(optimizer: Optimizer[Any], search: Search, request: object) -> Asked:
    """Return what `request` asks for, with the run that each row belongs to."""
    if not isinstance(request, Losses | Gradients | NextTokens | Captions):
        kinds = "Losses, Gradients, NextTokens or Captions"
        message = f"{type(optimizer).__name__} yielded {request!r}; a step may yield {kinds}."
        raise PluginError(message)
    live = tuple(track.stop_reason is None for track in search.tracks)
    if isinstance(request, Captions):
        runs = torch.arange(len(search.tracks))
        return Asked(search, request, runs[:, None][:, :0], runs, live)
    rows = request.prefixes if isinstance(request, NextTokens) else request.candidates
    rows = rows[None] if rows.ndim == 1 else rows
    if not len(rows):
        message = f"{type(optimizer).__name__} asked about no rows: where there is no candidate, yield no request."
        raise PluginError(message)
    run = request.run
    if run is None:
        n_runs = len(search.tracks)
        run = torch.arange(len(rows)) if n_runs > 1 else torch.zeros(len(rows), dtype=torch.int64)
        if len(run) != len(rows) or (n_runs > 1 and len(rows) != n_runs):
            message = (
                f"{type(optimizer).__name__} asked about {len(rows)} rows for {n_runs} runs without saying which row "
                "belongs to which run: set the request's `run`."
            )
            raise PluginError(message)
    return Asked(search, request, rows, run.to(rows.device), live)


def answer(problem: Problem, asked: Sequence[Asked], limits: Limits) -> Iterator[tuple[Asked, Any]]:
    """Yield the answer to each of `asked`, all of one kind; None where the budget is at its end.

    Where it is at its end for some of a search's runs only, all are answered, because their state goes on.
    """
    if isinstance(asked[0].request, NextTokens):
        yield from _next_tokens(problem, asked)
        return
    if isinstance(asked[0].request, Captions):
        yield from _captions(problem, asked)
        return
    with_gradient = isinstance(asked[0].request, Gradients)
    grants = [_granted(item, limits) for item in asked]
    # A request has rows, so that there are none only where no budget is left for any.
    rows = torch.cat([item.rows[grant.scored] for item, grant in zip(asked, grants, strict=True)])
    target = torch.cat([item.target[grant.scored] for item, grant in zip(asked, grants, strict=True)])
    if not len(rows):
        yield from ((item, None) for item in asked)
        return
    evaluation = (problem.losses_and_gradients if with_gradient else problem.losses)(rows, target)
    start = 0
    for item, grant in zip(asked, grants, strict=True):
        span = slice(start, start + int(grant.scored.sum()))
        start = span.stop
        _account(problem, item, grant, evaluation, span)
        if grant.cut:
            yield item, None
        elif with_gradient:
            assert evaluation.gradient is not None
            yield item, (evaluation.losses[span], evaluation.gradient[span])
        else:
            yield item, evaluation.losses[span]


def _next_tokens(problem: Problem, asked: Sequence[Asked]) -> Iterator[tuple[Asked, Tensor]]:
    rows, target = torch.cat([item.rows for item in asked]), torch.cat([item.target for item in asked])
    joined = problem.next_token_log_probs(rows, target)
    for item, log_probs in zip(asked, torch.split(joined, [len(item.rows) for item in asked]), strict=True):
        for index, track in enumerate(item.search.tracks):
            track.charge(forward=item.live[index] * int((item.run == index).sum()))
        yield item, log_probs


def _captions(problem: Problem, asked: Sequence[Asked]) -> Iterator[tuple[Asked, Any]]:
    """Yield the captions of all that ask one captioner in one way from one pass; a caption counts as one row."""
    ways: dict[Any, list[Asked]] = {}
    for item in asked:
        request = cast("Captions", item.request)
        ways.setdefault((request.captioner, request.decoding), []).append(item)
    for (captioner, decoding), items in ways.items():
        targets = [track.target for item in items for track in item.search.tracks]
        seeds = [cast("Captions", item.request).seed for item in items for _ in item.search.tracks]
        answers = iter(problem.captions(captioner, decoding, targets, seeds))
        for item in items:
            said = tuple(next(answers) for _ in item.search.tracks)
            for index, track in enumerate(item.search.tracks):
                track.charge(forward=item.live[index] * len(said[index]))
            yield item, said if item.search.rowwise else said[0]


@attrs.frozen(eq=False)
class _Grant:
    """What the budget makes of a request.

    Attributes:
        paid: which rows the budgets of their runs still pay for, bool ``(B,)``.
        cut: whether no run can go on, so that the step ends here.
    """

    paid: Tensor
    cut: bool

    @property
    def scored(self) -> Tensor:
        """Which rows are scored, bool ``(B,)``."""
        return self.paid if self.cut else torch.ones_like(self.paid)


def _granted(item: Asked, limits: Limits) -> _Grant:
    """Return what the budget still pays for; why a run cannot go on is written down."""
    paid = torch.ones(len(item.rows), dtype=torch.bool, device=item.rows.device)
    for index, track in enumerate(item.search.tracks):
        if not item.live[index]:
            continue
        left = limits.candidates_left(track)
        mine = item.run == index
        if left is not None and int(mine.sum()) > left:
            paid &= ~mine | (mine.cumsum(0) <= left)
            track.stop_reason = "max_candidates"
    return _Grant(paid, cut=all(track.stop_reason is not None for track in item.search.tracks))


def _account(problem: Problem, item: Asked, grant: _Grant, evaluation: Evaluation, span: slice) -> None:
    """Charge each run for its rows and look for a new best among them."""
    run, rows, paid = item.run[grant.scored], item.rows[grant.scored], grant.paid[grant.scored]
    losses, terms = evaluation.losses[span], evaluation.terms[span]
    for index, track in enumerate(item.search.tracks):
        mine = paid & (run == index)
        if not (item.live[index] and mine.any()):
            continue
        track.charge(
            candidates=int(mine.sum()),
            forward=int(evaluation.forward[span][mine].sum()),
            backward=int(evaluation.backward[span][mine].sum()),
        )
        track.lowest = min(track.lowest, float(losses[mine].min()))
        _keep_best(problem, track, rows[mine], losses[mine], terms[mine])


def _keep_best(problem: Problem, track: Track, rows: Tensor, losses: Tensor, terms: Tensor) -> None:
    """Let the lowest loss become the best, if its text is read back as its ids.

    Candidates that change on re-reading are never the best; the prompt they turn into may be, if it is allowed.
    """
    better = track.would_improve(losses, rows.shape[1]).nonzero().flatten()
    if not len(better):
        return
    order = better[losses[better].argsort(stable=True)]
    stable = problem.stable(rows[order])
    first = int(stable.int().argmax()) if stable.any() else len(order)
    for index in order[: min(first, _READ_BACK)]:
        read_back(problem, track, rows[index][None], track.step + 1)
    if first < len(order):
        winner = order[first]
        (text,) = problem.space.decode(rows[winner][None])
        track.improve(
            Best(
                text,
                tuple(rows[winner].tolist()),
                float(losses[winner]),
                tuple(terms[winner].tolist()),
                track.step + 1,
            )
        )


def read_back(problem: Problem, track: Track, row: Tensor, step: int) -> None:
    """Score the text of `row`, ``(1, L)``, as it is read back, if it fits, and keep it if it is better.

    What a search starts from counts whatever it turns into, so that there is a result; a candidate does not where
    reading it brings in a token that may not be proposed.

    Arguments:
        problem: scores it.
        track: of the run that it belongs to.
        row: the token ids.
        step: that it came up in; 0 for what the search starts from.
    """
    (text,) = problem.space.decode(row)
    (ids,) = problem.space.encode([text])
    if not (0 < len(ids) <= problem.space.max_length and problem.space.is_readable([text]).all()):
        return
    brought_in = sorted(set(ids).difference(row[0].tolist()))
    if step > 0 and not problem.space.allowed[brought_in].all():
        return
    evaluation = problem.score_texts([text], torch.tensor([track.target], device=row.device))
    track.charge(forward=int(evaluation.forward.sum()))
    terms = tuple(evaluation.terms[0].tolist())
    track.improve(Best(text, tuple(ids), float(evaluation.losses[0]), terms, step))
