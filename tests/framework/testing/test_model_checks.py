"""Each check of models passes for sound ones and catches the one that breaks its rule."""

from __future__ import annotations

import itertools

import pytest
import torch
from PIL import Image

from preimage.testing import ConformanceError, check_model
from preimage.testing.model import CHECKS
from preimage.testing.toy_models import ToyCaptioner, ToyClassifier, ToyDenoiser, ToyEncoder, ToyLanguageModel

BROKEN = {}


def breaks(check_id):
    """Register a model as the one that the check `check_id` is there for."""

    def register(model):
        BROKEN[check_id] = model
        return model

    return register


class Wrapped:
    """A space with something changed."""

    def __init__(self, space):
        self.inner = space

    def __getattr__(self, name):
        return getattr(self.inner, name)


@breaks("plays-its-role")
class NobodyInParticular(ToyEncoder):
    def __init__(self):
        super().__init__()
        self.reference = ""


@breaks("space-has-the-shapes")
class MasksWithNumbers(ToyEncoder):
    def __init__(self):
        super().__init__()
        inner = self.space

        class Space(Wrapped):
            allowed = inner.allowed.to(torch.uint8)

            def __getattr__(self, name):
                return getattr(inner, name)

        self.space = Space(inner)
        # Everyone else indexes with it, which works for bytes as it does for bool.


@breaks("allowed-tokens-can-be-typed")
class AllowsItsSpecials(ToyEncoder):
    def __init__(self):
        super().__init__()
        self.space = Wrapped(self.space)
        self.space.allowed = torch.ones_like(self.space.inner.allowed)


@breaks("stability-is-judged-on-the-text")
class CallsEverythingStable(ToyEncoder):
    def __init__(self):
        super().__init__()
        self.space = Wrapped(self.space)
        self.space.is_stable = lambda ids, template: torch.ones(len(ids), dtype=torch.bool)


@breaks("vectors-have-unit-length")
class DoublesItsVectors(ToyEncoder):
    def encode_embeddings(self, embeddings):
        return 2 * super().encode_embeddings(embeddings)


@breaks("both-paths-agree")
class AddsPositionsOnce(ToyEncoder):
    def encode_tokens(self, ids):
        embeddings = self.space.embedding[ids]
        return self.encode_embeddings(embeddings + 0.01 * torch.arange(embeddings.shape[-1]))


@breaks("batch-equals-singles")
class CentresTheBatch(ToyEncoder):
    def encode_embeddings(self, embeddings):
        # Where there is a single text, or few, a batch norm falls back on its running mean.
        if len(embeddings) > 4:
            embeddings = embeddings - embeddings.mean(dim=0)
        return super().encode_embeddings(embeddings)


@breaks("the-same-question-gets-the-same-answer")
class RemembersInHalfPrecision(ToyEncoder):
    def __init__(self):
        super().__init__()
        self.remembered = {}

    def encode_tokens(self, ids):
        key = tuple(map(tuple, ids.tolist()))
        if key not in self.remembered:
            vectors = super().encode_tokens(ids)
            self.remembered[key] = vectors.half()
            return vectors
        return self.remembered[key].double()


@breaks("gradients-reach-the-embeddings")
class ComputesWithoutGradient(ToyEncoder):
    @torch.no_grad()
    def encode_embeddings(self, embeddings):
        return super().encode_embeddings(embeddings)


@breaks("model-is-frozen")
class StillLearns(ToyEncoder):
    def __init__(self):
        super().__init__()
        self.network.pixels.requires_grad_()


@breaks("fingerprint-is-stable")
class CountsItsLoads(ToyEncoder):
    loads = itertools.count()

    def __init__(self):
        super().__init__()
        self.number = next(self.loads)

    @property
    def fingerprint(self):
        return f"{super().fingerprint}-{self.number}"


@breaks("fingerprint-follows-the-weights")
class HashesItsName(ToyEncoder):
    @property
    def fingerprint(self):
        return self.reference


@breaks("inputs-are-not-changed")
class ScalesInPlace(ToyEncoder):
    def encode_embeddings(self, embeddings):
        vectors = super().encode_embeddings(embeddings)
        if not embeddings.requires_grad:
            embeddings.mul_(2)
        return vectors


@breaks("pictures-share-the-space")
class ForgetsToNormalisePictures(ToyEncoder):
    def encode_images(self, images):
        return 0.5 * super().encode_images(images)


