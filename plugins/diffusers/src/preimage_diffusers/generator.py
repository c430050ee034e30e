"""Prompts to pictures: the same prompt and seed give the same picture, whatever is drawn beside it and wherever."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from preimage.chunks import Chunks
from preimage.errors import AssemblyError, InputError
from preimage.weights import fingerprint_of
from preimage_diffusers.quiet import quietly
from preimage_diffusers.schedulers import scheduler_named, steps_of
from preimage_diffusers.size import size_of
from preimage_diffusers.source import networks_of
from preimage_diffusers.text import PromptEncoder

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from preimage_diffusers.config import DiffusersConfig

__all__ = ["DiffusersGenerator"]


class DiffusersGenerator:
    """The role ``image-generator`` for a text-to-image pipeline of diffusers.

    Every picture has a random generator of its own, on the CPU, so that its noise depends neither on the batch nor on
    the device. The pipeline is not changed: its networks are used in one with a scheduler of its own.

    Arguments:
        pipeline: of diffusers; its networks are in evaluation mode.
        config: how pictures are drawn.
        reference: the ``sd:name`` it was loaded by.

    Raises:
        AssemblyError: it does not draw prompts, or not with its scheduler.
        OptionError: there is no scheduler of that name for it.
    """

    def __init__(self, pipeline: Any, config: DiffusersConfig, *, reference: str) -> None:
        self.reference = reference
        self._config = config
        _check_kind(pipeline, reference)
        scheduler = scheduler_named(config.scheduler, pipeline.scheduler)
        if hasattr(pipeline, "unet") and not hasattr(scheduler, "init_noise_sigma"):
            message = (
                f"diffusers cannot draw with a {type(scheduler).__name__} in a {type(pipeline).__name__}, which "
                f"{reference} has: name another scheduler (scheduler=…)."
            )
            raise AssemblyError(message)
        self._pipeline = _with(pipeline, scheduler)
        # Kept so that the other role can share its networks.
        self._original = pipeline
        self.steps = config.steps or steps_of(scheduler)
        self.size = size_of(pipeline, config, reference)
        self._chunks = Chunks(config.batch_size)
        # Pipelines with one text encoder are told states; those with several know best how to join theirs.
        self._reader: PromptEncoder | None = None
        if _has_one_text_encoder(pipeline):
            self._reader = PromptEncoder(pipeline.text_encoder, pipeline.tokenizer, reference=reference)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights as they are in memory."""
        return fingerprint_of(*networks_of(self._original))

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        """Return one picture for each prompt and its seed.

        The same pair gives the same picture in any batch, up to the rounding of float arithmetic. Prompts that are
        longer than the context are cut, with a warning.

        Raises:
            InputError: there are not as many seeds as prompts, or something is no prompt or no seed.
            CapacityError: not even one picture fits into memory.
        """
        _check_pairs(prompts, seeds)
        images: list[Image] = []
        with torch.no_grad():
            for _, drawn in self._chunks(lambda span: self._draw(prompts[span], seeds[span]), len(prompts), "picture"):
                images += drawn
        return images

    def _draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        given = self._texts(prompts) | self._noise(rngs)
        height, width = self.size
        with quietly():
            answer = self._pipeline(
                **given,
                generator=rngs,
                num_inference_steps=self.steps,
                guidance_scale=self._config.guidance,
                height=height,
                width=width,
                output_type="pil",
            )
        _warn_of_filtered(prompts, getattr(answer, "nsfw_content_detected", None), self.reference)
        return list(answer.images)

    def _texts(self, prompts: Sequence[str]) -> dict[str, Any]:
        """Return how the pipeline is told of the prompts."""
        if self._reader is None:
            negative = {"negative_prompt": [self._config.negative_prompt] * len(prompts)}
            takes = "negative_prompt" in inspect.signature(self._pipeline.__call__).parameters
            return {"prompt": list(prompts)} | (negative if takes else {})
        different = list(dict.fromkeys(prompts))
        states = self._reader.read(different)
        rows = states[torch.tensor([different.index(prompt) for prompt in prompts], device=states.device)]
        return {
            "prompt_embeds": rows,
            "negative_prompt_embeds": self._negative.expand_as(rows) if self._config.guidance > 1 else None,
        }

    @cached_property
    def _negative(self) -> Tensor:
        """The states of what pictures are pushed away from, ``(1, S, D)``; encoded once."""
        assert self._reader is not None
        return self._reader.read([self._config.negative_prompt])

    def _noise(self, rngs: Sequence[torch.Generator]) -> dict[str, Any]:
        """Return the first noise where its shape is known: in single precision, whatever the networks compute in."""
        unet = getattr(self._pipeline, "unet", None)
        if unet is None:
            return {}
        factor = self._pipeline.vae_scale_factor
        height, width = self.size
        shape = (1, unet.config.in_channels, height // factor, width // factor)
        noise = torch.cat([torch.randn(shape, generator=rng) for rng in rngs])
        return {"latents": noise.to(unet.device, unet.dtype)}


def _with(pipeline: Any, scheduler: Any) -> Any:
    """Return a pipeline of the same networks with another scheduler, which draws no progress bar."""
    kept = {name: getattr(pipeline.config, name) for name in ("requires_safety_checker",) if name in pipeline.config}
    if pipeline.components.get("safety_checker") is None and kept:
        kept["requires_safety_checker"] = False
    with quietly():
        own = type(pipeline)(**(pipeline.components | {"scheduler": scheduler}), **kept)
    own.set_progress_bar_config(disable=True)
    return own


def _check_kind(pipeline: Any, reference: str) -> None:
    """Raise unless a pipeline turns prompts into pictures."""
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    if type(pipeline) not in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values():
        message = (
            f"{reference} is a {type(pipeline).__name__}, which does not turn prompts alone into pictures: use a "
            "text-to-image model, such as sd:stabilityai/stable-diffusion-2-1."
        )
        raise AssemblyError(message)


def _has_one_text_encoder(pipeline: Any) -> bool:
    names = inspect.signature(pipeline.__call__).parameters
    parts = pipeline.components
    one = {"text_encoder", "tokenizer"} <= set(parts) and not {"text_encoder_2", "text_encoder_3"} & set(parts)
    return one and type(pipeline).__name__ == "StableDiffusionPipeline" and "prompt_embeds" in names


def _check_pairs(prompts: Sequence[str], seeds: Sequence[int]) -> None:
    if isinstance(prompts, str) or len(prompts) != len(seeds):
        message = (
            f"The prompts are {prompts!r:.80} and the seeds {seeds!r:.80}: give a list of prompts and as many seeds."
        )
        raise InputError(message)
    for prompt, seed in zip(prompts, seeds, strict=True):
        if not isinstance(prompt, str) or isinstance(seed, bool) or not isinstance(seed, int):
            message = (
                f"The prompt {prompt!r:.80} with the seed {seed!r:.80} cannot be drawn: give a text and an integer."
            )
            raise InputError(message)


def _warn_of_filtered(prompts: Sequence[str], flagged: Sequence[bool] | None, reference: str) -> None:
    for prompt, is_flagged in zip(prompts, flagged or [], strict=False):
        if is_flagged:
            message = (
                f"The safety checker of {reference} took the picture of {prompt!r:.80} for unsafe and made it black, "
                "so that it cannot be compared with others: leave the picture out, or load the model without "
                "safety_checker=true."
            )
            warnings.warn(message, UserWarning, stacklevel=4)
