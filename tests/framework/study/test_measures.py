"""Measures of prompts, with the mini world's models; its renderer stands in for an image generator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import torch
from PIL import Image

from preimage import catalogue
from preimage.api import Component
from preimage.errors import AssemblyError, UnknownNameError
from preimage.study.images import StudyImage
from preimage.study.measures import OF_TRUTH, MeasureOptions, as_options, check, distances_of, measure, measures_of
from preimage.study.measuring import _Models, readability, reference_pictures
from preimage_miniworld.parser import parse
from preimage_miniworld.render import render
from preimage_miniworld.scene import Scene, SceneObject

TRUTH = "a small striped red star in a meadow"
MODELS = {
    "similarity": "miniworld:clip",
    "held_out": "miniworld:clip-judge",
    "text_encoder": "miniworld:sentence",
    "language_model": "miniworld:gpt2",
}
DISTANCES = ("token-f1", "exact-match", "edit-distance", "scene-attributes", "ssim", "mean-squared-error", "kid", "fid")


@attrs.frozen
class PainterConfig:
    ink: int = 1


class Painter:
    """Paints what a prompt says of a scene; what it leaves open, the seed decides."""

    reference = "painter:mini"
    fingerprint = "none"
    painted = 0

    def generate(self, prompts, seeds):
        pictures = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            said = parse(prompt)
            one = said.objects[0] if said.objects else None
            star = SceneObject(
                (one and one.colour) or ("red", "blue", "green")[seed % 3],
                (one and one.shape) or ("star", "heart")[seed % 2],
                (one and one.texture) or "solid",
                (one and one.size) or ("small", "large")[seed // 3 % 2],
            )
            pictures.append(render(Scene([star], None, said.background or "night"), seed))
        Painter.painted += len(pictures)
        return pictures


def load(config, *, name, role, device, dtype):
    painter = Painter()
    painter.ink = config.ink
    return painter


@pytest.fixture(autouse=True)
def painter() -> Iterator[None]:
    """Register the painter as a generator."""
    record = Component(
        name="painter",
        target=f"{__name__}:load",
        config=f"{__name__}:PainterConfig",
        api="1.0",
        summary="For tests.",
        traits=("role:image-generator",),
    )
    with catalogue().register("model", record, origin="tests"):
        yield


@pytest.fixture
def picture(tmp_path: Path) -> StudyImage:
    path = tmp_path / "star.png"
    render(Scene([SceneObject("red", "star", "striped", "small")], None, "meadow"), 5).save(path)
    return StudyImage("star", path, "0" * 64, TRUTH)


def everything(**changes) -> MeasureOptions:
    options = {**MODELS, "generator": "painter:mini", "n_pictures": 2, "distances": DISTANCES, "device": "cpu"}
    return MeasureOptions(**{**options, **changes})


class TestMeasure:
    def test_the_true_prompt_is_hard_to_beat(self, picture):
        """It has every attribute, a distance of zero from itself, and the pictures that are most alike."""
        true = measure(TRUTH, picture, everything(), catalogue(), seed=0).values
        wrong = measure("a large blue heart at night", picture, everything(), catalogue(), seed=0).values
        for name in ("token-f1", "exact-match", "scene-attributes", "text-similarity", "image-similarity/true-prompt"):
            assert true[name] == pytest.approx(1, abs=1e-6)
            assert wrong[name] < 0.9
        assert true["edit-distance"] == 0
        assert true["ssim/true-prompt"] == pytest.approx(1)
        assert true["mean-squared-error/true-prompt"] == 0
        for name in ("similarity", "held-out-similarity", "image-similarity/shared", "image-similarity/fresh"):
            assert true[name] > wrong[name] + 0.1

    def test_everything_that_is_measured_is_described(self, picture):
        """The numbers are those that `measures_of` names, less what the record itself knows."""
        values = measure("red star", picture, everything(), catalogue(), seed=0).values
        described = {each.name for each in measures_of(everything(), catalogue())}
        own = {name for name in values if not name.startswith(OF_TRUTH)}
        assert own == described - {"loss", "candidates", "passes", "seconds"}
        assert all(math.isfinite(value) for value in values.values())

    def test_similarity_is_the_cosine(self, picture):
        """It is that of the encoder's own vectors, for the text as it is."""
        model = catalogue().load_model("miniworld:clip", "image-text-encoder", device="cpu")
        (ids,) = model.space.encode(["red star"])
        expected = torch.cosine_similarity(
            model.encode_tokens(torch.tensor([ids])), model.encode_images([Image.open(picture.path)])
        ).item()
        options = MeasureOptions(similarity="miniworld:clip", distances=(), device="cpu")
        unknown = attrs.evolve(picture, caption=None)
        assert measure("red star", unknown, options, catalogue(), seed=0).values == {
            "similarity": pytest.approx(expected, abs=1e-6)
        }

    def test_shared_seeds_are_shared_and_fresh_ones_are_not(self, picture):
        """Two runs of one prompt make the same pictures on the shared seeds and others on fresh ones."""
        first, again, other = (measure("star", picture, everything(), catalogue(), seed=seed) for seed in (0, 0, 1))
        assert first.pictures["shared"] == again.pictures["shared"] == other.pictures["shared"]
        assert first.pictures["fresh"] == again.pictures["fresh"] != other.pictures["fresh"]
        assert first.values == again.values
        assert len(first.pictures["shared"]) == len(first.pictures["fresh"]) == 2

    def test_true_prompts_pictures_are_made_once(self, picture):
        """Several runs on one picture share them, and they are what the true prompt makes on the shared seeds."""
        options = everything(n_pictures=3, distances=())
        references = reference_pictures(picture, options, catalogue())
        before = Painter.painted
        assert reference_pictures(picture, options, catalogue()) == references
        assert Painter.painted == before
        assert references == Painter().generate([TRUTH] * 3, [0, 1, 2])

    def test_the_truth_is_measured_too(self, picture):
        """Beside each run stands what the true prompt itself would have come to."""
        true = measure(TRUTH, picture, everything(), catalogue(), seed=0).values
        found = measure("a large blue heart at night", picture, everything(), catalogue(), seed=0).values
        for name in ("similarity", "held-out-similarity", "nats-per-token", "image-similarity/shared", "ssim/shared"):
            assert found[OF_TRUTH + name] == pytest.approx(true[name], abs=1e-6)
        assert OF_TRUTH + "token-f1" not in found

    def test_options_of_the_generator(self):
        """They reach its loader, converted as it declares them."""
        options = everything(generator_options="ink=3")
        assert _Models(options, catalogue()).generator("painter:mini").ink == 3
        with pytest.raises(ValueError, match="generator_options"):
            everything(generator_options="ink")

    def test_unknown_truth(self, picture):
        """Without a true prompt there is nothing to compare it with, and everything else is measured."""
        unknown = attrs.evolve(picture, caption=None)
        values = measure("red star", unknown, everything(), catalogue(), seed=0).values
        assert not {"token-f1", "text-similarity", "image-similarity/true-prompt"} & set(values)
        assert not [name for name in values if name.startswith(OF_TRUTH)]
        assert {"similarity", "nats-per-token", "image-similarity/shared", "ssim/fresh"} <= set(values)

    def test_empty_prompt(self, picture):
        """A prompt of nothing is measured as far as it goes."""
        values = measure("", picture, everything(), catalogue(), seed=0).values
        assert values["token-f1"] == 0
        assert "similarity" in values
        assert "nats-per-token" not in values

    def test_nothing_is_asked_for(self, picture):
        """What the options do not name is not measured."""
        assert measure("red star", picture, MeasureOptions(distances=()), catalogue(), seed=0).values == {}


