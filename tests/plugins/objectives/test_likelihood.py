"""Fluency, likelihood of a target text and likelihood of a class, computed again token by token."""

from __future__ import annotations

import math

import pytest
import torch

from preimage import catalogue
from preimage.api import GradientObjective, NextTokenObjective
from preimage.errors import InputError, OptionError, UnknownNameError
from preimage.testing.toy_models import ToyClassifier, ToyLanguageModel, toy_pictures
from preimage_objectives.classification import ClassLikelihood
from preimage_objectives.config import ClassLikelihoodConfig, FluencyConfig, TargetLikelihoodConfig
from preimage_objectives.likelihood import Fluency, TargetLikelihood


@pytest.fixture(scope="module")
def language_model() -> ToyLanguageModel:
    """Return a small random language model in double precision."""
    return ToyLanguageModel()


@pytest.fixture(scope="module")
def classifier() -> ToyClassifier:
    """Return a small random classifier in double precision."""
    return ToyClassifier()


def prompts(model, count: int, length: int, seed: int = 0) -> torch.Tensor:
    """Return prompts of allowed tokens, ``(B, L)``."""
    allowed = model.space.allowed.nonzero().flatten()
    return allowed[torch.randint(len(allowed), (count, length), generator=torch.Generator().manual_seed(seed))]


def words(model, ids: torch.Tensor) -> str:
    """Return the text of ids ``(L,)``."""
    return model.space.decode(ids[None])[0]


def surprise(model, before: list[int], token: int) -> float:
    """Return ``-log p(token | before)`` in nats."""
    return -float(model.next_token_log_probs(torch.tensor([before], dtype=torch.int64))[0, token])


def measured(loss_of, model, ids: torch.Tensor) -> torch.Tensor:
    """Return the slopes, ``(L, d)``, of a function of embeddings ``(1, L, d)``, entry by entry."""
    at = model.space.embedding[ids[None]].clone()
    slopes = torch.zeros_like(at)
    for place in range(at.numel()):
        ends = []
        for step in (1e-6, -1e-6):
            moved = at.clone()
            moved.view(-1)[place] += step
            ends.append(float(loss_of(moved)))
        slopes.view(-1)[place] = (ends[0] - ends[1]) / 2e-6
    return slopes[0]


