"""The point of least cost behind half-spaces and within bounds, for many queries at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.feature_space import FeatureSearchSpace

__all__ = ["Bowl"]

_ROUNDS = 40
_SWEEPS = 300
_STIFF = 1e3
_GREAT = 1e6
_OUTSIDE = 1e-12


@attrs.frozen(eq=False)
class Bowl:
    """The form (x - c)ᵀ P (x - c) of each of N queries, within bounds.

    Attributes:
        centre: c, ``(N, D)``.
        precision: P, ``(1, D, D)`` for all queries or ``(N, D, D)``; invertible.
        covariance: its inverse, or pseudo-inverse, of the same shape.
        lower: the least coordinates, ``(N, D)``; equal to `upper` where nothing may move.
        upper: the greatest ones.
    """

    centre: Tensor
    precision: Tensor
    covariance: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def of(cls, space: FeatureSearchSpace, categories: Tensor | None = None) -> Bowl:
        """Return the forms that the distance rises with around every query, in the floats that a search may move.

        With `categories`, rows ``(N, D)``, nominal columns are held as they are there. Followers move with
        what they follow: with ``x = q + (y - q) W`` the form is one of ``y``.
        """
        form = space.quadratic if categories is None else space.quadratic_given(categories)
        precision = form.precision if form.precision.ndim == 3 else form.precision[None]
        covariance = form.covariance if form.covariance.ndim == 3 else form.covariance[None]
        centre = form.centre
        width = precision.shape[-1]
        identity = torch.eye(width, dtype=precision.dtype, device=precision.device)
        matrix = space.reach.pull_back(identity).mT
        if not torch.equal(matrix, identity):
            push = torch.einsum("nij,nj->ni", precision.expand(len(centre), -1, -1), space.reference - centre)
            precision = matrix @ precision @ matrix.T
            covariance = torch.linalg.pinv(precision, hermitian=True)
            centre = space.reference - torch.einsum(
                "nij,nj->ni", covariance.expand(len(centre), -1, -1), push @ matrix.T
            )
        # Directions that the data never take cost nothing in a pseudo-inverse. They are made dear instead, so that
        # nobody walks there.
        idle = identity - precision @ covariance
        if idle.abs().max() > 1e-6:
            stiffness = _STIFF * precision.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
            precision = precision + stiffness * (idle + idle.mT) / 2
        still = (
            torch.where(space.free, space.lower, space.anchor),
            torch.where(space.free, space.upper, space.anchor),
        )
        bowl = cls(centre, precision, covariance, *still)
        if categories is None:
            return bowl
        held = torch.zeros(width, dtype=torch.bool, device=centre.device)
        for group in space.groups:
            held[group] = True
        return bowl.within(~held.expand_as(centre), categories)

    def rows(self, run: Tensor) -> Bowl:
        """Return the forms of some queries, ``(B,)``."""
        shared = len(self.precision) == 1
        precision = self.precision if shared else self.precision[run]
        covariance = self.covariance if shared else self.covariance[run]
        return Bowl(self.centre[run], precision, covariance, self.lower[run], self.upper[run])

    def within(self, free: Tensor, reference: Tensor) -> Bowl:
        """Return the forms where what is not `free`, bool ``(N, D)``, stays as in `reference`."""
        lower = torch.where(free, self.lower, reference)
        return attrs.evolve(self, lower=lower, upper=torch.where(free, self.upper, reference))

    def bottom(self) -> Tensor:
        """Return the points of least cost within the bounds, ``(N, D)``."""
        if ((self.centre >= self.lower) & (self.centre <= self.upper)).all():
            return self.centre
        n_runs, width = self.centre.shape
        return self.nearest(self.centre.new_zeros(n_runs, 1, width), self.centre.new_zeros(n_runs, 1))

    def nearest(self, normals: Tensor, offsets: Tensor) -> Tensor:
        """Return the points of least cost with ``normals · x <= offsets``, ``(N, D)``.

        Without bounds it is the closed form ``c - C w (wᵀc - t) / (wᵀ C w)``. What leaves the bounds is then held at
        them and the rest solved again, what is held and need not be is let go, until nothing changes: an active set.
        Where no point is behind all half-spaces, the answer is no point of them.

        Arguments:
            normals: ``(N, C, D)``.
            offsets: ``(N, C)``.
        """
        fixed = self.lower == self.upper
        held = fixed
        values = torch.where(held, self.lower, self.centre)
        solution, force = self._solve(held, values, normals, offsets)
        pending = torch.arange(len(self.centre), device=self.centre.device)
        bowl, wanted = self, (normals, offsets)
        result = solution
        for count in range(_ROUNDS):
            out = ((solution < bowl.lower - _OUTSIDE) | (solution > bowl.upper + _OUTSIDE)) & ~held
            changing = out.any(dim=1)
            loose = None
            if count:
                loose = bowl._pulling(held & ~fixed, values, solution, force, wanted[0]) & ~changing[:, None]
                changing = changing | loose.any(dim=1)
            if not changing.any():
                break
            some = changing.nonzero().flatten()
            pending, bowl = pending[some], bowl.rows(some)
            wanted = wanted[0][some], wanted[1][some]
            fixed = fixed[some]
            held = (held | out if loose is None else held & ~loose | out)[some]
            bounded = torch.clamp(solution[some], bowl.lower, bowl.upper)
            values = torch.where(out[some], bounded, values[some])
            solution, force = bowl._solve(held, values, *wanted)
            result = result.index_copy(0, pending, solution)
        return torch.clamp(result, self.lower, self.upper)

    def _solve(self, held: Tensor, values: Tensor, normals: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points of least cost where some coordinates are held, and the forces of the half-spaces."""
        covariance, centre = self.given(held, values)
        along = _times(normals, covariance)
        gap = (normals @ centre[:, :, None])[:, :, 0] - offsets  # minus infinity where a half-space holds everything
        force, able = _multipliers(along @ normals.mT, gap)
        return centre - ((force * able)[:, None] @ along)[:, 0], force

    def _pulling(self, held: Tensor, values: Tensor, solution: Tensor, force: Tensor, normals: Tensor) -> Tensor:
        """Return of each query the held coordinate that its bound pulls hardest instead of pushing, bool ``(N, D)``.

        One at a time, and only once all are within bounds: letting go of several may run in circles.
        """
        push = _times((solution - self.centre)[:, None], self.precision)[:, 0] + (force[:, None] @ normals)[:, 0]
        pull = torch.where(values == self.lower, -push, push).masked_fill(~held, 0.0)
        worst = pull.argmax(dim=1, keepdim=True)
        return torch.zeros_like(held).scatter_(1, worst, pull.gather(1, worst) > _OUTSIDE)

    def given(self, held: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the covariance and centre of the rest where some coordinates are held at `values`."""
        if not held.any():
            return self.covariance, self.centre
        alike = len(self.precision) == 1 and bool((held == held[0]).all())
        free = (~held[:1] if alike else ~held).to(self.centre.dtype)
        within = free[:, :, None] * free[:, None]
        masked = self.precision * within + torch.diag_embed(1 - free)
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(masked)) * within
        apart = torch.where(held, values - self.centre, 0.0)
        push = _times(apart[:, None], self.precision)
        return covariance, self.centre + apart - _times(push, covariance)[:, 0]


def _times(rows: Tensor, matrices: Tensor) -> Tensor:
    """Return rows, ``(N, K, D)``, times matrices, ``(N, D, D)`` or one for all, which is one product instead of N."""
    return rows @ matrices[0] if len(matrices) == 1 else rows @ matrices


def _multipliers(gram: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """Return the forces ``f >= 0`` of half-spaces with the least ``fᵀ G f / 2 - fᵀ g``, and which can be obeyed.

    Both are ``(N, C)``.

    Where everything that could obey a half-space is held, its force is as great as can be, so that it is let go.
    """
    diagonal = gram.diagonal(dim1=1, dim2=2)
    able = diagonal > 1e-12 * diagonal.amax().clamp_min(1e-300)
    stuck = torch.where(gap > 0, _GREAT, 0.0).to(gap)
    if gram.shape[1] == 1:
        return torch.where(able, gap.clamp_min(0) / diagonal, stuck), able
    force = torch.zeros_like(gap)
    for _ in range(_SWEEPS):
        before = force.clone()
        for place in range(gram.shape[1]):
            rest = gap[:, place] - (gram[:, place] * force).sum(dim=1) + diagonal[:, place] * force[:, place]
            force[:, place] = torch.where(able[:, place], (rest / diagonal[:, place]).clamp_min(0), 0.0)
        if (force - before).abs().max() <= 1e-12 * (1 + force.abs().max()):
            break
    return torch.where(able, force, stuck), able
