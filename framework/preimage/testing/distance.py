"""The checks of distances: the axioms that each declares to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage._loading import missing_members
from preimage.api import Distance
from preimage.testing.check import CheckList, NotApplicable, Report, Violation, report_given
from preimage.testing.process import untouched
from preimage.testing.toy import WORDS
from preimage.testing.toy_models import toy_model, toy_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from preimage._catalogue import Catalogue

__all__ = ["CHECKS", "DistanceSubject", "check_distance", "samples"]

CHECKS = CheckList("distance")

_TOLERANCE = 1e-5
_DOMAINS = ("features", "text", "image", "image-set")


@attrs.frozen(eq=False)
class DistanceSubject:
    """What the checks look at.

    Attributes:
        name: for people.
        build: returns a new distance.
    """

    name: str
    build: Callable[[], Any]

    def fitted(self) -> Any:
        """Return a distance that has learned from samples of its domain."""
        distance = self.build()
        distance.fit(samples(distance.domain, 8))
        return distance


def check_distance(
    distance: str | Callable[[], Any],
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    strict: bool = True,
    catalogue: Catalogue | None = None,
) -> Report:
    """Check a distance; one that is given by name is checked as a component, too.

    Arguments:
        distance: its name in the catalogue, or a function that returns a new one.
        options: its options, where it is given by name.
        expected_failures: check id to the reason why it may fail.
        strict: raise where a required check fails, instead of only reporting it.
        catalogue: where the name is looked up; the installed plugins without it.

    Raises:
        ConformanceError: a required check failed.
        UnknownNameError: the catalogue has no such distance.
    """
    return report_given(
        "distance",
        distance,
        CHECKS,
        DistanceSubject,
        options=options,
        expected_failures=expected_failures,
        strict=strict,
        catalogue=catalogue,
    )


def subject_of(name: str, options: Mapping[str, Any], catalogue: Catalogue) -> DistanceSubject:
    """Return what the checks look at, for a distance of the catalogue; one that needs a model gets a toy of its role.

    Raises:
        AssemblyError: there is no toy of the role.
    """
    provider = catalogue.describe("distance", name)
    roles = provider.component.trait("role")
    parts = {"model": toy_model(roles[0])} if roles else {}
    return DistanceSubject(str(provider), lambda: catalogue.build("distance", name, parts, **options))


def samples(domain: str, count: int, seed: int = 0) -> Any:
    """Return different inputs of a domain: features ``(B, 5)``, texts, pictures, or lists of pictures.

    >>> samples("text", 2)
    ['umber fern dune', 'oak fern dune']
    """
    rng = torch.Generator().manual_seed(seed)
    if domain == "text":
        rows = [torch.randperm(len(WORDS), generator=rng)[:3].tolist() for _ in range(count)]
        return [" ".join(WORDS[index] for index in row) for row in rows]
    if domain == "image":
        return toy_pictures(count + seed)[seed:]
    if domain == "image-set":
        pictures = toy_pictures(4 * count + seed)[seed:]
        return [pictures[4 * index : 4 * index + 4] for index in range(count)]
    return torch.randn(count, 5, generator=rng, dtype=torch.float64)


def _not_unbiased(distance: Any) -> None:
    """Raise where single answers are right on average only, which neither stay above zero nor meet it."""
    if getattr(distance, "unbiased", False):
        raise NotApplicable("It is an unbiased estimate, which scatters around zero where nothing differs.")


def _close(left: Tensor, right: Tensor) -> bool:
    return bool(((left - right).abs() <= _TOLERANCE * torch.maximum(left.abs(), right.abs()).clamp_min(1)).all())


@CHECKS.required(remedy="Add what is missing; see preimage.api.Distance.")
def _follows_the_protocol(subject: DistanceSubject) -> None:
    """It says its domain, whether it is differentiable, symmetric and a metric, and can be fitted and called."""
    distance = subject.build()
    missing = missing_members(distance, Distance)
    if missing:
        raise Violation(f"{type(distance).__name__} has no {' and no '.join(missing)}.")
    if distance.domain not in _DOMAINS:
        raise Violation(f"Its domain is {distance.domain!r}, which is none of {', '.join(_DOMAINS)}.")
    if distance.metric and not distance.symmetric:
        raise Violation("It calls itself a metric that is not symmetric.")


@CHECKS.required(remedy="Return a tensor (B,) in floating point, with neither NaN nor infinity.")
def _one_number_per_pair(subject: DistanceSubject) -> None:
    """B pairs have B finite distances."""
    distance = subject.fitted()
    values = distance(samples(distance.domain, 3), samples(distance.domain, 3, seed=5))
    if not isinstance(values, torch.Tensor) or values.shape != (3,) or not values.dtype.is_floating_point:
        raise Violation(f"It answers {getattr(values, 'shape', values)!r} for 3 pairs.")
    if not values.isfinite().all():
        raise Violation(f"It answers {values.tolist()}.")


@CHECKS.required(remedy="Take the absolute value, a square, or subtract what everything has in common.")
def _never_negative(subject: DistanceSubject) -> None:
    """No distance is below zero."""
    distance = subject.fitted()
    _not_unbiased(distance)
    values = distance(samples(distance.domain, 6), samples(distance.domain, 6, seed=9))
    if float(values.min()) < -_TOLERANCE:
        raise Violation(f"It answers {float(values.min()):.6g}.")


@CHECKS.required(remedy="See that equal inputs give exactly zero.")
def _zero_between_equals(subject: DistanceSubject) -> None:
    """An input is at distance zero from itself."""
    distance = subject.fitted()
    _not_unbiased(distance)
    values = distance(samples(distance.domain, 3), samples(distance.domain, 3))
    if float(values.detach().abs().max()) > _TOLERANCE:
        raise Violation(f"Equal inputs are {values.tolist()} apart.")


@CHECKS.required(remedy="Say symmetric = False, or average both directions.")
def _symmetric_as_declared(subject: DistanceSubject) -> None:
    """One that calls itself symmetric measures alike from either side."""
    distance = subject.fitted()
    if not distance.symmetric:
        raise NotApplicable("It does not call itself symmetric.")
    left, right = samples(distance.domain, 5), samples(distance.domain, 5, seed=3)
    if not _close(distance(left, right), distance(right, left)):
        raise Violation(
            f"From one side it answers {distance(left, right).tolist()}, from the other "
            f"{distance(right, left).tolist()}."
        )


@CHECKS.required(remedy="Say metric = False, or take the root of a squared distance.")
def _triangle_as_declared(subject: DistanceSubject) -> None:
    """In a metric no way round is shorter than the straight one."""
    distance = subject.fitted()
    if not distance.metric:
        raise NotApplicable("It does not call itself a metric.")
    first, second, third = (samples(distance.domain, 24, seed=seed) for seed in (1, 30, 60))
    straight, round_about = distance(first, third), distance(first, second) + distance(second, third)
    excess = float((straight - round_about).max())
    if excess > _TOLERANCE:
        raise Violation(f"A way round is shorter by {excess:.6g}.")


@CHECKS.required(remedy="Reduce over features only, and fit in fit alone.")
def _batch_equals_singles(subject: DistanceSubject) -> None:
    """A pair's distance does not depend on the other pairs."""
    distance = subject.fitted()
    left, right = samples(distance.domain, 4), samples(distance.domain, 4, seed=7)
    singles = torch.cat([distance(left[i : i + 1], right[i : i + 1]) for i in range(4)])
    if not _close(distance(left, right), singles):
        raise Violation(f"In a batch it answers {distance(left, right).tolist()}, alone {singles.tolist()}.")