class TestFluency:
    def test_mean_surprise(self, language_model) -> None:
        """The loss is the mean of what each token costs behind those before it."""
        objective = Fluency(FluencyConfig(), model=language_model, targets=toy_pictures(1))
        ids = prompts(language_model, 3, 5)
        for row, loss in zip(ids.tolist(), objective.loss(ids, torch.zeros(3, dtype=torch.int64)), strict=True):
            costs = [surprise(language_model, row[:place], token) for place, token in enumerate(row)]
            assert float(loss) == pytest.approx(sum(costs) / 5, abs=1e-12)

    def test_weights_mean_the_same_at_any_length(self, language_model) -> None:
        """A mean: repeating a text's statistics does not double its loss, as a sum would."""
        objective = Fluency(FluencyConfig(), model=language_model, targets=["-"])
        losses = [
            objective.loss(prompts(language_model, 200, length), torch.zeros(200, dtype=torch.int64)).mean()
            for length in (4, 12)
        ]
        assert float(losses[1] / losses[0]) == pytest.approx(1.0, abs=0.2)

    def test_gradient_exists_and_is_the_slope(self, language_model) -> None:
        """The term contributes a gradient, and it is what finite differences measure."""
        objective = Fluency(FluencyConfig(), model=language_model, targets=["-"])
        ids = prompts(language_model, 2, 4)
        losses, gradient = objective.loss_and_gradient(ids, torch.zeros(2, dtype=torch.int64))
        torch.testing.assert_close(losses, objective.loss(ids, torch.zeros(2, dtype=torch.int64)))
        for row, slopes in zip(ids, gradient, strict=True):

            def loss_of(at: torch.Tensor, row: torch.Tensor = row) -> torch.Tensor:
                return -language_model.embedding_log_probs(at, row[None]).mean()

            torch.testing.assert_close(slopes, measured(loss_of, language_model, row), atol=1e-8, rtol=1e-6)
        assert (gradient.flatten(1).norm(dim=1) > 1e-3).all()

    def test_last_token_moves_nothing_behind_it(self, language_model) -> None:
        """The last token has no token behind it, so that its embedding has no slope."""
        objective = Fluency(FluencyConfig(), model=language_model, targets=["-"])
        _, gradient = objective.loss_and_gradient(prompts(language_model, 2, 4), torch.zeros(2, dtype=torch.int64))
        assert not gradient[:, -1].any()
        assert gradient[:, :-1].any()

    def test_own_likelihood_is_least_squares(self, language_model) -> None:
        """Asked for, the gradient also has the linear function of embeddings nearest to the log-probabilities."""
        plain, own = (
            Fluency(FluencyConfig(own_likelihood=asked), model=language_model, targets=["-"]) for asked in (False, True)
        )
        ids, target = prompts(language_model, 2, 4), torch.zeros(2, dtype=torch.int64)
        losses, gradient = own.loss_and_gradient(ids, target)
        expected_losses, slope = plain.loss_and_gradient(ids, target)
        allowed = language_model.space.allowed
        design = torch.cat([language_model.space.embedding[allowed], torch.ones(int(allowed.sum()), 1)], dim=1)
        for row in range(2):
            for place in range(4):
                costs = -language_model.next_token_log_probs(ids[row : row + 1, :place])[0, allowed] / 4
                nearest = torch.linalg.lstsq(design, costs[:, None]).solution[:-1, 0]
                torch.testing.assert_close(gradient[row, place] - slope[row, place], nearest, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(losses, expected_losses)

    def test_own_likelihood_is_exact_where_embeddings_are_tied(self) -> None:
        """At the last token of GPT-2 the gradient foretells what every other token would cost there."""
        miniworld = pytest.importorskip("preimage_miniworld")
        pytest.importorskip("preimage_transformers")
        assert miniworld
        model = catalogue().load_model("miniworld:gpt2", "language-model")
        objective = Fluency(FluencyConfig(own_likelihood=True), model=model, targets=["-"])
        row = torch.tensor(model.space.encode(["a tiny red star"]))
        (loss,), gradient = objective.loss_and_gradient(row, torch.tensor([0]))
        others = model.space.allowed.nonzero().flatten()
        swapped = torch.cat([row[:, :-1].expand(len(others), -1), others[:, None]], dim=1)
        change = objective.loss(swapped, torch.zeros(len(others), dtype=torch.int64)) - loss
        embedding = model.space.embedding
        foretold = (embedding[others] - embedding[row[0, -1]]) @ gradient[0, -1]

        torch.testing.assert_close(foretold, change, atol=1e-3, rtol=1e-3)

    def test_targets_are_only_counted(self, language_model) -> None:
        """Whatever the targets are, the loss is the same for each of them."""
        objective = Fluency(FluencyConfig(), model=language_model, targets=[*toy_pictures(2), "text"])
        ids = prompts(language_model, 1, 4).repeat(3, 1)
        losses = objective.loss(ids, torch.arange(3))

        assert objective.n_targets == 3
        assert losses.unique().numel() == 1

    def test_next_tokens(self, language_model) -> None:
        """It tells what is likely to follow, as the model does."""
        objective = Fluency(FluencyConfig(), model=language_model, targets=["-"])
        ids = prompts(language_model, 2, 3)

        assert isinstance(objective, GradientObjective)
        assert isinstance(objective, NextTokenObjective)
        expected = language_model.next_token_log_probs(ids)
        torch.testing.assert_close(objective.next_token_log_probs(ids, torch.tensor([0, 0])), expected)

    @pytest.mark.parametrize("targets", [[], "a text"])
    def test_no_list_of_targets(self, language_model, targets) -> None:
        """No target, or a text for a list, is one sentence."""
        with pytest.raises(InputError, match=r"The (list of targets is empty|targets are 'a text', not a list)"):
            Fluency(FluencyConfig(), model=language_model, targets=targets)


class TestTargetLikelihood:
    def costs(self, model, prompt: list[int], target: list[int]) -> list[float]:
        """Return the surprise of each of the target's tokens."""
        return [surprise(model, [*prompt, *target[:place]], token) for place, token in enumerate(target)]

    def test_mean_surprise_of_the_target(self, language_model) -> None:
        """The loss is the mean surprise of the target's tokens behind the prompt; each row has its own target."""
        targets = [prompts(language_model, 1, length, 9)[0] for length in (1, 3, 4)]
        objective = TargetLikelihood(
            TargetLikelihoodConfig(), model=language_model, targets=[words(language_model, ids) for ids in targets]
        )
        ids = prompts(language_model, 6, 5)
        which = torch.tensor([2, 0, 1, 1, 0, 2])
        for row, index, loss in zip(ids.tolist(), which.tolist(), objective.loss(ids, which), strict=True):
            costs = self.costs(language_model, row, targets[index].tolist())
            assert float(loss) == pytest.approx(sum(costs) / len(costs), abs=1e-12)

    @pytest.mark.parametrize("alpha", [0.01, 1.0, 50.0])
    def test_mellowmax(self, language_model, alpha: float) -> None:
        """Mellowmax goes from the mean to the costliest token."""
        target = prompts(language_model, 1, 4, 9)[0]
        config = TargetLikelihoodConfig(use_mellowmax=True, mellowmax_alpha=alpha)
        objective = TargetLikelihood(config, model=language_model, targets=[words(language_model, target)])
        ids = prompts(language_model, 1, 5)
        costs = self.costs(language_model, ids[0].tolist(), target.tolist())
        expected = math.log(sum(math.exp(alpha * cost) for cost in costs) / 4) / alpha
        loss = float(objective.loss(ids, torch.tensor([0])))

        assert loss == pytest.approx(expected, abs=1e-10)
        assert sum(costs) / 4 - 1e-9 <= loss <= max(costs) + 1e-9

    @pytest.mark.parametrize("use_mellowmax", [False, True])
    def test_gradient_is_the_slope(self, language_model, use_mellowmax: bool) -> None:
        """The gradient at the prompt's embeddings is measured, for rows of different targets in any order."""
        targets = [prompts(language_model, 1, length, 9)[0] for length in (2, 3)]
        config = TargetLikelihoodConfig(use_mellowmax=use_mellowmax)
        texts = [words(language_model, ids) for ids in targets]
        objective = TargetLikelihood(config, model=language_model, targets=texts)
        ids, which = prompts(language_model, 3, 4), torch.tensor([1, 0, 1])
        losses, gradient = objective.loss_and_gradient(ids, which)
        torch.testing.assert_close(losses, objective.loss(ids, which))
        for row, index, slopes in zip(ids, which.tolist(), gradient, strict=True):
            target = targets[index]

            def loss_of(at: torch.Tensor, row=row, target=target) -> torch.Tensor:
                whole = torch.cat([row, target])[None]
                behind = language_model.space.embedding[target][None]
                log_probs = language_model.embedding_log_probs(torch.cat([at, behind], dim=1), whole)[0, 4:]
                return (-log_probs).exp().mean().log() if use_mellowmax else -log_probs.mean()

            torch.testing.assert_close(slopes, measured(loss_of, language_model, row), atol=1e-8, rtol=1e-6)

    def test_only_the_targets_positions_are_asked_for(self, language_model, monkeypatch) -> None:
        """The vocabulary head is not asked for the prompt's tokens."""
        target = prompts(language_model, 1, 3, 9)[0]
        objective = TargetLikelihood(
            TargetLikelihoodConfig(), model=language_model, targets=[words(language_model, target)]
        )
        asked = []
        original = ToyLanguageModel.token_log_probs

        def counted(self, ids, *, start=0):
            answer = original(self, ids, start=start)
            asked.append(answer.shape[1])
            return answer

        monkeypatch.setattr(ToyLanguageModel, "token_log_probs", counted)
        objective.loss(prompts(language_model, 4, 6), torch.zeros(4, dtype=torch.int64))
        assert asked == [3]

    def test_room_for_the_target(self, language_model) -> None:
        """The longest target takes its place in the context; the model's own space stays as it was."""
        texts = [words(language_model, prompts(language_model, 1, length, 9)[0]) for length in (2, 5)]
        room = language_model.space.max_length
        objective = TargetLikelihood(TargetLikelihoodConfig(), model=language_model, targets=texts)

        assert objective.space.max_length == room - 5
        assert language_model.space.max_length == room
        assert objective.space.fingerprint == language_model.space.fingerprint

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("", r"The target text '' has 0 tokens, but toy reads 16 with the prompt"),
            ("red " * 16, r"has 16 tokens, but toy reads 16 with the prompt: give a text with at least one token that"),
            (3, r"A target is 3, a int, but this objective makes a language model say texts"),
        ],
    )
    def test_targets_that_cannot_be(self, language_model, target, message: str) -> None:
        """An empty target, one that leaves no room, or one that is no text."""
        with pytest.raises(InputError, match=message):
            TargetLikelihood(TargetLikelihoodConfig(), model=language_model, targets=[target])

    def test_alpha_that_cannot_be(self) -> None:
        """Mellowmax needs a positive parameter."""
        with pytest.raises(ValueError, match="mellowmax_alpha"):
            TargetLikelihoodConfig(mellowmax_alpha=0)


