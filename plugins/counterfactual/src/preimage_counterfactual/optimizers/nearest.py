"""The point of least cost behind half-spaces and within bounds, for many queries at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.feature_space import FeatureSearchSpace

__all__ = ["Bowl"]

_ROUNDS = 200
_PATIENCE = 3
"""Rounds that may leave as much wrong as before while all that is wrong is turned at once."""
_STIFF = 1e3
_GIVE = 1e-12
"""How much half-spaces give: as a share of what they would without bounds, for a force of one."""
_EXACT = 1e-10
_UNTRIED = 2**31


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

        Without bounds it is the closed form ``c - C w (wᵀc - t) / (wᵀ C w)``. Where that leaves the bounds, it is
        guessed which coordinates are held at them and which half-spaces are met with equality, the rest is solved, and
        what has been guessed wrongly is turned, until nothing is wrong. All of it is turned at once as long as that
        leaves less and less wrong, and one at a time, always the last, where it does not; since half-spaces give by a
        trace, this ends: block principal pivoting (Portugal, Júdice and Vicente 1994) with Murty's rule.

        Where no point is behind all half-spaces, the answer is one that is as little before them as can be.

        Arguments:
            normals: ``(N, C, D)``.
            offsets: ``(N, C)``; infinite where a half-space holds everything.
        """
        height = (_times(normals, self.covariance) * normals).sum(dim=2)
        # No step leads behind a plane without a slope.
        offsets = torch.where(height > 0, offsets, torch.inf)
        bowl, pending = self, torch.arange(len(self.centre), device=self.centre.device)
        guess, result = _Guess.of(self, normals, offsets, height), self.centre
        for _ in range(_ROUNDS):
            point, force = bowl._solve(guess, normals, offsets)
            result = result.index_copy(0, pending, point)
            wrong = bowl._wrong(guess, point, force, normals, offsets)
            some = wrong.any(dim=1).nonzero().flatten()
            if not len(some):
                break
            pending, bowl, normals, offsets = pending[some], bowl.rows(some), normals[some], offsets[some]
            guess = guess.rows(some).turned(wrong[some], torch.clamp(point[some], bowl.lower, bowl.upper))
        return torch.clamp(result, self.lower, self.upper)

    def _solve(self, guess: _Guess, normals: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points of least cost if a guess is right, and the forces of the half-spaces."""
        covariance, centre = self.given(guess.held, guess.values)
        along = _times(normals, covariance)
        gap = torch.where(guess.met, _products(normals, centre) - offsets, 0.0)
        force = _forces(along @ normals.mT, gap, guess.met, guess.give)
        return torch.where(guess.held, guess.values, centre - (force[:, None] @ along)[:, 0]), force

    def _wrong(self, guess: _Guess, point: Tensor, force: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
        """Return where a guess is wrong, half-spaces before coordinates, bool ``(N, C + D)``.

        Wrong are half-spaces that pull or that a point is not behind, coordinates that leave their bounds, and held
        ones that their bound pulls.
        """
        planes = force < 0
        if not guess.met.all():
            size = _products(normals.abs(), point.abs()) + offsets.abs()
            before = _products(normals, point) - offsets > _EXACT * size
            planes = torch.where(guess.met, planes, before)
        room = _EXACT * (1 + point.abs())
        out = (point < self.lower - room) | (point > self.upper + room)
        at_bound = guess.held & (self.lower < self.upper)
        pulled = at_bound
        if at_bound.any():
            slope, push = _times((point - self.centre)[:, None], self.precision)[:, 0], (force[:, None] @ normals)[:, 0]
            noise = _EXACT * (slope.abs().amax(dim=1) + push.abs().amax(dim=1))
            outward = torch.where(guess.values == self.lower, -slope - push, slope + push)
            pulled = at_bound & (outward > noise[:, None])
        return torch.cat([planes, torch.where(guess.held, pulled, out)], dim=1)

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


@attrs.frozen(eq=False)
class _Guess:
    """Which bounds and half-spaces decide where the nearest points are.

    Attributes:
        held: coordinates, bool ``(N, D)``.
        values: where they are held, ``(N, D)``.
        met: half-spaces that are met with equality, bool ``(N, C)``.
        give: how far each half-space gives for a force of one, ``(N, C)``.
        fewest: of each query how much was wrong at best, ``(N,)``.
        patience: how many more rounds may not be better, ``(N,)``.
    """

    held: Tensor
    values: Tensor
    met: Tensor
    give: Tensor
    fewest: Tensor
    patience: Tensor

    @classmethod
    def of(cls, bowl: Bowl, normals: Tensor, offsets: Tensor, height: Tensor) -> _Guess:
        """Return the guess that only bounds matter that leave one value, and half-spaces that the centre is before.

        `height` is wᵀ C w of each half-space, ``(N, C)``.
        """
        fixed = bowl.lower == bowl.upper
        values = torch.where(fixed, bowl.lower, bowl.centre)
        give = _GIVE * torch.where(height > 0, height, 1.0)
        fewest = torch.full((len(values),), _UNTRIED, device=values.device)
        met = _products(normals, values) > offsets
        return cls(fixed, values, met, give, fewest, torch.full_like(fewest, _PATIENCE))

    def rows(self, run: Tensor) -> _Guess:
        """Return the guesses of some queries, ``(B,)``."""
        return _Guess(*(getattr(self, field.name)[run] for field in attrs.fields(_Guess)))

    def turned(self, wrong: Tensor, bounded: Tensor) -> _Guess:
        """Return the guess with what is wrong turned; what is held anew is held where it is in `bounded`."""
        count = wrong.sum(dim=1)
        better = count < self.fewest
        patience = torch.where(better, _PATIENCE, self.patience - 1)
        turn, spent = wrong, patience < 0
        if spent.any():
            last = wrong.shape[1] - 1 - wrong.flip(1).int().argmax(dim=1, keepdim=True)
            turn = torch.where(spent[:, None], torch.zeros_like(wrong).scatter_(1, last, True), wrong)
        planes, coordinates = turn.split([self.met.shape[1], self.held.shape[1]], dim=1)
        return attrs.evolve(
            self,
            held=self.held ^ coordinates,
            values=torch.where(coordinates & ~self.held, bounded, self.values),
            met=self.met ^ planes,
            fewest=torch.minimum(count, self.fewest),
            patience=patience,
        )


def _times(rows: Tensor, matrices: Tensor) -> Tensor:
    """Return rows, ``(N, K, D)``, times matrices, ``(N, D, D)`` or one for all, which is one product instead of N."""
    return rows @ matrices[0] if len(matrices) == 1 else rows @ matrices


def _products(normals: Tensor, points: Tensor) -> Tensor:
    """Return ``normals · x`` of each query, ``(N, C)``."""
    return (normals @ points[:, :, None])[:, :, 0]


def _forces(gram: Tensor, gap: Tensor, met: Tensor, give: Tensor) -> Tensor:
    """Return the forces that close the gaps of the half-spaces that are met, ``(N, C)``; 0 for the others."""
    if gram.shape[1] == 1:
        return torch.where(met, gap / (gram[:, 0] + give), 0.0)
    both = met[:, :, None] & met[:, None]
    matrix = torch.where(both, gram, 0.0) + torch.diag_embed(torch.where(met, give, 1.0))
    forces: Tensor = torch.linalg.solve(matrix, gap[:, :, None])[:, :, 0]
    return forces
