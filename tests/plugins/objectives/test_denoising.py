"""The denoising objective, computed again pass by pass."""

from __future__ import annotations

import pytest
import torch

from preimage import catalogue
from preimage.errors import CapacityError, InputError, OptionError
from preimage.testing.toy_models import ToyDenoiser, toy_pictures
from preimage_objectives.config import DenoisingConfig
from preimage_objectives.denoising import Denoising, timesteps_of

PICTURES = toy_pictures(4)


@pytest.fixture(scope="module")
def model() -> ToyDenoiser:
    """Return a small random denoiser in double precision."""
    return ToyDenoiser()


def prompts(model, count: int, length: int = 3) -> torch.Tensor:
    """Return prompts of allowed tokens, ``(B, L)``."""
    allowed = model.space.allowed.nonzero().flatten()
    return allowed[torch.randint(len(allowed), (count, length), generator=torch.Generator().manual_seed(4))]


def draws(config: DenoisingConfig, model) -> tuple[list[int], torch.Tensor]:
    """Return the timesteps and noises of a seed, as anybody would draw them."""
    rng = torch.Generator().manual_seed(config.seed)
    timesteps = timesteps_of(config, model.n_timesteps, rng).tolist()
    return timesteps, torch.randn(len(timesteps), 3, 2, 2, generator=rng).double()


def slowly(model, config: DenoisingConfig, prompt: torch.Tensor, pictures) -> float:
    """Return the loss of one prompt, ``(L,)``, by a loop over pictures and timesteps."""
    total, count = 0.0, 0
    for picture in pictures:
        for timestep, noise in zip(*draws(config, model), strict=True):
            states = model.text_states(prompt[None])
            latents = model.encode_pictures([picture])
            total += float(model.noise_prediction_loss(states, latents, torch.tensor([timestep]), noise[None]))
            count += 1
    return total / count


@pytest.mark.parametrize("spacing", ["even", "random"])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_loss_is_the_mean_over_pictures_and_timesteps(model, spacing, batch_size):
    """Groups of one, two and one pictures: each prompt's loss is that of a plain loop, however passes are split."""
    config = DenoisingConfig(n_timesteps=5, spacing=spacing, batch_size=batch_size, seed=2)
    groups = [(PICTURES[0],), (PICTURES[1], PICTURES[2]), (PICTURES[3],)]
    objective = Denoising(config, model=model, targets=[PICTURES[0], (PICTURES[1], PICTURES[2]), PICTURES[3]])
    rows, target = prompts(model, 6), torch.tensor([1, 0, 2, 1, 1, 0])
    expected = [slowly(model, config, row, groups[index]) for row, index in zip(rows, target.tolist(), strict=True)]
    assert objective.loss(rows, target).tolist() == pytest.approx(expected, abs=1e-12)
    losses, _ = objective.loss_and_gradient(rows, target)
    assert losses.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("relative", [False, True])
def test_the_gradient_is_the_measured_slope(model, relative):
    """Entry by entry, for a target of two pictures and passes that do not fit into one batch."""
    config = DenoisingConfig(n_timesteps=3, batch_size=4, relative=relative)
    objective = Denoising(config, model=model, targets=[tuple(PICTURES[:2]), PICTURES[2]])
    rows, target = prompts(model, 2), torch.tensor([0, 1])
    _, gradient = objective.loss_and_gradient(rows, target)
    timesteps, noises = draws(config, model)
    groups = [PICTURES[:2], PICTURES[2:3]]
    for row, index in ((0, 0), (1, 1)):
        at = model.space.embedding[rows[row : row + 1]].clone()

        def loss(embeddings, index=index):
            latents = model.encode_pictures(groups[index])
            states = model.embedding_text_states(embeddings)
            values = [
                model.noise_prediction_loss(states, latent[None], torch.tensor([timestep]), noise[None])
                for latent in latents
                for timestep, noise in zip(timesteps, noises, strict=True)
            ]
            return float(torch.cat(values).mean())

        for place in range(at.numel()):
            ends = []
            for step in (1e-6, -1e-6):
                moved = at.clone()
                moved.view(-1)[place] += step
                ends.append(loss(moved))
            measured = (ends[0] - ends[1]) / 2e-6
            assert gradient[row].view(-1)[place].item() == pytest.approx(measured, abs=1e-8)


def test_noises_are_common(model):
    """A prompt's loss is the same in every search for the picture, and another seed gives another."""
    rows, target = prompts(model, 4), torch.zeros(4, dtype=torch.int64)
    first = Denoising(DenoisingConfig(), model=model, targets=PICTURES[:1]).loss(rows, target)
    again = Denoising(DenoisingConfig(), model=model, targets=PICTURES[1::-1]).loss(rows, target + 1)
    other = Denoising(DenoisingConfig(seed=1), model=model, targets=PICTURES[:1]).loss(rows, target)
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).any()


