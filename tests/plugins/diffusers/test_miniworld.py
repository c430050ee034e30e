"""The mini world's diffusion model, trained: what it draws and what its denoising loss knows."""

from __future__ import annotations

import random

import pytest
import torch

from preimage import Budget, Pipeline, Stage, Term, catalogue
from preimage_miniworld.captions import caption
from preimage_miniworld.data import held_out
from preimage_miniworld.training.pool import sibling

SCENES = 16


@pytest.fixture(scope="module")
def scenes():
    """Return held-out scenes of one object with their pictures."""
    return [(scene, picture) for scene, picture, _ in held_out(SCENES, seed=5, objects=1)]


def captions_of(scene, number):
    """Return the caption of a scene and of one that differs in an attribute, in the same phrasing."""
    changed = sibling(scene, random.Random(number), None)
    return [caption(one, random.Random(number)) for one in (scene, changed)]


def test_the_right_caption_explains_the_noise_best(scenes):
    """In most held-out scenes its denoising loss is below that of a caption with one attribute changed."""
    model = catalogue().load_model("miniworld:sd", "denoiser")
    pictures = [picture for _, picture in scenes]
    objective = catalogue().build("objective", "denoising", {"model": model, "targets": pictures}, n_timesteps=6)
    ahead = 0
    for number, (scene, _) in enumerate(scenes):
        right, changed = (
            float(objective.loss(torch.tensor(model.space.encode([text])), torch.tensor([number])))
            for text in captions_of(scene, number)
        )
        ahead += right < changed
    assert ahead >= 0.75 * SCENES


def test_pictures_show_what_their_prompts_say(scenes):
    """By the first CLIP, most pictures are nearer to their prompt than to one with an attribute changed."""
    texts = [captions_of(scene, number) for number, (scene, _) in enumerate(scenes)]
    generator = catalogue().load_model("miniworld:sd", "image-generator")
    drawn = generator.generate([right for right, _ in texts], list(range(SCENES)))
    clip = catalogue().load_model("miniworld:clip", "image-text-encoder")
    seen = clip.encode_images(drawn)
    ahead = 0
    for number, both in enumerate(texts):
        told = torch.cat([clip.encode_tokens(torch.tensor(clip.space.encode([text]))) for text in both])
        right, changed = (told @ seen[number]).tolist()
        ahead += right > changed
    assert ahead >= 0.7 * SCENES


def test_a_search_asks_the_diffusion_model(scenes):
    """GCG brings the denoising loss of a picture below that of its start within a few steps."""
    term = Term(objective="denoising", model="miniworld:sd", options={"n_timesteps": 2, "lowest": 0.4})
    stage = Stage(optimizer="gcg", budget=Budget(num_steps=4), options={"search_width": 12, "prompt_length": 5})
    (result,) = Pipeline(stages=[stage], terms=[term], device="cpu").run([scenes[0][1]])
    assert result.loss < result.trajectory[0].loss
