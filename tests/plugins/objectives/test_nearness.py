"""A distance as an objective, and a class that is content with a lead: what searches for near texts need."""

from __future__ import annotations

import pytest
import torch

import preimage
from preimage import Budget, Pipeline, Stage, Term
from preimage.errors import AssemblyError, InputError, UnknownNameError

SAD = "a small sad blue star at night"


@pytest.fixture(scope="module")
def mood():
    return preimage.catalogue().load_model("miniworld:mood", "classifier")


def objective(name, model, targets, **options):
    return preimage.catalogue().build("objective", name, {"model": model, "targets": targets}, **options)


def losses(one, text, target=0):
    ids = torch.tensor(one.space.encode([text]))
    return one.loss(ids, torch.tensor([target])).item()


def test_a_text_is_measured_against_the_target_of_its_row(mood):
    """Two words of seven are edited for the first target, none for the second."""
    one = objective("text-distance", mood, ["a big happy blue star at night", SAD], options={"normalised": False})
    assert [losses(one, SAD, target) for target in (0, 1)] == [2.0, 0.0]


def test_any_distance_of_texts_will_do(mood):
    """One that asks for a model is given the term's."""
    sentence = preimage.catalogue().load_model("miniworld:sentence", "text-encoder")
    near, far = "a little sad blue star at night", "a huge red heart on a beach"
    for name, model in (("token-f1", mood), ("text-similarity", sentence)):
        one = objective("text-distance", model, [SAD], distance=name)
        assert losses(one, SAD) == pytest.approx(0, abs=1e-6)
        assert losses(one, near) < losses(one, far)


def test_what_is_written_has_no_slope(mood):
    """The gradient is zero, so that other terms propose in searches by gradients."""
    one = objective("text-distance", mood, [SAD])
    ids = torch.tensor(mood.space.encode(["a big star"]))
    value, gradient = one.loss_and_gradient(ids, torch.tensor([0]))
    assert value.item() == one.loss(ids, torch.tensor([0])).item() > 0
    assert gradient.shape == (*ids.shape, mood.space.embedding.shape[1])
    assert not gradient.any()


def test_what_is_no_distance_of_texts_is_refused(mood):
    """Distances of pictures, unknown ones and targets that are no texts have their sentences."""
    with pytest.raises(AssemblyError, match="StructuralSimilarity is one of image"):
        objective("text-distance", mood, [SAD], distance="ssim")
    with pytest.raises(UnknownNameError, match="edit-distance"):
        objective("text-distance", mood, [SAD], distance="edit-distanc")
    with pytest.raises(InputError, match="A target is 3"):
        objective("text-distance", mood, [3])


def test_a_class_is_content_with_its_margin(mood):
    """The loss is what lacks to lead the likeliest other class by the margin, and 0 from there on."""
    log_probs = mood.class_log_probs(torch.tensor(mood.space.encode([SAD])))[0]
    order = {label: log_probs[mood.labels.index(label)].item() for label in mood.labels}
    for wanted, others in (("negative", ("neutral", "positive")), ("positive", ("negative", "neutral"))):
        lead = order[wanted] - max(order[other] for other in others)
        for margin in (0.0, 1.0, 20.0):
            one = objective("class-likelihood", mood, [wanted], margin=margin)
            assert losses(one, SAD) == pytest.approx(max(0.0, margin - lead), abs=1e-5)


@pytest.mark.parametrize(("optimizer", "named"), [("random-search", True), ("gcg", True), ("gcg", False)])
def test_token_searches_find_texts_of_another_class_that_stay_near(optimizer, named, mood):
    """The optimizers of prompts start from the text, and the distance keeps them from leaving it.

    By name the terms have two models of one reference, which a search by gradients takes for one.
    """
    model = "miniworld:mood" if named else mood
    pipeline = Pipeline(
        stages=[
            Stage(
                optimizer=optimizer,
                budget=Budget(max_candidates=240),
                options={"optim_str_init": SAD, "search_width": 60},
            )
        ],
        terms=[
            Term(
                objective="class-likelihood",
                model=model,
                weight=100,
                options={"label": "neutral", "margin": 0.1},
            ),
            Term(objective="text-distance", model=model, options={"options": {"normalised": False}}),
        ],
    )
    (result,) = pipeline.run([SAD])
    ids = torch.tensor(mood.space.encode([result.text]))
    assert mood.labels[int(mood.class_log_probs(ids).argmax())] == "neutral"
    assert 1 <= list(result.terms.values())[1] <= 3
    assert bool(result.provenance.recipe) == named
