"""Each check of objectives passes for a sound one and catches the one that breaks its rule."""

from __future__ import annotations

import pytest
import torch

from preimage.api import Component
from preimage.testing import ConformanceError, check_objective
from preimage.testing.check import report_on
from preimage.testing.objective import CHECKS, ObjectiveSubject, make_targets
from preimage.testing.toy_models import ToyClassifier, ToyEncoder, ToyLanguageModel

BROKEN = {}


def breaks(check_id, model=ToyEncoder):
    """Register an objective as the one that the check `check_id` is there for."""

    def register(objective):
        BROKEN[check_id] = objective, model
        return objective

    return register


class Similarity:
    """One less the cosine of prompt and target text, computed as it should be."""

    def __init__(self, *, model, targets):
        self.model = model
        self.space = model.space
        self.n_targets = len(targets)
        ids = [torch.tensor([ids]) for ids in model.space.encode(targets)]
        self.vectors = torch.cat([model.encode_tokens(row) for row in ids])

    def loss(self, candidates, target):
        return 1 - (self.model.encode_tokens(candidates) * self.vectors[target]).sum(dim=-1)

    def loss_and_gradient(self, candidates, target):
        embeddings = self.space.embedding[candidates].requires_grad_()
        losses = 1 - (self.model.encode_embeddings(embeddings) * self.vectors[target]).sum(dim=-1)
        (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
        return losses.detach(), gradient


class Surprise:
    """The mean negative log-probability of the prompt's tokens."""

    def __init__(self, *, model, targets):
        self.model = model
        self.space = model.space
        self.n_targets = len(targets)

    def loss(self, candidates, target):
        return -self.model.token_log_probs(candidates).mean(dim=-1)

    def loss_and_gradient(self, candidates, target):
        embeddings = self.space.embedding[candidates].requires_grad_()
        losses = -self.model.embedding_log_probs(embeddings, candidates).mean(dim=-1)
        (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
        return losses.detach(), gradient

    def next_token_log_probs(self, ids, target):
        return self.model.next_token_log_probs(ids)


class Label:
    """The negative log-probability of a label."""

    def __init__(self, *, model, targets):
        self.model = model
        self.space = model.space
        self.n_targets = len(targets)
        self.labels = torch.tensor([model.labels.index(target) for target in targets])

    def loss(self, candidates, target):
        return -self.model.class_log_probs(candidates).gather(1, self.labels[target][:, None]).squeeze(1)

    def loss_and_gradient(self, candidates, target):
        embeddings = self.space.embedding[candidates].requires_grad_()
        log_probs = self.model.embedding_class_log_probs(embeddings)
        losses = -log_probs.gather(1, self.labels[target][:, None]).squeeze(1)
        (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
        return losses.detach(), gradient


@breaks("follows-the-protocol")
class ForgetsItsTargets(Similarity):
    def __init__(self, *, model, targets):
        super().__init__(model=model, targets=targets)
        self.n_targets = 1


@breaks("one-number-per-candidate")
class KeepsTheHistory(Similarity):
    def loss(self, candidates, target):
        embeddings = self.space.embedding[candidates].requires_grad_()
        return 1 - (self.model.encode_embeddings(embeddings) * self.vectors[target]).sum(dim=-1)

    def loss_and_gradient(self, candidates, target):
        losses, gradient = super().loss_and_gradient(candidates, target)
        return losses, gradient


@breaks("losses-are-finite")
class TakesTheLogOfVariety(Similarity):
    def loss(self, candidates, target):
        return super().loss(candidates, target) - 0 * self.variety(candidates)

    def loss_and_gradient(self, candidates, target):
        losses, gradient = super().loss_and_gradient(candidates, target)
        return losses - 0 * self.variety(candidates), gradient

    @staticmethod
    def variety(candidates):
        if candidates.shape[1] <= 4:
            return torch.zeros(len(candidates), dtype=torch.float64)
        different = [len(set(row)) - 1 for row in candidates.tolist()]
        return torch.tensor(different, dtype=torch.float64).log()


@breaks("batch-equals-singles")
class SqueezesTheBatch(Similarity):
    def loss(self, candidates, target):
        losses = super().loss(candidates, target)
        # The slope is measured with single candidates, too, where a scalar does as well.
        return losses.squeeze()


@breaks("company-changes-nothing")
class MixesUpDuplicates(Similarity):
    def loss(self, candidates, target):
        rows, first = torch.unique(candidates, dim=0, return_inverse=True)
        owner = torch.zeros(len(rows), dtype=torch.int64).scatter(0, first, target)
        return super().loss(rows, owner)[first]


@breaks("order-does-not-matter")
class ForgetsToUnsort(Similarity):
    def loss(self, candidates, target):
        rows = candidates.tolist()
        order = sorted(range(len(rows)), key=rows.__getitem__) if len(set(map(tuple, rows))) == len(rows) else None
        losses = super().loss(candidates, target)
        return losses if order is None else losses[torch.tensor(order)]


@breaks("chunks-do-not-matter")
class LosesTheLastChunk(Similarity):
    def loss(self, candidates, target):
        losses = super().loss(candidates, target)
        whole = len(losses) // 32 * 32
        return losses if len(losses) < 32 else torch.cat([losses[:whole], losses[:1].expand(len(losses) - whole)])


@breaks("targets-are-independent")
class AveragesItsTargets(Similarity):
    def __init__(self, *, model, targets):
        super().__init__(model=model, targets=targets)
        self.vectors = self.vectors - self.vectors.mean(dim=0)


@breaks("both-losses-agree")
class ScalesOneOfTwo(Similarity):
    def loss_and_gradient(self, candidates, target):
        losses, gradient = super().loss_and_gradient(candidates, target)
        return 2 * losses, gradient


@breaks("gradient-has-the-shape")
class GradientWithHistory(Similarity):
    def loss_and_gradient(self, candidates, target):
        losses, gradient = super().loss_and_gradient(candidates, target)
        return losses, gradient.requires_grad_()


@breaks("gradient-is-the-slope")
class DifferentiatesTheMean(Similarity):
    def loss_and_gradient(self, candidates, target):
        losses, gradient = super().loss_and_gradient(candidates, target)
        return losses, gradient / len(losses)


@breaks("next-tokens-are-probabilities", ToyLanguageModel)
class AnswersLogits(Surprise):
    def next_token_log_probs(self, ids, target):
        return super().next_token_log_probs(ids, target) + 1.0


@breaks("model-is-untouched")
class LeavesGradients(Similarity):
    def loss_and_gradient(self, candidates, target):
        losses, gradient = super().loss_and_gradient(candidates, target)
        self.model.network.pixels.grad = torch.ones_like(self.model.network.pixels)
        return losses, gradient


@breaks("inputs-are-not-changed")
class SortsTheTargets(Similarity):
    def __init__(self, *, model, targets):
        super().__init__(model=model, targets=targets)
        targets.reverse()


@breaks("offers-what-it-declares")
class OffersMore(Similarity):
    """Its component declares nothing; see `component`."""


@breaks("leaves-the-process-alone")
class Chatters(Similarity):
    def loss(self, candidates, target):
        print("scoring", len(candidates))
        return super().loss(candidates, target)


def component(*offers):
    return Component(
        name="similarity",
        target="acme:Similarity",
        config="acme:Config",
        api="1.0",
        summary="A similarity.",
        traits=tuple(f"offers:{offer}" for offer in offers),
    )


def subject(objective, model, offers):
    kinds = ("label",) if model is ToyClassifier else ("text",)
    toy = model()

    def bind(model, targets):
        return objective(model=model, targets=targets)

    return ObjectiveSubject(objective.__name__, bind, toy, make_targets(toy, kinds), component(*offers))


@pytest.mark.parametrize(
    ("objective", "model", "offers"),
    [
        (Similarity, ToyEncoder, ["gradient"]),
        (Surprise, ToyLanguageModel, ["gradient", "next-token"]),
        (Label, ToyClassifier, ["gradient"]),
    ],
)
def test_sound_objectives_pass(objective, model, offers):
    """Nothing is found wrong with objectives of encoders, language models and classifiers."""
    report = report_on("it", [(CHECKS, subject(objective, model, offers))])
    assert report.failures == ()
    assert {outcome.check.id for outcome in report.outcomes if outcome.status == "skipped"} <= {
        "next-tokens-are-probabilities"
    }


def test_every_check_has_a_broken_objective():
    """No check is registered without an objective that it catches."""
    assert set(BROKEN) == set(CHECKS.ids())


@pytest.mark.parametrize("check_id", CHECKS.ids())
def test_catches(check_id):
    """A broken objective fails the check of the rule that it breaks, and no other."""
    objective, model = BROKEN[check_id]
    offers = ["gradient", "next-token"] if model is ToyLanguageModel else ["gradient"]
    broken = subject(objective, model, [] if check_id == "offers-what-it-declares" else offers)
    report = report_on("it", [(CHECKS, broken)])
    assert [outcome.check.id for outcome in report.failures] == [check_id], report.to_text(only_failures=True)


def test_without_gradient_the_rest_is_checked():
    """An objective of values only skips what is said about gradients, visibly."""

    class Values:
        def __init__(self, *, model, targets):
            self.inner = Similarity(model=model, targets=targets)
            self.space, self.n_targets = self.inner.space, self.inner.n_targets

        def loss(self, candidates, target):
            return self.inner.loss(candidates, target)

    report = check_objective(Values)
    skipped = [outcome for outcome in report.outcomes if outcome.status == "skipped"]
    assert "It offers no gradient." in {outcome.message for outcome in skipped}


def test_a_failure_raises_with_rule_finding_and_remedy():
    """The error of the Python door says what was seen and what to do."""
    with pytest.raises(ConformanceError, match=r"(?s)rises by .*To mend it: Differentiate the sum"):
        check_objective(DifferentiatesTheMean)
