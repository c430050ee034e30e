"""The denoising loss, against diffusers' own text encoding, autoencoder, noise and UNet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from preimage.errors import AssemblyError, InputError
from preimage.testing.toy_models import toy_pictures
from preimage.testing.weights import changes, photograph
from preimage_diffusers.config import DiffusersConfig
from preimage_diffusers.denoiser import DiffusersDenoiser

from .conftest import CONTEXT, loaded, pipeline, text_encoder, tokenizer, unet, xl_pipeline

PROMPT = "a red circle on a hill"


def denoiser(made: Any, **options: Any) -> DiffusersDenoiser:
    """Return a denoiser over a pipeline in memory."""
    return DiffusersDenoiser(made, DiffusersConfig(**options), reference="sd:toy")


def encoded(model: DiffusersDenoiser, prompt: str = PROMPT) -> torch.Tensor:
    """Return the ids of a prompt, ``(1, L)``."""
    return torch.tensor(model.space.encode([prompt]))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("prompt", [PROMPT, "", "x"])
def test_texts_are_read_as_the_pipeline_reads_them(masked, prompt):
    """Special tokens and padding are the pipeline's, for ids and for embeddings, with the few masked encoders, too."""
    words = tokenizer()
    made = pipeline("epsilon", text_encoder=text_encoder(words), tokenizer=words)
    made.text_encoder.config.use_attention_mask = masked
    model = denoiser(made)
    expected, _ = made.encode_prompt(prompt, torch.device("cpu"), 1, do_classifier_free_guidance=False)
    ids = encoded(model, prompt).long() if prompt else torch.empty(1, 0, dtype=torch.long)
    torch.testing.assert_close(model.text_states(ids), expected, rtol=0, atol=0)
    torch.testing.assert_close(model.embedding_text_states(model.space.embedding[ids]), expected, rtol=0, atol=0)
    assert expected.shape[1] == CONTEXT


def test_pictures_are_encoded_as_the_pipeline_would():
    """Latents are the autoencoder's means, scaled as it says; a picture of another shape is cut, not squeezed."""
    made = pipeline("epsilon")
    model = denoiser(made, batch_size=2)
    pictures = toy_pictures(3, size=16)
    pixels = made.image_processor.preprocess(pictures)
    expected = made.vae.encode(pixels).latent_dist.mean * made.vae.config.scaling_factor
    torch.testing.assert_close(model.encode_pictures(pictures), expected, rtol=1e-5, atol=1e-5)
    wide = Image.new("RGB", (48, 16), "blue")
    wide.paste(pictures[0], (16, 0))
    assert torch.equal(model.encode_pictures([wide]), model.encode_pictures(pictures[:1]))


@pytest.mark.parametrize("kind", ["epsilon", "v", "sample"])
def test_the_loss_is_that_of_training(kind):
    """The mean squared error of the UNet's answer to ``add_noise``, as training scripts of diffusers compute it."""
    made = pipeline(kind)
    model = denoiser(made)
    scheduler = DDPMScheduler.from_config(made.scheduler.config)
    rng = torch.Generator().manual_seed(1)
    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=rng)
    timesteps = torch.tensor([10, 500, 999])
    states = model.text_states(encoded(model)).expand(3, -1, -1)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    with torch.no_grad():
        said = made.unet(noisy, timesteps, states).sample
    alpha, sigma = (share.view(-1, 1, 1, 1) for share in _shares(scheduler, timesteps))
    aim = {"epsilon": noise, "v": alpha * noise - sigma * latents, "sample": latents}[kind]
    expected = (said - aim).square().mean(dim=(1, 2, 3))
    losses = model.noise_prediction_loss(states, latents, timesteps, noise)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)


def _shares(scheduler: Any, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    cumulated = scheduler.alphas_cumprod[timesteps]
    return cumulated.sqrt(), (1 - cumulated).sqrt()


@pytest.mark.parametrize("kind", ["epsilon", "v", "sample", "flow"])
def test_the_gradient_at_the_embeddings_is_the_measured_slope(kind):
    """In double precision, entry by entry of some, from the loss through the UNet and the padded text encoder."""
    model = loaded(kind, "denoiser", "float64")
    latents = model.encode_pictures(toy_pictures(1, size=16))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    timesteps = torch.tensor([600])
    at = model.space.embedding[encoded(model)].clone().requires_grad_()

    def loss(embeddings: torch.Tensor) -> torch.Tensor:
        return model.noise_prediction_loss(model.embedding_text_states(embeddings), latents, timesteps, noise).sum()

    (gradient,) = torch.autograd.grad(loss(at), at)
    assert gradient.abs().sum(dim=(0, 2)).min() > 0
    for place in range(0, at.numel(), 7):
        ends = []
        for step in (1e-6, -1e-6):
            moved = at.detach().clone()
            moved.view(-1)[place] += step
            with torch.no_grad():
                ends.append(float(loss(moved)))
        measured = (ends[0] - ends[1]) / 2e-6
        assert gradient.view(-1)[place].item() == pytest.approx(measured, rel=1e-4, abs=1e-8)


def test_the_pipeline_is_left_as_it_is():
    """Asking for values and slopes changes nothing about the pipeline's networks."""
    made = pipeline("v")
    before, steps = photograph(made), made.scheduler.timesteps.clone()
    model = denoiser(made)
    states = model.embedding_text_states(model.space.embedding[encoded(model)].clone().requires_grad_())
    latents = model.encode_pictures(toy_pictures(1))
    torch.autograd.grad(model.noise_prediction_loss(states, latents, torch.tensor([5]), latents).sum(), states)
    assert changes(before, photograph(made)) == []
    assert torch.equal(made.scheduler.timesteps, steps)


def test_a_text_that_does_not_fit_is_refused():
    """Candidates are never cut in silence."""
    model = denoiser(pipeline("epsilon"))
    with pytest.raises(InputError, match="A text of 15 tokens was given to sd:toy, which reads 14 besides"):
        model.text_states(torch.zeros(1, 15, dtype=torch.long))


def test_pictures_are_checked():
    """No picture, and what is none, are refused."""
    model = denoiser(pipeline("epsilon"))
    with pytest.raises(InputError, match="no picture to encode"):
        model.encode_pictures([])
    with pytest.raises(InputError, match=r"'picture.png' is a str: open it first"):
        model.encode_pictures(["picture.png"])


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"unet": unet(in_channels=9)}, "reads 9 channels and answers 4, but its pictures have 4"),
        (
            {
                "unet": unet(
                    addition_embed_type="text_time", projection_class_embeddings_input_dim=32, addition_time_embed_dim=4
                )
            },
            "told of the prompt by more than one text encoder",
        ),
        ({"text_encoder": None}, "StableDiffusionPipeline without text_encoder"),
        (
            {"tokenizer": tokenizer(CONTEXT + 4)},
            f"pads prompts to 20 tokens, of which its text encoder reads {CONTEXT}",
        ),
    ],
)
def test_other_models_are_refused(parts, words):
    """Models for other tasks, and models whose prompts have no single embedding, are refused in a sentence."""
    made = pipeline("epsilon")
    made.register_modules(**parts)
    with pytest.raises(AssemblyError, match=words):
        denoiser(made)


def test_several_text_encoders_are_refused():
    """A prompt of Stable Diffusion XL has no single embedding."""
    with pytest.raises(AssemblyError, match="StableDiffusionXLPipeline, whose UNet is told of the prompt by more than"):
        denoiser(xl_pipeline())
