"""A table of columns of every kind, with decisions and a distance: the world in which searches over rows are tried."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from preimage.api.distance import Distance
from preimage.feature_problem import FeatureProblem
from preimage.feature_space import FeatureSearchSpace

__all__ = [
    "COLUMNS",
    "Scene",
    "ToyColumns",
    "ToyDecision",
    "ToyForm",
    "ToyReach",
    "ToySpread",
    "toy_rows",
    "toy_rows_problem",
]

COLUMNS = ("amount", "share", "count", "age", "sex", "married", "kind", "cost")
"""A number without bounds, one from -2 to 2, one in quarters, one that may only rise, one that is fixed, one that is 0
or 1, three levels of which the last is for those alone who have it, and a number that follows the amount by half."""

_LEVELS = slice(6, 9)
_COLUMN_OF = (0, 1, 2, 3, 4, 5, 6, 6, 6, 7)
_AMOUNT, _SHARE, _COUNT, _AGE, _SEX, _MARRIED, _COST = 0, 1, 2, 3, 4, 5, 9
_OWN, _ANY = float("nan"), float("inf")
_LEAST = (-_ANY, -2.0, -3.0, _OWN, _OWN, 0.0, 0.0, 0.0, 0.0, -_ANY)
_MOST = (_ANY, 2.0, 3.0, 3.0, _OWN, 1.0, 1.0, 1.0, _OWN, _ANY)
"""The bounds of each float; `_OWN` is the query's own value."""
_FOLLOWS = 0.5
_WEIGHTS = (1.0, 0.8, 0.6, 0.4, 0.3, 0.5, 0.0, 0.6, 0.9, 0.2)
_BEND = 0.3
_LEVEL = 1.0

Scene = Literal["linear", "bent", "out-of-reach"]
"""What the decision looks at, see `ToyDecision`."""


@attrs.frozen(eq=False)
class ToyColumns:
    """The columns as a distance is told of them, see `preimage.api.FeatureSpace`."""

    width = len(_COLUMN_OF)
    groups = (_LEVELS,)
    device = torch.device("cpu")

    @property
    def frozen(self) -> Tensor:
        """Which positions no answer may change, bool ``(10,)``."""
        return torch.arange(self.width) == _SEX


@attrs.frozen(eq=False, slots=False)
class ToyReach:
    """What may be answered to each query, see `preimage.api.Reach`.

    Attributes:
        reference: the queries, ``(N, 10)``.
        fixed: nothing may change.
    """

    reference: Tensor
    fixed: bool = False
    groups = (_LEVELS,)

    @property
    def columns(self) -> Tensor:
        """The number of each float's column, ``(10,)``."""
        return torch.tensor(_COLUMN_OF)

    @cached_property
    def lower(self) -> Tensor:
        """The least values, ``(N, 10)``."""
        return self._bounds(_LEAST)

    @cached_property
    def upper(self) -> Tensor:
        """The greatest values, ``(N, 10)``."""
        return self._bounds(_MOST)

    @cached_property
    def free(self) -> Tensor:
        """Which floats a search may move, bool ``(N, 10)``; what follows is not among them."""
        free = self.lower < self.upper
        free[:, _COST] = False
        return free

    def project(self, features: Tensor, run: Tensor) -> Tensor:
        """Return the nearest rows within bounds whose levels sum to 1, ``(B, 10)``."""
        rows = torch.clamp(features, self.lower[run], self.upper[run])
        rows[:, _LEVELS] = _onto_simplex(features[:, _LEVELS], self.upper[run, _LEVELS] > 0)
        return self._settled(rows, run)

    def round(self, features: Tensor, run: Tensor) -> Tensor:
        """Return the nearest rows of quarters, zeros and ones, ``(B, 10)``."""
        rows = torch.clamp(features, self.lower[run], self.upper[run])
        rows[:, _COUNT] = (4 * rows[:, _COUNT]).round() / 4
        rows[:, _MARRIED] = rows[:, _MARRIED].round()
        level = torch.where(self.upper[run, _LEVELS] > 0, rows[:, _LEVELS], -torch.inf).argmax(dim=1)
        rows[:, _LEVELS] = torch.nn.functional.one_hot(level, 3).to(rows)
        return self._settled(rows, run)

    def pull_back(self, gradient: Tensor) -> Tensor:
        """Return a gradient, ``(..., 10)``, with what the cost feels handed to the amount that it follows."""
        pulled = gradient.clone()
        pulled[..., _AMOUNT] += _FOLLOWS * gradient[..., _COST]
        pulled[..., _COST] = 0
        return pulled

    def complaint(self, rows: Tensor, run: Tensor) -> str:
        """Return what rows, ``(B, 10)``, have that they may not have; nothing where all is well."""
        lower, upper, reference = self.lower[run], self.upper[run], self.reference[run]
        levels = rows[:, _LEVELS]
        follower = reference[:, _COST] + _FOLLOWS * (rows[:, _AMOUNT] - reference[:, _AMOUNT])
        rules = (
            ("a number that is not finite", rows.isfinite().all(dim=1)),
            ("another value in the column that is fixed", rows[:, _SEX] == reference[:, _SEX]),
            ("a lesser value in the column that may only rise", rows[:, _AGE] >= reference[:, _AGE]),
            ("levels that are not one 1 among zeros", (levels.sort(dim=1).values == torch.tensor([0.0, 0, 1])).all(1)),
            ("a value out of bounds", ((rows >= lower) & (rows <= upper)).all(dim=1)),
            ("a value between the quarters", rows[:, _COUNT] * 4 % 1 == 0),
            ("a value between 0 and 1 where there are these two", (rows[:, _MARRIED] == 0) | (rows[:, _MARRIED] == 1)),
            ("a column that does not follow the one it has to", (rows[:, _COST] - follower).abs() < 1e-9),
        )
        return next((said for said, kept in rules if not bool(kept.all())), "")

    def _bounds(self, limits: tuple[float, ...]) -> Tensor:
        limit = torch.tensor(limits, dtype=self.reference.dtype)
        return torch.where(limit.isnan() | torch.tensor(self.fixed), self.reference, limit)

    def _settled(self, rows: Tensor, run: Tensor) -> Tensor:
        """Return rows with the cost as it follows, and untouched where nothing may change."""
        reference = self.reference[run]
        rows[:, _COST] = reference[:, _COST] + _FOLLOWS * (rows[:, _AMOUNT] - reference[:, _AMOUNT])
        return reference.clone() if self.fixed else rows


