"""How well a diffusion model tells what is noise in a picture, when it is told the prompt.

For a picture with the latents ``x``, timesteps ``t_1 … t_n`` and noises ``e_1 … e_n``::

    loss = (l(x, t_1, e_1, prompt) + … + l(x, t_n, e_n, prompt)) / n

where ``l`` is the mean squared error by which the model was trained. Timesteps and noises are drawn once and are the
same for every prompt and every picture (common random numbers): prompts differ by what they say, and by no luck. For
several pictures of one target it is the mean over them.

Source: diffusion classifiers (arXiv:2303.16203) compare texts by this loss; PH2P (arXiv:2312.12416) searches prompts by
it at late timesteps alone, which are those of `lowest` 0.5 and `highest` 0.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch
from PIL import Image
from torch.nn import functional

from preimage.chunks import Chunks
from preimage.errors import InputError
from preimage_objectives.likelihood import listed

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.model import Denoiser
    from preimage.api.space import TextSpace
    from preimage_objectives.config import DenoisingConfig

__all__ = ["Denoising", "timesteps_of"]


class Denoising:
    """The mean denoising loss of target pictures, told the prompt.

    Texts are encoded once, whatever the number of timesteps; pictures are encoded when the objective is built.

    Arguments:
        config: which timesteps, and the seed of the noises.
        model: the diffusion model.
        targets: each a picture (PIL), or a tuple of pictures whose mean loss counts.

    Raises:
        InputError: there is no target, or one is no picture.
    """

    def __init__(self, config: DenoisingConfig, *, model: Denoiser, targets: Sequence[Any]) -> None:
        self._model = model
        groups = [_group(target) for target in listed(targets, "pictures (PIL images)")]
        self._latents = model.encode_pictures([picture for group in groups for picture in group])
        device = self._latents.device
        counts = torch.tensor([len(group) for group in groups], device=device)
        self._counts, self._first = counts, counts.cumsum(0) - counts
        rng = torch.Generator().manual_seed(config.seed)
        self._timesteps = timesteps_of(config, model.n_timesteps, rng).to(device)
        shape = len(self._timesteps), *self._latents.shape[1:]
        self._noises = torch.randn(shape, generator=rng).to(self._latents)
        self._chunks = Chunks(config.batch_size)
        self._baseline: Tensor | None = None
        if config.relative:
            nothing = model.text_states(torch.empty(1, 0, dtype=torch.long, device=self.space.device))
            every = torch.arange(len(groups), device=device)
            with torch.no_grad():
                self._baseline, _ = self._mean(nothing.expand(len(groups), -1, -1), every, slopes=False)

    @property
    def space(self) -> TextSpace:
        """The texts that the model reads."""
        return self._model.space

    @property
    def n_targets(self) -> int:
        """How many targets it was bound to."""
        return len(self._counts)

    @torch.no_grad()
    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the losses, ``(B,)``, of token ids ``(B, L)`` for the targets of index ``(B,)``."""
        losses, _ = self._mean(self._model.text_states(candidates), target, slopes=False)
        return losses if self._baseline is None else losses - self._baseline[target]

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses, ``(B,)``, and their gradients at the input embeddings, ``(B, L, d)``.

        The gradient at the text's states is added up over timesteps, and goes back through the text encoder once: no
        more than ``batch_size`` passes of the network are in memory at a time.
        """
        embeddings = functional.embedding(candidates, self.space.embedding).detach().requires_grad_()
        with torch.enable_grad():
            states = self._model.embedding_text_states(embeddings)
            losses, slopes = self._mean(states.detach(), target, slopes=True)
            (gradient,) = torch.autograd.grad(states, embeddings, grad_outputs=slopes)
        return losses if self._baseline is None else losses - self._baseline[target], gradient

    def _mean(self, states: Tensor, target: Tensor, *, slopes: bool) -> tuple[Tensor, Tensor]:
        """Return each row's mean loss, ``(B,)``, and its gradient at ``states (B, S, D)`` if that is wanted."""
        passes = self._passes(target)
        losses: Tensor | None = None
        total = torch.zeros_like(states)

        def run(span: slice) -> tuple[Tensor, Tensor | None]:
            told = states[passes.row[span]].requires_grad_(slopes)
            draw = passes.draw[span]
            values = self._model.noise_prediction_loss(
                told, self._latents[passes.picture[span]], self._timesteps[draw], self._noises[draw]
            )
            values = values * passes.weight[span].to(values)
            return values.detach(), torch.autograd.grad(values.sum(), told)[0] if slopes else None

        for span, (values, slope) in self._chunks(run, len(passes.row), "noisy picture"):
            losses = values.new_zeros(len(states)) if losses is None else losses
            losses.index_add_(0, passes.row[span], values)
            if slope is not None:
                total.index_add_(0, passes.row[span], slope)
        return self._latents.new_zeros(0) if losses is None else losses, total

    def _passes(self, target: Tensor) -> _Passes:
        """Return the passes of the network for rows with the targets ``(B,)``."""
        each = self._counts[target] * len(self._timesteps)
        row = torch.arange(len(target), device=target.device).repeat_interleave(each)
        place = torch.arange(len(row), device=target.device) - (each.cumsum(0) - each)[row]
        picture = self._first[target][row] + place // len(self._timesteps)
        return _Passes(row, picture, place % len(self._timesteps), (1 / each.double())[row])


@attrs.frozen(eq=False)
class _Passes:
    """What goes through the network, ``(R,)`` each.

    Attributes:
        row: the candidate.
        picture: the picture.
        draw: which timestep and noise.
        weight: the share of the candidate's mean.
    """

    row: Tensor
    picture: Tensor
    draw: Tensor
    weight: Tensor


def timesteps_of(config: DenoisingConfig, count: int, rng: torch.Generator) -> Tensor:
    """Return the timesteps that the options choose out of `count`, ``(T,)``, in rising order.

    Evenly spaced they are the middles of equal parts of the range, so that few of them stand for the whole of it.

    >>> from preimage_objectives.config import DenoisingConfig
    >>> timesteps_of(DenoisingConfig(n_timesteps=4), 1000, torch.Generator()).tolist()
    [125, 375, 625, 875]
    """
    lowest, highest = config.lowest * count, config.highest * count
    if config.spacing == "even":
        places = (torch.arange(config.n_timesteps, dtype=torch.float64) + 0.5) / config.n_timesteps
    else:
        places = torch.rand(config.n_timesteps, generator=rng, dtype=torch.float64).sort().values
    return (lowest + places * (highest - lowest)).long().clamp(0, count - 1)


def _group(target: Any) -> tuple[Image.Image, ...]:
    group = target if isinstance(target, tuple) else (target,)
    for member in group:
        if not isinstance(member, Image.Image):
            message = (
                f"A target is {member!r:.80}, a {type(member).__name__}, but only pictures have noise on them: give a "
                "picture (PIL image) or a tuple of pictures, or use clip-similarity for texts."
            )
            raise InputError(message)
    if not group:
        message = "A target is an empty group: give it at least one picture, or leave it out."
        raise InputError(message)
    return group