class TestReadability:
    def test_against_the_definition(self):
        """The sum of the tokens' surprises is shared by tokens, or by words and raised."""
        model = catalogue().load_model("miniworld:gpt2", "language-model", device="cpu")
        (ids,) = model.space.encode([TRUTH])
        nats = sum(
            -float(model.next_token_log_probs(torch.tensor([ids[:place]], dtype=torch.long))[0, token])
            for place, token in enumerate(ids)
        )
        found = readability(model, TRUTH)
        assert found["nats-per-token"] == pytest.approx(nats / len(ids), rel=1e-4)
        assert found["perplexity-per-word"] == pytest.approx(math.exp(nats / 8), rel=1e-4)

    def test_sentences_read_better_than_their_words_shuffled(self):
        """That is what it is for."""
        model = catalogue().load_model("miniworld:gpt2", "language-model", device="cpu")
        shuffled = " ".join(sorted(TRUTH.split(), reverse=True))
        assert readability(model, TRUTH)["nats-per-token"] < readability(model, shuffled)["nats-per-token"] - 1

    def test_long_texts_and_endless_words(self):
        """A text longer than the model reads is cut, and a word without end has a finite perplexity."""
        model = catalogue().load_model("miniworld:gpt2", "language-model", device="cpu")
        long = " ".join([TRUTH] * 20)
        assert readability(model, long) == readability(model, f"{long} and more")
        assert math.isfinite(readability(model, "zqj#" * 500)["perplexity-per-word"])