def test_against_nothing_the_empty_prompt_is_worth_nothing(model):
    """With ``relative`` the loss of the empty prompt is subtracted: the order of prompts stays."""
    targets, rows = [PICTURES[0], tuple(PICTURES[1:3])], prompts(model, 5)
    target = torch.tensor([0, 1, 0, 1, 1])
    plain, relative = (Denoising(DenoisingConfig(relative=r), model=model, targets=targets) for r in (False, True))
    nothing = torch.empty(5, 0, dtype=torch.int64)
    assert relative.loss(nothing, target).abs().max() < 1e-12
    gap = plain.loss(rows, target) - relative.loss(rows, target)
    assert gap.tolist() == pytest.approx(plain.loss(nothing, target).tolist())


def test_texts_are_encoded_once_and_pictures_when_it_is_built(model, monkeypatch):
    """However many timesteps there are, the text encoder sees a prompt once; pictures are not encoded again."""
    objective = Denoising(DenoisingConfig(n_timesteps=20), model=model, targets=PICTURES[:2])
    read = []
    original = ToyDenoiser.embedding_text_states
    monkeypatch.setattr(ToyDenoiser, "embedding_text_states", lambda self, e: read.append(len(e)) or original(self, e))
    monkeypatch.setattr(ToyDenoiser, "encode_pictures", None)
    objective.loss(prompts(model, 3), torch.tensor([0, 1, 0]))
    assert read == [3]


def test_passes_are_halved_when_memory_runs_out(model, monkeypatch):
    """Where eight noisy pictures do not fit, fewer are tried, with the same result; not even one is an error."""
    rows, target = prompts(model, 3), torch.zeros(3, dtype=torch.int64)
    expected = Denoising(DenoisingConfig(), model=model, targets=PICTURES[:1]).loss(rows, target)
    original, limit, sizes = ToyDenoiser.noise_prediction_loss, 3, []

    def limited(self, states, *noisy):
        sizes.append(len(states))
        if len(states) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(self, states, *noisy)

    monkeypatch.setattr(ToyDenoiser, "noise_prediction_loss", limited)
    objective = Denoising(DenoisingConfig(batch_size=8), model=model, targets=PICTURES[:1])
    assert objective.loss(rows, target).tolist() == pytest.approx(expected.tolist())
    assert sizes[:3] == [8, 4, 2]
    limit = 0
    with pytest.raises(CapacityError, match="Not even one noisy picture fits"):
        objective.loss(rows, target)


def test_even_timesteps_are_the_middles_of_equal_parts():
    """One timestep stands for the middle of the range; many cover it and never leave it."""
    rng = torch.Generator()
    assert timesteps_of(DenoisingConfig(n_timesteps=1), 1000, rng).tolist() == [500]
    late = timesteps_of(DenoisingConfig(n_timesteps=4, lowest=0.5, highest=0.9), 1000, rng).tolist()
    assert late == [550, 650, 750, 850]
    assert timesteps_of(DenoisingConfig(n_timesteps=3), 2, rng).tolist() == [0, 1, 1]


def test_drawn_timesteps_are_those_of_the_seed():
    """Drawn timesteps lie in the range, cover it, and come again with the seed."""
    config = DenoisingConfig(n_timesteps=400, spacing="random", lowest=0.2, highest=0.6)
    first, again = (timesteps_of(config, 1000, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.min() in range(200, 210)
    assert first.max() in range(590, 600)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["a red circle"], "only pictures have noise on them.*use clip-similarity for texts"),
        ([PICTURES[0], ()], "empty group"),
        ([(PICTURES[0], 3)], "A target is 3, a int"),
        ([], "The list of targets is empty"),
        (PICTURES[0], "not a list"),
    ],
)
def test_targets_are_pictures(model, targets, words):
    """Texts, empty groups and single pictures are refused in a sentence that says what to do."""
    with pytest.raises(InputError, match=words):
        Denoising(DenoisingConfig(), model=model, targets=targets)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lowest": 0.9, "highest": 0.5}, "from 0.9 to 0.5 is empty"),
        ({"highest": 1.5}, "highest"),
        ({"n_timesteps": 0}, "n_timesteps"),
        ({"spacing": "odd"}, "spacing"),
    ],
)
def test_options_are_checked(model, options, words):
    """A range that is none, and values out of bounds, are refused before anything is loaded."""
    with pytest.raises(OptionError, match=words):
        catalogue().build("objective", "denoising", {"model": model, "targets": PICTURES[:1]}, **options)