def _onto_simplex(levels: Tensor, permitted: Tensor) -> Tensor:
    """Return the nearest points, ``(B, 3)``, that sum to 1, are not below 0, and 0 where not permitted."""
    masked = torch.where(permitted, levels, -1e9)
    ordered = masked.sort(dim=1, descending=True).values
    rank = torch.arange(1, levels.shape[1] + 1, dtype=levels.dtype)
    excess = (ordered.cumsum(dim=1) - 1) / rank
    count = (ordered > excess).sum(dim=1, keepdim=True)
    return (masked - excess.gather(1, count - 1)).clamp_min(0)


class ToyDecision:
    """Wants a weighted sum of the columns above a level: an objective with a gradient, over features.

    Arguments:
        reach: of the queries.
        scene: the sum is ``linear``, or ``bent`` by the square of a column; or it is ``out-of-reach``, since it looks
            at a column whose bounds do not let it through.
    """

    space: Any = None

    def __init__(self, reach: ToyReach, scene: Scene = "linear") -> None:
        self.n_targets = len(reach.reference)
        self.scene = scene

    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the margins, ``(B,)``: not above 0 where a row is decided as wanted."""
        if self.scene == "out-of-reach":
            return 5.0 - candidates[:, _SHARE]
        bend = _BEND * candidates[:, _SHARE].square() if self.scene == "bent" else 0.0
        return _LEVEL - candidates @ torch.tensor(_WEIGHTS, dtype=candidates.dtype) - bend

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return margins, ``(B,)``, and gradients, ``(B, 10)``."""
        with torch.enable_grad():
            leaf = candidates.detach().requires_grad_()
            margins = self.loss(leaf, target)
            (gradient,) = torch.autograd.grad(margins.sum(), leaf)
        return margins.detach(), gradient


@attrs.frozen(eq=False)
class ToyForm:
    """The form (x' - c)ᵀ P (x' - c): `centre` ``(N, D)``, `precision` ``(D, D)`` and its inverse, `covariance`."""

    centre: Tensor
    precision: Tensor
    covariance: Tensor