class TestMeasures:
    def test_directions(self):
        """What has another name for one less itself is better when higher; distances and costs are not."""
        found = {each.name: each for each in measures_of(everything(), catalogue())}
        assert found["ssim/shared"].higher_is_better
        assert found["ssim/shared"].title == "SSIM, shared"
        assert found["scene-attributes"].title == "Attributes recovered"
        assert not found["edit-distance"].higher_is_better
        assert not found["mean-squared-error/fresh"].higher_is_better
        assert not found["loss"].higher_is_better

    def test_pictures_are_compared_only_where_some_are_made(self):
        """Without a generator, distances of pictures and of sets are left out."""
        options = everything(generator=None)
        assert not distances_of("image", options, catalogue())
        assert not distances_of("image-set", options, catalogue())
        assert not [each for each in measures_of(options, catalogue()) if each.group == "pictures"]

    def test_encoder_of_pictures(self):
        """It is the one that is named, the held-out one, or the optimised one."""
        assert everything(image_encoder="a:b").picture_encoder == "a:b"
        assert everything().picture_encoder == "miniworld:clip-judge"
        assert everything(held_out=None).picture_encoder == "miniworld:clip"

    def test_plain_data(self):
        """A spec's plain options are the options, texts converted."""
        assert as_options({"n_pictures": "3", "distances": ["ssim"]}) == MeasureOptions(
            n_pictures=3, distances=("ssim",)
        )
        assert MeasureOptions(distances="ssim").distances == ("ssim",)


class TestCheck:
    def test_sound_options_pass(self):
        """Whatever is installed and fits is accepted."""
        check(everything(), catalogue())

    def test_unknown_distance(self):
        """The message names what comes near."""
        with pytest.raises(UnknownNameError, match="token-f1"):
            check(MeasureOptions(distances=("token-f2",)), catalogue())

    def test_wrong_role(self):
        """A loader of encoders makes no pictures."""
        with pytest.raises(AssemblyError, match="'open_clip:x' as generator, which has to be of the role"):
            check(MeasureOptions(generator="open_clip:x"), catalogue())

    def test_missing_model(self):
        """A distance that needs a model says which option names it."""
        with pytest.raises(AssemblyError, match="'text-similarity' needs a model of the role text-encoder.*set text_e"):
            check(MeasureOptions(distances=("text-similarity",)), catalogue())
        with pytest.raises(AssemblyError, match="'kid' needs .* set image_encoder"):
            check(MeasureOptions(generator="painter:mini", distances=("kid",)), catalogue())
