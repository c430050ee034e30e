"""Objectives on language models and classifiers of transformers, and several of them in one search."""

from __future__ import annotations

import pytest
import torch

import preimage
from preimage.budget import Budget
from preimage.pipeline import Pipeline, Stage, Term
from preimage.testing.toy_models import toy_pictures

from .conftest import loaded, made, prompts

LANGUAGE_MODELS = ["gpt2", "llama"]


def reference(kind: str) -> str:
    return f"hf:{made(kind)[0]}"


def built(name: str, kind: str, role: str, targets: list, dtype: str = "float64", **options):
    """Return an objective on a model in double precision."""
    parts = {"model": loaded(kind, role, dtype), "targets": targets}
    return preimage.catalogue().build("objective", name, parts, **options)


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
class TestLanguageModels:
    def test_fluency_has_a_gradient(self, kind: str) -> None:
        """Neither the logits nor the labels cut the gradient off: every token but the last has one (FUSE's F14)."""
        objective = built("fluency", kind, "language-model", ["-"])
        _, gradient = objective.loss_and_gradient(prompts(objective.space, 3, 5), torch.zeros(3, dtype=torch.int64))

        assert (gradient[:, :-1].norm(dim=-1) > 1e-4).all()

    def test_a_batch_of_texts_has_a_loss_for_each(self, kind: str) -> None:
        """A text's loss is that of transformers for this text alone, whatever else is in the batch."""
        objective = built("fluency", kind, "language-model", ["-"], "float32")
        model = loaded(kind, "language-model")
        ids = prompts(objective.space, 60, 6)
        losses = objective.loss(ids, torch.zeros(60, dtype=torch.int64))
        for row, loss in list(zip(ids.tolist(), losses, strict=True))[:5]:
            whole = torch.tensor([[*model.start_ids, *row]])
            with torch.no_grad():
                torch.testing.assert_close(loss, made(kind)[1](input_ids=whole, labels=whole).loss, atol=1e-5, rtol=0)

    def test_target_is_read_as_it_stands_behind_a_text(self, kind: str) -> None:
        """The target's tokens are those of the whole text typed at once, and so is their loss."""
        text, target = "a small red", "circle above"
        objective = built("target-likelihood", kind, "language-model", [target], "float32")
        (ids,) = objective.space.encode([text])
        (together,) = objective.space.encode([f"{text} {target}"])
        model = loaded(kind, "language-model")
        expected = -model.token_log_probs(torch.tensor([together]), start=len(ids)).mean()

        assert together[: len(ids)] == ids
        torch.testing.assert_close(objective.loss(torch.tensor([ids]), torch.tensor([0]))[0], expected)

    def test_many_candidates_share_their_beginnings(self, kind: str) -> None:
        """With shared beginnings the losses are those of one candidate at a time."""
        objective = built("target-likelihood", kind, "language-model", ["circle above", "red"], "float32")
        ids = prompts(objective.space, 1, 8).repeat(80, 1)
        ids[:, 5:6] = prompts(objective.space, 80, 1, seed=2)
        target = torch.arange(80) % 2
        singles = torch.cat([objective.loss(ids[i : i + 1], target[i : i + 1]) for i in range(80)])

        torch.testing.assert_close(objective.loss(ids, target), singles, atol=1e-5, rtol=0)


class TestClassifiers:
    @pytest.mark.parametrize("kind", ["bert-classifier", "roberta-classifier"])
    def test_every_candidate_has_its_own_loss(self, kind: str) -> None:
        """The term ranks candidates (F15), which are read between their special tokens (F16)."""
        objective = built("class-likelihood", kind, "classifier", ["positive"], "float32")
        _, own, tokenizer = made(kind)
        texts = ["a red circle", "sad purple", "the happy face"]
        losses = []
        for text, ids in zip(texts, objective.space.encode(texts), strict=True):
            losses.append(float(objective.loss(torch.tensor([ids]), torch.tensor([0]))))
            with torch.no_grad():
                expected = -own(**tokenizer([text], return_tensors="pt")).logits.log_softmax(dim=-1)[0, 2]
            assert losses[-1] == pytest.approx(float(expected), abs=1e-5)
        assert len(set(losses)) == 3


class TestSearches:
    def test_three_models_with_three_tokenizers(self) -> None:
        """A picture is described, fluently and cheerfully; the loss is the weighted sum of the terms."""
        terms = [
            Term(objective="clip-similarity", model=reference("clip"), template="an image of {optim_str}"),
            Term(objective="fluency", model=reference("llama"), weight=0.1),
            Term(
                objective="class-likelihood",
                model=reference("roberta-classifier"),
                weight=0.2,
                options={"label": "positive"},
            ),
        ]
        stage = Stage(optimizer="random-search", budget=Budget(num_steps=4), options={"prompt_length": 3})
        results = Pipeline(terms=terms, stages=[stage], device="cpu").run(toy_pictures(2))

        for result in results:
            values = list(result.terms.values())
            assert len(values) == 3
            assert result.loss == pytest.approx(values[0] + 0.1 * values[1] + 0.2 * values[2], abs=1e-5)

    @pytest.mark.parametrize("kind", LANGUAGE_MODELS)
    def test_gcg_makes_a_model_say_something(self, kind: str) -> None:
        """GCG lowers the loss of a target behind the prompt, one prompt for each target."""
        term = Term(objective="target-likelihood", model=reference(kind))
        options = {"prompt_length": 4, "search_width": 64, "topk": 16}

        def losses(steps: int) -> list[float]:
            stage = Stage(optimizer="gcg", budget=Budget(num_steps=steps), options=options)
            return [result.loss for result in Pipeline(terms=[term], stages=[stage], device="cpu").run(["red", "blue"])]

        assert all(after < before - 0.1 for before, after in zip(losses(1), losses(12), strict=True))
