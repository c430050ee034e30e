"""Each check of adapters passes for a sound one and catches the one that breaks its rule."""

from __future__ import annotations

import copy

import pytest
import torch

from preimage.testing import ConformanceError, check_adapter
from preimage.testing.adapter import CHECKS
from preimage.testing.toy import WORDS

BROKEN = {}


def breaks(check_id):
    """Register an adapter as the one that the check `check_id` is there for."""

    def register(adapter):
        BROKEN[check_id] = adapter
        return adapter

    return register


class LeastSquares:
    """One map for all words of one token."""

    def __init__(self, *, source, target):
        self.source, self.target = source, target

    def fit(self, words=None):
        words = list(words or WORDS)
        ours, theirs = (
            space.embedding[torch.tensor(space.encode(words)).flatten()] for space in (self.source, self.target)
        )
        self.matrix = torch.linalg.lstsq(ours, theirs).solution

    def translate(self, ids):
        return self.target.encode(self.source.decode(ids))

    def pull_back(self, ids, translated, gradient):
        return gradient @ self.matrix.T


@breaks("follows-the-protocol")
class WorksOnACopy(LeastSquares):
    def __init__(self, *, source, target):
        super().__init__(source=copy.copy(source), target=target)


@breaks("translation-goes-through-text")
class KeepsTheIds(LeastSquares):
    def translate(self, ids):
        return ids.tolist()


@breaks("gradient-has-the-shape")
class CarriesAHistory(LeastSquares):
    def pull_back(self, ids, translated, gradient):
        return super().pull_back(ids, translated, gradient).requires_grad_()


@breaks("exact-on-a-linear-map")
class DividesByTheMap(LeastSquares):
    def pull_back(self, ids, translated, gradient):
        return gradient @ torch.linalg.pinv(self.matrix)


@breaks("batch-equals-singles")
class ScalesByTheBatch(LeastSquares):
    def pull_back(self, ids, translated, gradient):
        pulled = super().pull_back(ids, translated, gradient)
        return pulled if len(pulled) > 1 else 0.5 * pulled


@breaks("fitting-is-repeatable")
class FitsWithNoise(LeastSquares):
    def fit(self, words=None):
        super().fit(words)
        if words is not None:
            self.matrix += 1e-6 * torch.randn(self.matrix.shape)


@breaks("inputs-are-not-changed")
class ConsumesTheTranslation(LeastSquares):
    def pull_back(self, ids, translated, gradient):
        translated.zero_()
        return super().pull_back(ids, translated, gradient)


@breaks("leaves-the-process-alone")
class TellsOfItsProgress(LeastSquares):
    def fit(self, words=None):
        super().fit(words)
        print("fitted")


def test_a_sound_adapter_passes():
    """Nothing is found wrong with plain least squares."""
    assert {outcome.status for outcome in check_adapter(LeastSquares).outcomes} == {"passed"}


def test_every_check_has_a_broken_adapter():
    """No check is registered without an adapter that it catches."""
    assert set(BROKEN) == set(CHECKS.ids())


@pytest.mark.parametrize("check_id", CHECKS.ids())
def test_catches(check_id):
    """A broken adapter fails the check of the rule that it breaks, and no other."""
    report = check_adapter(BROKEN[check_id], strict=False)
    assert [outcome.check.id for outcome in report.failures] == [check_id], report.to_text(only_failures=True)


def test_a_failure_raises_with_rule_finding_and_remedy():
    """The error of the Python door says what was seen and what to do."""
    with pytest.raises(ConformanceError, match=r"(?s)differs from the exact gradient.*To mend it: Fit the map"):
        check_adapter(DividesByTheMap)
