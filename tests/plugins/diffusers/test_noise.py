"""Noise and aims of every kind of prediction, against diffusers' own arithmetic."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from preimage.errors import AssemblyError
from preimage_diffusers.noise import NoiseSchedule

from .conftest import SCHEDULERS

TIMESTEPS = torch.tensor([0, 1, 250, 777, 998, 999])


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Return latents and noise of six rows."""
    rng = torch.Generator().manual_seed(3)
    latents, noise = torch.randn(2, len(TIMESTEPS), 4, 3, 3, generator=rng, dtype=torch.float64)
    return latents, noise


@pytest.mark.parametrize("kind", ["epsilon", "v", "sample", "pndm", "euler"])
def test_noise_is_that_of_training(kind, rows):
    """Noisy latents are those of ``DDIMScheduler.add_noise``, whatever scheduler the model was saved with."""
    latents, noise = rows
    schedule = NoiseSchedule(SCHEDULERS[kind](), "sd:toy")
    reference = DDIMScheduler.from_config(SCHEDULERS[kind]().config)
    assert schedule.n_timesteps == 1000
    assert torch.equal(schedule.told(TIMESTEPS), TIMESTEPS)
    expected = reference.add_noise(latents, noise, TIMESTEPS)
    torch.testing.assert_close(schedule.noisy(latents, TIMESTEPS, noise), expected, rtol=0, atol=1e-7)


def test_aims_are_those_of_training(rows):
    """The noise, diffusers' velocity, or the picture itself."""
    latents, noise = rows
    aims = {kind: NoiseSchedule(SCHEDULERS[kind](), "sd:toy").aim(latents, TIMESTEPS, noise) for kind in SCHEDULERS}
    velocity = DDIMScheduler.from_config(SCHEDULERS["v"]().config).get_velocity(latents, noise, TIMESTEPS)
    assert torch.equal(aims["epsilon"], noise)
    assert torch.equal(aims["sample"], latents)
    torch.testing.assert_close(aims["v"], velocity, rtol=0, atol=1e-7)
    for kind in ("flow", "flow-unipc"):
        torch.testing.assert_close(aims[kind], noise - latents, rtol=0, atol=0)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_follows_its_scheduler(shift, rows):
    """Noisy latents are those of ``scale_noise``, and the network is told the scheduler's own timesteps."""
    latents, noise = rows
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    schedule = NoiseSchedule(scheduler, "sd:toy")
    # The scheduler counts down from pure noise.
    own = scheduler.timesteps.flip(0)[TIMESTEPS]
    torch.testing.assert_close(schedule.told(TIMESTEPS).float(), own, rtol=0, atol=1e-3)
    expected = scheduler.scale_noise(latents, own, noise)
    torch.testing.assert_close(schedule.noisy(latents, TIMESTEPS, noise), expected, rtol=0, atol=1e-6)


def test_flow_matching_in_other_schedulers_is_the_same(rows):
    """UniPC with flow sigmas means the same levels of noise as its namesake, and samples at some of them."""
    latents, noise = rows
    unipc = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    schedules = [NoiseSchedule(one, "sd:toy") for one in (unipc, FlowMatchEulerDiscreteScheduler(shift=3.0))]
    left, right = (schedule.noisy(latents, TIMESTEPS, noise) for schedule in schedules)
    torch.testing.assert_close(left, right)
    unipc.set_timesteps(1000)
    told = schedules[0].told(torch.arange(1000)).flip(0)
    # It samples between pure noise and the least, at as many points as there are steps.
    assert abs(float(unipc.timesteps[0]) - float(told[0])) <= 1
    assert float((unipc.timesteps - told).abs().max()) < 5


def test_what_is_not_known_is_refused():
    """A scheduler that does not tell how the model was trained is named in a sentence."""
    with pytest.raises(AssemblyError, match=r"EDMEulerScheduler of sd:toy has no alphas_cumprod"):
        NoiseSchedule(EDMEulerScheduler(), "sd:toy")