@CHECKS.required(remedy="Add a small constant below the root, or say differentiable = False.")
def _gradient_is_finite_at_zero(subject: DistanceSubject) -> None:
    """A differentiable distance of features has a finite gradient, also between equal inputs."""
    distance = subject.fitted()
    if not distance.differentiable or distance.domain != "features":
        raise NotApplicable("It is not a differentiable distance of features.")
    right = samples("features", 3)
    for left in (samples("features", 3, seed=1), right.clone()):
        left.requires_grad_()
        (gradient,) = torch.autograd.grad(distance(left, right).sum(), left)
        if not gradient.isfinite().all():
            raise Violation(f"The gradient holds {gradient[~gradient.isfinite()][0].item()}.")


@CHECKS.required(remedy="Work on copies.")
def _inputs_are_not_changed(subject: DistanceSubject) -> None:
    """Neither side is written to."""
    distance = subject.fitted()
    left, right = samples(distance.domain, 3), samples(distance.domain, 3, seed=2)
    distance(left, right)
    for given, seed in ((left, 0), (right, 2)):
        fresh = samples(distance.domain, 3, seed=seed)
        same = torch.equal(given, fresh) if isinstance(given, torch.Tensor) else given == fresh
        if not same:
            raise Violation("It writes to what it is given.")


@CHECKS.required(remedy="Use generators of your own, the logging module, and local settings.")
def _leaves_the_process_alone(subject: DistanceSubject) -> None:
    """Building, fitting and asking it prints nothing and changes no global generator, setting or directory."""
    with untouched("Fitting and asking it"):
        distance = subject.fitted()
        distance(samples(distance.domain, 2), samples(distance.domain, 2, seed=1))
