"""The checks of distances: the axioms that each declares to keep."""

from __future__ import annotations

import copy
import pickle
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
_INVARIANCES = ("none", "scale", "affine", "monotone")


@attrs.frozen(eq=False)
class DistanceSubject:
    """What the checks look at.

    Attributes:
        name: for people.
        build: returns a new distance.
    """

    name: str
    build: Callable[[], Any]
    _originals: list[Any] = attrs.field(factory=list, init=False, repr=False)

    def learned(self) -> Any:
        """Return a new distance that has learned from samples of its domain."""
        distance = self.build()
        distance.fit(samples(distance.domain, 8))
        return distance

    def fitted(self) -> Any:
        """Return a copy of a distance that has learned once for all checks: some train a network."""
        if not self._originals:
            self._originals.append(self.learned())
        try:
            return copy.deepcopy(self._originals[0])
        except Exception:
            return self.learned()  # what cannot be copied learns anew


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


def _check_grounded(distance: Any) -> None:
    """Raise where zero is not what the distance starts from."""
    if getattr(distance, "unbiased", False):
        raise NotApplicable("It is an unbiased estimate, which scatters around zero where nothing differs.")
    if not getattr(distance, "grounded", True):
        raise NotApplicable("It says that it is not grounded: it asks for more than how near the two sides are.")


def _of_features(distance: Any, needs: str = "") -> Any:
    """Return what a distance of features calls `needs`; raise where it has no such thing or another domain."""
    if distance.domain != "features":
        raise NotApplicable("It is no distance of features.")
    if needs and getattr(distance, needs, None) is None:
        raise NotApplicable(f"It has no {needs}.")
    return getattr(distance, needs) if needs else distance


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
    if distance.metric and not getattr(distance, "grounded", True):
        raise Violation("It calls itself a metric that is not grounded, that is, not zero between equals.")
    if getattr(distance, "invariance", "none") not in _INVARIANCES:
        raise Violation(f"Its invariance is {distance.invariance!r}, which is none of {', '.join(_INVARIANCES)}.")


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
    _check_grounded(distance)
    values = distance(samples(distance.domain, 6), samples(distance.domain, 6, seed=9))
    if float(values.min()) < -_TOLERANCE:
        raise Violation(f"It answers {float(values.min()):.6g}.")


@CHECKS.required(remedy="See that equal inputs give exactly zero.")
def _zero_between_equals(subject: DistanceSubject) -> None:
    """An input is at distance zero from itself."""
    distance = subject.fitted()
    _check_grounded(distance)
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


@CHECKS.required(remedy="Compute both from the same expression, or say differentiable = False.")
def _gradient_equals_finite_differences(subject: DistanceSubject) -> None:
    """The gradient of a differentiable distance of features is its slope."""
    distance = _of_features(subject.fitted())
    if not distance.differentiable:
        raise NotApplicable("It does not call itself differentiable.")
    left, right = samples("features", 5, seed=1).requires_grad_(), samples("features", 5)
    (gradient,) = torch.autograd.grad(distance(left, right).sum(), left)
    with torch.no_grad():
        for column in range(left.shape[1]):
            step = torch.zeros_like(left)
            step[:, column] = 1e-5
            slope = (distance(left + step, right) - distance(left - step, right)) / 2e-5
            if not bool(((slope - gradient[:, column]).abs() <= 1e-3 * slope.abs().clamp_min(1)).all()):
                raise Violation(
                    f"In column {column} the gradient is {gradient[:, column].tolist()} and the slope {slope.tolist()}."
                )


@CHECKS.required(remedy="Compute in float64 and answer in the type that came in.")
def _single_and_double_precision_agree(subject: DistanceSubject) -> None:
    """Features in single precision are as far apart as in double, to four digits."""
    distance = _of_features(subject.fitted())
    left, right = samples("features", 6, seed=1), samples("features", 6)
    double, single = distance(left, right), distance(left.float(), right.float()).double()
    if not bool(((single - double).abs() <= 1e-4 * double.abs().clamp_min(1)).all()):
        raise Violation(f"In double precision it answers {double.tolist()}, in single {single.tolist()}.")


@CHECKS.required(remedy="Let pairwise and the call share one formula.")
def _pairwise_equals_pairs(subject: DistanceSubject) -> None:
    """Where it compares all with all of features, each number is that of the pair."""
    distance = subject.fitted()
    pairwise = _of_features(distance, "pairwise")
    left, right = samples("features", 4, seed=1), samples("features", 3)
    pairs = distance(left.repeat_interleave(3, dim=0), right.repeat(4, 1)).reshape(4, 3)
    if pairwise(left, right).shape != (4, 3) or not _close(pairwise(left, right), pairs):
        raise Violation(f"Of all with all it answers {pairwise(left, right).tolist()}, of pairs {pairs.tolist()}.")


