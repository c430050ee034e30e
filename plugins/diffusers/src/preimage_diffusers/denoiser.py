"""Prompts and noisy pictures to how well the noise was found: the loss that a diffusion model was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageOps
from torch.nn import functional

from preimage.chunks import Chunks
from preimage.errors import AssemblyError, InputError
from preimage.text_space import TokenizerSpace
from preimage.weights import fingerprint_of
from preimage_diffusers.noise import NoiseSchedule
from preimage_diffusers.size import size_of
from preimage_diffusers.source import networks_of
from preimage_diffusers.text import PromptEncoder
from preimage_transformers.clip import too_long
from preimage_transformers.fed_embedding import FedEmbedding
from preimage_transformers.frame import embedding_table, frame_of, specials_of

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_diffusers.config import DiffusersConfig

__all__ = ["DiffusersDenoiser"]


class DiffusersDenoiser:
    """The role ``denoiser`` for Stable Diffusion: a latent UNet told of the prompt by one text encoder.

    A prompt is put between the tokenizer's special tokens and padded to the whole context, as in the pipeline. The
    loss is that of the model's training, whatever it predicts; its scheduler says which. Timesteps are those of
    training, and no picture is sampled.

    Arguments:
        pipeline: of diffusers, its networks in evaluation mode; it is not changed.
        config: height, width and batch size count.
        reference: the ``sd:name`` it was loaded by.

    Raises:
        AssemblyError: it is no such model, or its tokenizer cannot be searched.
    """

    def __init__(self, pipeline: Any, config: DiffusersConfig, *, reference: str) -> None:
        _check_parts(pipeline, reference)
        self.reference = reference
        self._unet, self._vae = pipeline.unet, pipeline.vae
        # Kept so that the other role can share its networks.
        self._original = pipeline
        self._schedule = NoiseSchedule(pipeline.scheduler, reference)
        self._reader = PromptEncoder(pipeline.text_encoder, pipeline.tokenizer, reference=reference)
        module = pipeline.text_encoder.get_input_embeddings()
        self._fed = FedEmbedding(module)
        self._frame = frame_of(pipeline.tokenizer, reference)
        self.space = TokenizerSpace(
            pipeline.tokenizer.backend_tokenizer,
            embedding_table(module, reference),
            name=reference,
            max_length=self._reader.length - len(self._frame),
            special_ids=specials_of(pipeline.tokenizer, self._frame),
        )
        self._size = size_of(pipeline, config, reference)
        self._chunks = Chunks(config.batch_size)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights as they are in memory."""
        return fingerprint_of(*networks_of(self._original))

    @property
    def n_timesteps(self) -> int:
        """How many timesteps its training had; 0 is the least noisy."""
        return self._schedule.n_timesteps

    def text_states(self, ids: Tensor) -> Tensor:
        """Return the states of the text encoder, ``(B, S, D)``, for token ids ``(B, L)``, without a gradient."""
        self._check_length(ids.shape[1])
        framed = self._frame.around(ids)
        with torch.no_grad():
            return self._reader.states(self._padded(framed), framed.shape[1])

    def embedding_text_states(self, embeddings: Tensor) -> Tensor:
        """Return the states of the text encoder, ``(B, S, D)``, for embeddings ``(B, L, d)``; differentiable."""
        self._check_length(embeddings.shape[1])
        table = self.space.embedding
        framed = self._frame.around_embeddings(embeddings, table)
        used = framed.shape[1]
        padding = table[self._reader.pad_id].expand(len(framed), self._reader.length - used, -1)
        placeholder = torch.zeros(len(framed), self._reader.length, dtype=torch.long, device=table.device)
        with self._fed.answering(torch.cat([framed, padding], dim=1)):
            return self._reader.states(placeholder, used)

    def encode_pictures(self, images: Sequence[Image.Image]) -> Tensor:
        """Return the latents, ``(N, C, H, W)``, of pictures, without a gradient.

        A picture is scaled to cover the size that the model draws, and its middle is cut out.

        Raises:
            InputError: there is none, or something is not a picture.
        """
        if not len(images):
            message = "There is no picture to encode: give at least one."
            raise InputError(message)
        height, width = self._size
        what = f"picture of {width} x {height}"
        with torch.no_grad():
            return torch.cat([part for _, part in self._chunks(lambda s: self._latents(images[s]), len(images), what)])

    def noise_prediction_loss(self, states: Tensor, latents: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """Return each row's mean squared error, ``(B,)``, at least in single precision; differentiable in `states`.

        Arguments:
            states: of the text encoder, ``(B, S, D)``.
            latents: of pictures, ``(B, C, H, W)``.
            timesteps: how much noise is put on them, ``(B,)``.
            noise: of normal distribution, ``(B, C, H, W)``.
        """
        exact = torch.promote_types(self._unet.dtype, torch.float32)
        latents, noise = latents.to(exact), noise.to(exact)
        noisy = self._schedule.noisy(latents, timesteps, noise).to(self._unet.dtype)
        said = self._unet(noisy, self._schedule.told(timesteps), encoder_hidden_states=states, return_dict=False)[0]
        aim = self._schedule.aim(latents, timesteps, noise)
        return (said.to(exact) - aim).square().mean(dim=(1, 2, 3))

    def _latents(self, images: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([self._pixels(image) for image in images])
        # The mean of what the encoder finds possible: the same picture always has the same latents.
        means = self._vae.encode(pixels.to(self._vae.device, self._vae.dtype)).latent_dist.mode()
        latents: Tensor = means * self._vae.config.scaling_factor
        return latents

    def _pixels(self, image: Image.Image) -> Tensor:
        """Return a picture's pixels from -1 to 1, ``(3, H, W)``."""
        if not isinstance(image, Image.Image):
            message = (
                f"A picture was expected, but {image!r:.80} is a {type(image).__name__}: open it first, for example "
                "with PIL.Image.open."
            )
            raise InputError(message)
        height, width = self._size
        fitted = ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
        values = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8).view(height, width, 3)
        return values.permute(2, 0, 1).double() / 127.5 - 1

    def _padded(self, framed: Tensor) -> Tensor:
        return functional.pad(framed, (0, self._reader.length - framed.shape[1]), value=self._reader.pad_id)

    def _check_length(self, length: int) -> None:
        if length > self.space.max_length:
            raise InputError(too_long(self.reference, length, self.space.max_length))


def _check_parts(pipeline: Any, reference: str) -> None:
    """Raise unless a pipeline is a latent UNet with one text encoder."""
    parts = pipeline.components
    needed = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    lacking = [name for name in needed if parts.get(name) is None]
    kind = type(pipeline).__name__
    if lacking:
        message = (
            f"{reference} is a {kind} without {' and '.join(lacking)}, and the denoising loss is known for latent "
            "diffusion with a UNet only: use a Stable Diffusion 1 or 2."
        )
        raise AssemblyError(message)
    unet = pipeline.unet.config
    if "text_encoder_2" in parts or unet.get("addition_embed_type") is not None:
        message = (
            f"{reference} is a {kind}, whose UNet is told of the prompt by more than one text encoder, so that a token "
            "has no single embedding to search: use a Stable Diffusion 1 or 2."
        )
        raise AssemblyError(message)
    channels = pipeline.vae.config.latent_channels
    if (unet.in_channels, unet.out_channels) != (channels, channels):
        message = (
            f"The UNet of {reference} reads {unet.in_channels} channels and answers {unet.out_channels}, but its "
            f"pictures have {channels}: it was made for another task, such as filling in holes. Use a text-to-image "
            "model."
        )
        raise AssemblyError(message)
