"""How much noise a model was trained with at each timestep, and what it was trained to say about it.

A noisy picture is a mixture of a picture and noise of normal distribution, and the network's aim is another one::

    noisy = picture[t] x + noise[t] e                 aim = a[t] e + b[t] x

    prediction        picture        noise            a              b
    epsilon           sqrt(A)        sqrt(1 - A)      1              0
    v_prediction      sqrt(A)        sqrt(1 - A)      sqrt(A)        -sqrt(1 - A)
    sample            sqrt(A)        sqrt(1 - A)      0              1
    flow matching     1 - s          s                1              -1

where ``A`` are the scheduler's ``alphas_cumprod`` and ``s`` are the noise levels of flow matching,
``s = f u / (1 + (f - 1) u)`` for ``u = (t + 1) / N`` and the scheduler's shift ``f``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from preimage.errors import AssemblyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NoiseSchedule"]


class NoiseSchedule:
    """The noise of a model's training.

    Arguments:
        scheduler: of diffusers, as the model was saved with it.
        reference: the ``sd:name`` of the model, for messages.

    Raises:
        AssemblyError: it says neither how much noise there is nor what is predicted, in a way that is known.

    >>> from diffusers import DDIMScheduler
    >>> schedule = NoiseSchedule(DDIMScheduler(prediction_type="v_prediction"), "sd:toy")
    >>> schedule.n_timesteps
    1000
    """

    def __init__(self, scheduler: Any, reference: str) -> None:
        config = scheduler.config
        kind = config.get("prediction_type", "epsilon")
        flows = type(scheduler).__name__.startswith("FlowMatch") or config.get("use_flow_sigmas", False)
        alphas = getattr(scheduler, "alphas_cumprod", None)
        if flows:
            count = int(config.num_train_timesteps)
            uniform = torch.arange(1, count + 1, dtype=torch.float64) / count
            shift = float(config.get("flow_shift", config.get("shift", 1.0)) or 1.0)
            level = shift * uniform / (1 + (shift - 1) * uniform)
            one = torch.ones_like(level)
            self._picture, self._noise, self._aim = 1 - level, level, (one, -one)
            # What the network is told lies between 0 and the number of timesteps, and need not be an integer.
            self._told = level * count
        elif alphas is not None and kind in ("epsilon", "v_prediction", "sample"):
            cumulated = alphas.detach().double().cpu()
            self._picture, self._noise = cumulated.sqrt(), (1 - cumulated).sqrt()
            one, zero = torch.ones_like(cumulated), torch.zeros_like(cumulated)
            aims = {"epsilon": (one, zero), "v_prediction": (self._picture, -self._noise), "sample": (zero, one)}
            self._aim = aims[kind]
            self._told = torch.arange(len(cumulated))
        else:
            has = f"predicts {kind!r}" if alphas is not None else "has no alphas_cumprod"
            message = (
                f"The {type(scheduler).__name__} of {reference} {has}, so that it is not known how the model was "
                "trained: use a model that predicts epsilon, v_prediction, sample or the flow of flow matching."
            )
            raise AssemblyError(message)

    @property
    def n_timesteps(self) -> int:
        """How many timesteps there are; 0 is the least noisy."""
        return len(self._told)

    def told(self, timesteps: Tensor) -> Tensor:
        """Return how the network is told of timesteps, ``(B,)``."""
        return self._told.to(timesteps.device)[timesteps]

    def noisy(self, latents: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """Return ``(B, C, H, W)`` with noise on it; timesteps are ``(B,)``."""
        return self._mixed(self._picture, latents, self._noise, noise, timesteps)

    def aim(self, latents: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """Return what the network should say, ``(B, C, H, W)``."""
        of_noise, of_picture = self._aim
        return self._mixed(of_picture, latents, of_noise, noise, timesteps)

    def _mixed(self, first: Tensor, left: Tensor, second: Tensor, right: Tensor, timesteps: Tensor) -> Tensor:
        shares = [part.to(left)[timesteps].view(-1, 1, 1, 1) for part in (first, second)]
        return shares[0] * left + shares[1] * right
