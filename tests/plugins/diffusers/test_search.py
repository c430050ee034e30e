"""Every optimizer on the denoising objective of a Stable Diffusion pipeline."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from preimage import Budget, Pipeline, Result, Stage, Term, catalogue
from preimage.errors import AssemblyError
from preimage.testing.toy_models import toy_pictures

from .conftest import folder, loaded

PICTURES = toy_pictures(2, size=16)
OPTIONS = {"n_timesteps": 2}
WORDS = "red\nblue\na circle\nthe hill\nyellow star\nold painter"


def denoising(**changes: Any) -> Term:
    """Return the objective over the small pipeline."""
    given = {"objective": "denoising", "model": f"sd:{folder('epsilon')}", "options": OPTIONS}
    return Term(**(given | changes))


def run(stages: list[Stage], *terms: Term) -> list[Result]:
    """Search for both pictures at once."""
    return Pipeline(stages=stages, terms=list(terms) or [denoising()], device="cpu").run(PICTURES, seed=1)


def loss_of(text: str, picture: int) -> float:
    """Return the loss of a text, asked of the objective directly."""
    model = loaded("epsilon", "denoiser")
    objective = catalogue().build("objective", "denoising", {"model": model, "targets": PICTURES}, **OPTIONS)
    return float(objective.loss(torch.tensor(model.space.encode([text])), torch.tensor([picture])))


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("gcg", {"search_width": 6, "prompt_length": 3}),
        ("pez", {"prompt_length": 3}),
        ("random-search", {"search_width": 6, "prompt_length": 3}),
    ],
)
def test_searches_bring_the_loss_down(optimizer, options):
    """By gradient and by values, for two pictures in lockstep: better than the start, and the loss is its text's."""
    results = run([Stage(optimizer=optimizer, budget=Budget(num_steps=4), options=options)])
    for picture, result in enumerate(results):
        assert result.loss < result.trajectory[0].loss or optimizer == "pez"
        assert result.loss == pytest.approx(min(step.best_loss for step in result.trajectory), abs=1e-5)
        assert result.loss == pytest.approx(loss_of(result.text, picture), abs=1e-5)


def test_phrases_are_ranked_by_denoising(tmp_path):
    """The interrogator chains the phrases that help the model most, and pruning drops what does nothing."""
    (tmp_path / "words.txt").write_text(WORDS)
    stages = [
        Stage(optimizer="interrogator", budget=Budget(num_steps=3), options={"lists": str(tmp_path / "words.txt")}),
        Stage(optimizer="prune", budget=Budget(num_steps=2)),
    ]
    results = run(stages)
    alone = {phrase: loss_of(phrase, 0) for phrase in WORDS.splitlines()}
    assert results[0].loss <= min(alone.values()) + 1e-5


def test_autodan_is_told_what_is_likely_by_a_language_model():
    """With a language model's term first and an adapter for the gradient it runs; alone it says what it lacks."""
    stage = Stage(optimizer="autodan", budget=Budget(num_steps=2), options={"search_width": 6})
    with pytest.raises(AssemblyError, match="autodan needs to know what is likely to follow.*fluency, or use .*gcg"):
        run([stage])
    fluency = Term(objective="fluency", model="miniworld:gpt2")
    with pytest.raises(AssemblyError, match="has a model of its own and no adapter .*adapter: fuse"):
        run([stage], fluency, denoising())
    results = run([stage], fluency, denoising(adapter="shared-token"))
    assert all(result.text for result in results)


def test_a_model_of_another_role_is_refused():
    """A CLIP cannot denoise: the error names the role and the loaders."""
    with pytest.raises(AssemblyError, match="and denoising needs denoiser: use a model of that role"):
        run(
            [Stage(optimizer="gcg", budget=Budget(num_steps=1))],
            denoising(model="open_clip:ViT-B-32/laion2b_s34b_b79k"),
        )
    with pytest.raises(AssemblyError, match=r"needs a model \(denoiser\): name one, such as miniworld:sd or sd:"):
        run([Stage(optimizer="gcg", budget=Budget(num_steps=1))], denoising(model=None))