class ToySpread:
    """The squared length of the step where the columns' spread is the unit: a distance with all that searches look for.

    It has a gradient, is a quadratic form, and knows a law to draw from.
    """

    domain = "features"
    differentiable = True
    symmetric = True
    metric = False

    def __init__(self) -> None:
        self._covariance = torch.empty(0)

    def fit(self, data: Tensor) -> None:
        """Learn how the columns of rows, ``(M, D)``, spread together."""
        spread = torch.cov(data.T)
        self._covariance = 0.9 * spread + 0.1 * torch.diag(spread.diagonal().clamp_min(1e-2))

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the distances, ``(B,)``."""
        apart = left - right
        whitened: Tensor = apart @ torch.linalg.inv(self._covariance).to(apart)
        return (whitened * apart).sum(dim=1)

    def quadratic(self, reference: Tensor, label: Tensor | None = None) -> ToyForm:
        """Return the form that it rises with around each row of `reference`, ``(N, D)``."""
        return ToyForm(reference, torch.linalg.inv(self._covariance), self._covariance)

    def sample(self, reference: Tensor, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        """Return draws around each row, ``(B, count, D)``."""
        drawn = torch.randn(len(reference), count, reference.shape[1], generator=generator, dtype=reference.dtype)
        root: Tensor = torch.linalg.cholesky(self._covariance)
        return reference[:, None] + drawn @ root.T


def toy_rows(count: int = 160, seed: int = 0) -> Tensor:
    """Return rows as they occur, ``(count, 10)``: amount and share go together, and the cost follows.

    >>> toy_rows(3).shape
    torch.Size([3, 10])
    """
    rng = torch.Generator().manual_seed(seed)
    numbers = torch.randn(count, 4, generator=rng, dtype=torch.float64)
    rows = torch.zeros(count, len(_COLUMN_OF), dtype=torch.float64)
    rows[:, _AMOUNT] = numbers[:, 0]
    rows[:, _SHARE] = (0.7 * numbers[:, 0] + 0.7 * numbers[:, 1]).clamp(-2, 2)
    rows[:, _COUNT] = (4 * numbers[:, 2]).round().clamp(-12, 12) / 4
    rows[:, _AGE] = numbers[:, 3].clamp(-3, 3)
    chances = torch.rand(count, 3, generator=rng, dtype=torch.float64)
    rows[:, _SEX] = (chances[:, 0] < 0.5).double()
    rows[:, _MARRIED] = (chances[:, 1] < 0.5).double()
    rows[:, _LEVELS] = torch.nn.functional.one_hot((3 * chances[:, 2]).long(), 3).double()
    rows[:, _COST] = _FOLLOWS * rows[:, _AMOUNT]
    return rows


def toy_rows_problem(
    *,
    n_queries: int = 4,
    scene: Scene = "linear",
    distance: Distance | None = None,
    known: bool = True,
    fixed: bool = False,
    decided: bool = False,
    max_changed: int | None = None,
    only: int | None = None,
) -> FeatureProblem:
    """Return the problem of finding the nearest rows that are decided otherwise.

    Arguments:
        n_queries: how many rows are asked about.
        scene: see `ToyDecision`.
        distance: fitted to `toy_rows`; `ToySpread` without it.
        known: whether a search is shown rows that exist.
        fixed: nothing may change.
        decided: the first query is decided as wanted already.
        max_changed: how many columns an answer may change.
        only: ask about this query alone.

    >>> problem = toy_rows_problem(n_queries=2)
    >>> problem.losses(problem.space.reference, torch.arange(2)).eligible.tolist()
    [False, False]
    """
    rows = toy_rows()
    usual = ToyDecision(ToyReach(rows)).loss(rows, torch.arange(len(rows)))
    # Rows that lack only a little would be answered by whatever a search tries first.
    queries = rows[usual > _LEVEL / 2][:n_queries]
    if decided:
        queries = torch.cat([rows[usual < 0][:1], queries[1:]])
    if only is not None:
        queries = queries[only : only + 1]
    if distance is None:
        distance = ToySpread()
        distance.fit(rows)
    reach = ToyReach(queries, fixed)
    decision = ToyDecision(reach, scene)
    margins = decision.loss(rows, torch.arange(len(rows)))
    space = FeatureSearchSpace(
        reach,
        distance,
        known=rows if known else None,
        known_margins=(lambda: margins[:, None].repeat(1, len(queries))) if known else None,
        labels=torch.zeros(len(queries), dtype=torch.int64),
        wanted=torch.ones(len(queries), dtype=torch.int64),
        max_changed=max_changed,
    )
    return FeatureProblem(space, decision)