class TestClassLikelihood:
    def test_surprise_of_the_class(self, classifier) -> None:
        """The loss is what the wanted class of each row's target costs."""
        objective = ClassLikelihood(ClassLikelihoodConfig(), model=classifier, targets=["sad", "calm"])
        ids = prompts(classifier, 3, 4)
        expected = -classifier.class_log_probs(ids)[torch.arange(3), torch.tensor([2, 0, 2])]

        torch.testing.assert_close(objective.loss(ids, torch.tensor([0, 1, 0])), expected)

    def test_every_candidate_has_its_own_loss(self, classifier) -> None:
        """Different candidates get different losses, so that the term can rank them, in a batch as alone."""
        objective = ClassLikelihood(ClassLikelihoodConfig(label="glad"), model=classifier, targets=["-"])
        ids = prompts(classifier, 6, 4)
        target = torch.zeros(6, dtype=torch.int64)
        losses = objective.loss(ids, target)

        assert losses.unique().numel() == 6
        torch.testing.assert_close(losses, torch.cat([objective.loss(row[None], target[:1]) for row in ids]))

    def test_one_label_for_all_targets(self, classifier) -> None:
        """With the option, targets of any kind are only counted."""
        objective = ClassLikelihood(ClassLikelihoodConfig(label="sad"), model=classifier, targets=toy_pictures(2))
        assert objective.n_targets == 2
        ids = prompts(classifier, 2, 4)
        torch.testing.assert_close(objective.loss(ids, torch.arange(2)), -classifier.class_log_probs(ids)[:, 2])

    def test_gradient_is_the_slope(self, classifier) -> None:
        """The gradient is what finite differences measure."""
        objective = ClassLikelihood(ClassLikelihoodConfig(), model=classifier, targets=["sad", "glad"])
        ids, which = prompts(classifier, 2, 3), torch.tensor([1, 0])
        _, gradient = objective.loss_and_gradient(ids, which)
        for row, label, slopes in zip(ids, (1, 2), gradient, strict=True):

            def loss_of(at: torch.Tensor, label: int = label) -> torch.Tensor:
                return -classifier.embedding_class_log_probs(at)[0, label]

            torch.testing.assert_close(slopes, measured(loss_of, classifier, row), atol=1e-8, rtol=1e-6)

    def test_capitals_do_not_matter(self, classifier) -> None:
        """A label is found however it is capitalised."""
        objective = ClassLikelihood(ClassLikelihoodConfig(label="SAD"), model=classifier, targets=["-"])
        ids = prompts(classifier, 1, 4)
        torch.testing.assert_close(objective.loss(ids, torch.tensor([0])), -classifier.class_log_probs(ids)[:, 2])

    def test_unknown_label(self, classifier) -> None:
        """A class that there is not is answered with the nearest, and with all."""
        with pytest.raises(
            UnknownNameError, match=r"no class 'glda'\. Did you mean 'glad'\? Its classes are 'calm', 'glad', 'sad'"
        ):
            ClassLikelihood(ClassLikelihoodConfig(label="glda"), model=classifier, targets=["-"])

    def test_targets_that_are_no_labels(self, classifier) -> None:
        """Pictures need the option."""
        with pytest.raises(InputError, match=r"but this objective wants a class: .* or set the option label to one"):
            ClassLikelihood(ClassLikelihoodConfig(), model=classifier, targets=toy_pictures(1))


def test_options_from_the_command_line() -> None:
    """Options given as text are read, and unknown ones answered with the nearest."""
    import preimage

    catalogue = preimage.catalogue()
    parts = {"model": ToyLanguageModel(), "targets": ["red circle"]}
    catalogue.build("objective", "target-likelihood", parts, use_mellowmax="true", mellowmax_alpha="2")
    with pytest.raises(OptionError, match="mellowmax_alpha"):
        catalogue.build("objective", "target-likelihood", parts, mellowmax_alhpa=2)
