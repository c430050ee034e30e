"""Each check of distances passes for sound ones and catches the one that breaks its rule."""

from __future__ import annotations

import pytest
import torch

from preimage.testing import check_distance
from preimage.testing.distance import CHECKS

BROKEN = {}


def breaks(check_id):
    """Register a distance as the one that the check `check_id` is there for."""

    def register(distance):
        BROKEN[check_id] = distance
        return distance

    return register


class Manhattan:
    """The sum of the absolute differences, each in units of its column's spread."""

    domain = "features"
    differentiable = True
    symmetric = True
    metric = True

    def fit(self, data):
        self.scale = data.std(dim=0)

    def __call__(self, left, right):
        return ((left - right) / self.scale).abs().sum(dim=1)


class Words:
    """The share of words that two texts do not have in common."""

    domain = "text"
    differentiable = False
    symmetric = True
    metric = True

    def fit(self, data):
        pass

    def __call__(self, left, right):
        pairs = [(set(one.split()), set(other.split())) for one, other in zip(left, right, strict=True)]
        return torch.tensor([1 - len(one & other) / len(one | other) for one, other in pairs])


class Brightness:
    """How differently bright two pictures are."""

    domain = "image"
    differentiable = False
    symmetric = True
    metric = False

    def fit(self, data):
        pass

    def __call__(self, left, right):
        levels = [
            torch.tensor([float(sum(picture.convert("L").resize((4, 4)).tobytes())) for picture in side])
            for side in (left, right)
        ]
        return (levels[0] - levels[1]).abs()


class SetBrightness(Brightness):
    domain = "image-set"

    def __call__(self, left, right):
        return super().__call__([one[0] for one in left], [one[0] for one in right])


class SetBrightnessEstimate(SetBrightness):
    """Right on average only, and said to be."""

    unbiased = True

    def __call__(self, left, right):
        return super().__call__(left, right) - 0.1


@breaks("follows-the-protocol")
class OfSounds(Manhattan):
    domain = "sound"


@breaks("one-number-per-pair")
class KeepsADimension(Manhattan):
    def __call__(self, left, right):
        values = super().__call__(left, right)
        return (
            values[:, None] if len(values) == 3 and not torch.equal(left, right) and not left.requires_grad else values
        )


@breaks("never-negative")
class SubtractsTooMuch(Manhattan):
    metric = False

    def __call__(self, left, right):
        values = super().__call__(left, right)
        return values * (1 - values)


@breaks("zero-between-equals")
class NeverArrives(Manhattan):
    def __call__(self, left, right):
        return super().__call__(left, right) + 0.1


@breaks("symmetric-as-declared")
class UphillIsFarther(Manhattan):
    def __call__(self, left, right):
        rise = (right - left) / self.scale
        return rise.clamp_min(0).sum(dim=1) + 0.5 * (-rise).clamp_min(0).sum(dim=1)


@breaks("triangle-as-declared")
class Squares(Manhattan):
    def __call__(self, left, right):
        return ((left - right) / self.scale).square().sum(dim=1)


@breaks("batch-equals-singles")
class ScalesByTheBatch(Manhattan):
    def __call__(self, left, right):
        return super().__call__(left, right) / len(left)


@breaks("gradient-is-finite-at-zero")
class TakesTheRoot(Manhattan):
    def __call__(self, left, right):
        return (left - right).square().sum(dim=1).sqrt()


@breaks("inputs-are-not-changed")
class SubtractsInPlace(Manhattan):
    def __call__(self, left, right):
        values = super().__call__(left, right)
        if not left.requires_grad and len(left) == 3:
            left -= right
        return values


@breaks("leaves-the-process-alone")
class FitsAtRandom(Manhattan):
    def fit(self, data):
        super().fit(data[torch.randperm(len(data))])


@breaks("gradient-equals-finite-differences")
class HoldsTheScaleBack(Manhattan):
    def __call__(self, left, right):
        values = super().__call__(left, right)
        return values.detach() + 2 * (values - values.detach())


@breaks("single-and-double-precision-agree")
class RoundsHalves(Manhattan):
    def __call__(self, left, right):
        values = super().__call__(left, right)
        return values if left.dtype == torch.float64 else values * 1.01


@breaks("pairwise-equals-pairs")
class SquaresAllWithAll(Manhattan):
    def pairwise(self, left, right):
        return torch.cdist(left / self.scale, right / self.scale)


@breaks("embedding-keeps-distances")
class EmbedsAsIfEuclidean(Manhattan):
    def embed(self, inputs):
        return inputs / self.scale


@breaks("draws-follow-the-generator")
class DrawsTheSame(Manhattan):
    def sample(self, reference, count, generator):
        return reference.unsqueeze(1).expand(-1, count, -1)


@breaks("invariant-as-declared")
class KnowsNoCorrelation(Manhattan):
    invariance = "affine"


@breaks("order-of-fitted-rows-does-not-matter")
class LooksAtTheFirstRows(Manhattan):
    def fit(self, data):
        self.scale = data[:6].std(dim=0)


@breaks("survives-pickling")
class KeepsALambda(Manhattan):
    def fit(self, data):
        super().fit(data)
        self.again = lambda: data


class Euclid(Manhattan):
    """All that a distance of features can offer, in few lines."""

    invariance = "scale"

    def embed(self, inputs):
        return inputs.double() / self.scale

    def __call__(self, left, right):
        squares = (self.embed(left) - self.embed(right)).square().sum(dim=1)
        return torch.where(squares > 0, squares, 1).sqrt() * (squares > 0)

    def pairwise(self, left, right):
        return torch.cdist(self.embed(left), self.embed(right))

    def sample(self, reference, count, generator):
        return reference.unsqueeze(1) + torch.randn(len(reference), count, reference.shape[1], generator=generator)


class Improbability(Euclid):
    """How improbable the left side is, whatever the right one."""

    symmetric = metric = grounded = False
    invariance = "none"

    def __call__(self, left, right):
        return self.embed(left).square().sum(dim=1) - 1

    pairwise = None


@pytest.mark.parametrize(
    "distance", [Manhattan, Words, Brightness, SetBrightness, SetBrightnessEstimate, Euclid, Improbability]
)
def test_sound_distances_pass(distance):
    """Nothing is found wrong with distances of each domain."""
    assert check_distance(distance, strict=False).failures == ()


def test_every_check_has_a_broken_distance():
    """No check is registered without a distance that it catches."""
    assert set(BROKEN) == set(CHECKS.ids())


@pytest.mark.parametrize("check_id", CHECKS.ids())
def test_catches(check_id):
    """A broken distance fails the check of the rule that it breaks, and no other."""
    report = check_distance(BROKEN[check_id], strict=False)
    assert [outcome.check.id for outcome in report.failures] == [check_id], report.to_text(only_failures=True)