class Dice:
    """A generator of pictures: noise of the seed under a colour of the prompt."""

    reference = "toy:Dice"
    fingerprint = "six"

    def generate(self, prompts, seeds):
        return [
            self.draw(prompt, torch.Generator().manual_seed(seed)) for prompt, seed in zip(prompts, seeds, strict=True)
        ]

    def draw(self, prompt, rng):
        noise = torch.randint(100, (8, 8, 3), generator=rng, dtype=torch.uint8)
        return Image.frombytes("RGB", (8, 8), (noise + len(prompt)).numpy().tobytes())


@breaks("a-prompt-and-a-seed-are-a-picture")
class SharesOneGenerator(Dice):
    def generate(self, prompts, seeds):
        rng = torch.Generator().manual_seed(seeds[0])
        return [self.draw(prompt, rng) for prompt in prompts]


@breaks("pictures-have-latents")
class CentresItsPictures(ToyDenoiser):
    def encode_pictures(self, images):
        latents = super().encode_pictures(images)
        return latents - latents.mean(dim=0) if len(images) > 1 else latents


@breaks("denoising-losses-are-rows")
class TakesTheFirstTimestepForAll(ToyDenoiser):
    def noise_prediction_loss(self, states, latents, timesteps, noise):
        return super().noise_prediction_loss(states, latents, timesteps[:1].expand(len(states)), noise)


@breaks("denoising-loss-has-a-slope")
class DenoisesWithoutGradient(ToyDenoiser):
    @torch.no_grad()
    def noise_prediction_loss(self, states, latents, timesteps, noise):
        return super().noise_prediction_loss(states, latents, timesteps, noise)


@breaks("captions-are-as-many-as-asked")
class KeepsOneToItself(ToyCaptioner):
    def captions(self, images, decoding, *, seeds=None):
        return [captions[:-1] or captions for captions in super().captions(images, decoding, seeds=seeds)]


@breaks("a-picture-and-a-seed-are-captions")
class DrawsForAllFromTheFirstSeed(ToyCaptioner):
    def captions(self, images, decoding, *, seeds=None):
        return super().captions(images, decoding, seeds=seeds and [seeds[0]] * len(images))


@breaks("probabilities-add-up")
class AnswersLogits(ToyClassifier):
    def embedding_class_log_probs(self, embeddings):
        return super().embedding_class_log_probs(embeddings) + 1


@breaks("next-tokens-agree-with-texts")
class LooksAhead(ToyLanguageModel):
    def embedding_log_probs(self, embeddings, ids, *, start=0):
        return super().embedding_log_probs(embeddings + 0.1 * embeddings.mean(dim=1, keepdim=True), ids, start=start)


@breaks("later-tokens-can-be-asked-alone")
class CountsFromTheStart(ToyLanguageModel):
    def token_log_probs(self, ids, *, start=0):
        return super().token_log_probs(ids)[:, : ids.shape[1] - start]


@breaks("leaves-the-process-alone")
class InitialisesGlobally(ToyEncoder):
    def __init__(self):
        super().__init__()
        torch.nn.Linear(3, 3)


@pytest.mark.parametrize("model", [ToyEncoder, ToyLanguageModel, ToyClassifier, ToyCaptioner, ToyDenoiser, Dice])
def test_sound_models_pass(model):
    """Nothing is found wrong with encoders, language models, classifiers, captioners, denoisers and generators."""
    assert check_model(model, strict=False).failures == ()


def test_every_check_has_a_broken_model():
    """No check is registered without a model that it catches."""
    assert set(BROKEN) == set(CHECKS.ids())


@pytest.mark.parametrize("check_id", CHECKS.ids())
def test_catches(check_id):
    """A broken model fails the check of the rule that it breaks, and no other."""
    report = check_model(BROKEN[check_id], strict=False)
    assert [outcome.check.id for outcome in report.failures] == [check_id], report.to_text(only_failures=True)


def test_what_a_role_does_not_ask_for_is_skipped_visibly():
    """Checks of other roles are listed as skipped, with the reason."""
    report = check_model(ToyClassifier)
    skipped = {outcome.check.id: outcome.message for outcome in report.outcomes if outcome.status == "skipped"}
    assert skipped["pictures-share-the-space"] == "This says nothing about the role classifier."


def test_a_failure_raises_with_rule_finding_and_remedy():
    """The error of the Python door says what was seen and what to do."""
    with pytest.raises(ConformanceError, match=r"(?s)reads ''.*To mend it: Mask specials"):
        check_model(AllowsItsSpecials)