@CHECKS.required(remedy="Embed into coordinates whose Euclidean distance it is, or leave embed out.")
def _embedding_keeps_distances(subject: DistanceSubject) -> None:
    """Where a metric of features offers coordinates, their Euclidean distance is the metric."""
    distance = subject.fitted()
    embed = _of_features(distance, "embed")
    if not distance.metric:
        raise NotApplicable("It does not call itself a metric.")
    left, right = samples("features", 5, seed=1), samples("features", 5)
    between = (embed(left) - embed(right)).square().sum(dim=1).sqrt()
    if not _close(between, distance(left, right)):
        raise Violation(f"The coordinates are {between.tolist()} apart, the rows {distance(left, right).tolist()}.")


@CHECKS.required(remedy="Take all randomness from the generator that is passed in.")
def _draws_follow_the_generator(subject: DistanceSubject) -> None:
    """Where it draws rows, they are finite, as many as asked for, and the same for the same seed only."""
    distance = subject.fitted()
    sample = _of_features(distance, "sample")
    reference = samples("features", 2, seed=1)
    once, again, other = (sample(reference, 3, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    if once.shape != (2, 3, reference.shape[1]) or not once.isfinite().all():
        raise Violation(f"For 2 rows, 3 draws each, it answers the shape {tuple(once.shape)}, or infinity or NaN.")
    if not torch.equal(once, again):
        raise Violation("Two generators of one seed make different draws.")
    if torch.equal(once, other):
        raise Violation("Another seed makes the same draws.")


@CHECKS.required(remedy="Take the invariance back, or take the columns' units out before measuring.")
def _invariant_as_declared(subject: DistanceSubject) -> None:
    """Answers stay under the re-coding of columns that it calls itself invariant under."""
    distance = _of_features(subject.build())
    invariance = getattr(distance, "invariance", "none")
    if invariance == "none":
        raise NotApplicable("It does not call itself invariant under any re-coding.")
    data = samples("features", 40)
    recoded = subject.build()
    distance.fit(data)
    recoded.fit(_recoded(data, invariance))
    # Rows of the data, because curves between them are anybody's guess.
    left, right = data[:6], data[6:12]
    before = distance(left, right)
    after = recoded(_recoded(data, invariance)[:6], _recoded(data, invariance)[6:12])
    if not _close(before, after):
        raise Violation(f"As the rows are it answers {before.tolist()}, re-coded {after.tolist()}.")


def _recoded(rows: Tensor, invariance: str) -> Tensor:
    columns = torch.arange(1, rows.shape[1] + 1, dtype=rows.dtype)
    if invariance == "monotone":
        return rows.pow(3) * columns + rows.exp()
    if invariance == "scale":
        return rows * columns + columns.flip(0)
    mixing = torch.eye(rows.shape[1], dtype=rows.dtype) + torch.outer(columns, columns.flip(0)) / 10
    return rows @ mixing + columns


@CHECKS.required(remedy="Fit to the rows as a set; draw nothing by their positions.")
def _order_of_fitted_rows_does_not_matter(subject: DistanceSubject) -> None:
    """A distance of features that has learned from the same rows in another order answers alike."""
    distance, other = _of_features(subject.build()), subject.build()
    data = samples("features", 24)
    distance.fit(data)
    other.fit(data.flip(0))
    left, right = data[:4], data[4:8]
    if not _close(distance(left, right), other(left, right)):
        raise Violation(
            f"Fitted from top to bottom it answers {distance(left, right).tolist()}, from bottom to top "
            f"{other(left, right).tolist()}."
        )


@CHECKS.required(remedy="Keep what is learned in tensors and records; no lambdas, no open files.")
def _survives_pickling(subject: DistanceSubject) -> None:
    """A fitted distance of features can be sent to another process and answers there as here."""
    distance = _of_features(subject.fitted())
    try:
        sent = pickle.loads(pickle.dumps(distance))
    except Exception as error:
        raise Violation(f"It cannot be pickled: {type(error).__name__}: {error}") from error
    here, there = (one(samples("features", 4, seed=1), samples("features", 4)) for one in (distance, sent))
    if not torch.equal(here, there):
        raise Violation(f"Before pickling it answers {here.tolist()}, afterwards {there.tolist()}.")


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
        distance = subject.learned()
        distance(samples(distance.domain, 2), samples(distance.domain, 2, seed=1))
