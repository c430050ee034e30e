"""Pictures of prompts, against the pipeline called by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler, StableDiffusionInpaintPipeline, UniPCMultistepScheduler

from preimage.errors import AssemblyError, CapacityError, InputError, OptionError
from preimage.testing.weights import changes, photograph
from preimage_diffusers.config import DiffusersConfig
from preimage_diffusers.generator import DiffusersGenerator
from preimage_diffusers.schedulers import steps_of

from .conftest import CONTEXT, loaded, pipeline, quietly, unet, xl_pipeline

if TYPE_CHECKING:
    from PIL import Image

PROMPTS = ["a red circle", "blue squares on a hill", "the old painter"]


def generator(kind: str = "epsilon", made: Any = None, **options: Any) -> DiffusersGenerator:
    """Return a generator over a pipeline in memory."""
    config = DiffusersConfig(**({"steps": 4} | options))
    return DiffusersGenerator(pipeline(kind) if made is None else made, config, reference="sd:toy")


def by_hand(kind: str, prompt: str, seed: int, **options: Any) -> Image.Image:
    """Return what diffusers draws when it is given the prompt as text."""
    made = pipeline(kind)
    made.set_progress_bar_config(disable=True)
    rng = torch.Generator().manual_seed(seed)
    with quietly():
        return made(prompt, generator=rng, num_inference_steps=4, **options).images[0]


def gap(left: Image.Image, right: Image.Image) -> int:
    """Return by how much the pixels of two pictures differ at most, of 255."""
    assert left.size == right.size
    return int(np.abs(np.asarray(left, int) - np.asarray(right, int)).max())


@pytest.mark.parametrize("kind", ["epsilon", "v", "sample", "pndm", "euler", "flow-unipc"])
def test_pictures_are_those_of_diffusers(kind):
    """Under every scheduler a prompt with a seed is drawn as the pipeline draws it alone."""
    drawn = generator(kind).generate(PROMPTS, [3, 4, 5])
    for prompt, seed, image in zip(PROMPTS, (3, 4, 5), drawn, strict=True):
        assert gap(image, by_hand(kind, prompt, seed)) <= 1


@pytest.mark.parametrize("scheduler", [None, "euler-ancestral", "ddpm"])
def test_a_picture_does_not_depend_on_its_company(scheduler):
    """Alone, in another order and in batches of another size, with schedulers that draw noise at every step, too."""
    prompts, seeds = PROMPTS * 2, [1, 2, 3, 1, 5, 6]
    drawn = generator(scheduler=scheduler).generate(prompts, seeds)
    assert max(gap(drawn[0], other) for other in drawn[1:]) > 20
    assert gap(drawn[0], drawn[3]) <= 1
    for order, batch_size in (([5, 0, 3, 1, 4, 2], 4), ([2], 1), ([1, 1], 2)):
        again = generator(scheduler=scheduler, batch_size=batch_size).generate(
            [prompts[i] for i in order], [seeds[i] for i in order]
        )
        assert all(gap(image, drawn[i]) <= 1 for i, image in zip(order, again, strict=True))


def test_options_reach_the_pipeline():
    """Guidance, negative prompt and size are those of the pipeline's own arguments."""
    given = {"guidance": 3.0, "negative_prompt": "dark sky", "height": 24, "width": 32}
    (drawn,) = generator(**given).generate(PROMPTS[:1], [3])
    wanted = {"guidance_scale": 3.0, "negative_prompt": "dark sky", "height": 24, "width": 32}
    assert drawn.size == (32, 24)
    assert gap(drawn, by_hand("epsilon", PROMPTS[0], 3, **wanted)) <= 1
    assert gap(drawn, by_hand("epsilon", PROMPTS[0], 3, height=24, width=32)) > 1


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_without_guidance_one_pass_is_enough(guidance):
    """At a guidance of 1 or less the network is not asked about the negative prompt."""
    made = pipeline("epsilon")
    rows: list[int] = []
    made.unet.register_forward_pre_hook(lambda _module, inputs: rows.append(len(inputs[0])))
    generator(made=made, guidance=guidance).generate(PROMPTS, [1, 2, 3])
    assert rows == [3] * 4


def test_texts_are_encoded_once():
    """The negative prompt is encoded once, and a prompt once a batch, however many seeds it is drawn with."""
    made = pipeline("epsilon")
    rows: list[int] = []
    made.text_encoder.register_forward_pre_hook(lambda _module, inputs: rows.append(len(inputs[0])))
    model = generator(made=made, batch_size=4)
    model.generate([PROMPTS[0]] * 6 + PROMPTS[1:], list(range(8)))
    model.generate(PROMPTS[:1], [0])
    assert sorted(rows) == [1, 1, 1, 3]


def test_long_prompts_are_cut_with_a_warning():
    """What does not fit the context is named, and the picture is that of what fits, as diffusers draws it."""
    words = "a red circle on a hill over a blue square and a yellow star"
    with pytest.warns(UserWarning, match=f"reads {CONTEXT} tokens, and .* has 19: 'a yellow star' at its end was left"):
        (drawn,) = generator().generate([words], [1])
    assert gap(drawn, by_hand("epsilon", words, 1)) <= 1


def test_the_pipeline_is_left_as_it_is():
    """Weights, parts, scheduler state, settings and progress bar of a pipeline in use stay as they were."""
    made = pipeline("v")
    with quietly():
        made.scheduler.set_timesteps(7)
    before, steps, parts = photograph(made), made.scheduler.timesteps.clone(), dict(made.components)
    config = dict(made.config)
    generator(made=made, scheduler="ddim").generate(PROMPTS, [1, 2, 3])
    assert changes(before, photograph(made)) == []
    assert torch.equal(made.scheduler.timesteps, steps)
    assert all(made.components[name] is part for name, part in parts.items())
    assert dict(made.config) == config
    assert not hasattr(made, "_progress_bar_config")
    assert not hasattr(made, "_guidance_scale")


def test_the_batch_is_halved_when_memory_runs_out():
    """Where three pictures do not fit, fewer are drawn at once, for good; not even one is an error."""
    made, sizes = pipeline("epsilon"), []

    def full(limit: int) -> Any:
        def check(_module: Any, inputs: Any) -> None:
            sizes.append(len(inputs[0]) // 2)
            if len(inputs[0]) > 2 * limit:
                raise torch.OutOfMemoryError("out of memory")

        return check

    expected = generator().generate(PROMPTS, [1, 2, 3])
    handle = made.unet.register_forward_pre_hook(full(2))
    model = generator(made=made)
    drawn = model.generate(PROMPTS, [1, 2, 3])
    assert all(gap(*pair) <= 1 for pair in zip(drawn, expected, strict=True))
    sizes.clear()
    model.generate(PROMPTS, [1, 2, 3])
    assert set(sizes) == {1}
    handle.remove()
    made.unet.register_forward_pre_hook(full(0))
    with pytest.raises(CapacityError, match="Not even one picture fits"):
        model.generate(PROMPTS[:1], [1])


@pytest.mark.parametrize(
    ("scheduler", "steps"), [(DDIMScheduler(), 50), (UniPCMultistepScheduler(), 25), (LCMScheduler(), 4)]
)
def test_steps_are_what_the_scheduler_is_used_with(scheduler, steps):
    """Schedulers of few steps get few, unless the options say otherwise."""
    assert steps_of(scheduler) == steps
    made = pipeline("epsilon", scheduler=type(scheduler).from_config(pipeline("epsilon").scheduler.config))
    assert generator(made=made, steps=None).steps == steps
    assert generator(made=made, steps=9).steps == 9


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ddim", "DDIMScheduler"),
        ("Euler", "EulerDiscreteScheduler"),
        ("EulerAncestralDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
        ("dpmsolver_multistep", "DPMSolverMultistepScheduler"),
    ],
)
def test_schedulers_have_the_names_that_people_type(name, kind):
    """Capitals, dashes and endings do not matter; what the model predicts is kept."""
    scheduler = generator("v", scheduler=name)._pipeline.scheduler
    assert type(scheduler).__name__ == kind
    assert scheduler.config.prediction_type == "v_prediction"


def test_an_unknown_scheduler_is_refused():
    """The nearest names are told."""
    with pytest.raises(OptionError, match="no scheduler 'eular' for a model with a DDIMScheduler.*eulerdiscrete"):
        generator(scheduler="eular")


def test_a_flow_matching_scheduler_cannot_draw_with_a_unet():
    """Diffusers has no such pipeline: a sentence says so before anything is drawn."""
    with pytest.raises(AssemblyError, match="cannot draw with a FlowMatchEulerDiscreteScheduler"):
        generator("flow")


def test_pipelines_with_several_text_encoders_draw_alike():
    """Stable Diffusion XL is told prompts as texts; the same pair is the same picture there, too."""
    model = generator(made=xl_pipeline())
    drawn = model.generate(PROMPTS, [1, 2, 3])
    (alone,) = model.generate(PROMPTS[1:2], [2])
    assert gap(alone, drawn[1]) <= 1 < gap(alone, drawn[0])


def test_a_pipeline_for_other_tasks_is_refused():
    """Filling in holes takes more than a prompt."""
    parts = {name: part for name, part in pipeline("epsilon").components.items() if name != "image_encoder"}
    made = StableDiffusionInpaintPipeline(**(parts | {"unet": unet(in_channels=9)}), requires_safety_checker=False)
    with pytest.raises(AssemblyError, match="StableDiffusionInpaintPipeline, which does not turn prompts alone"):
        generator(made=made)


@pytest.mark.parametrize(
    ("prompts", "seeds", "words"),
    [
        (["a"], [1, 2], "as many seeds"),
        ("a red circle", [1], "list of prompts"),
        ([3], [1], "The prompt 3 with the seed 1 cannot be drawn"),
        (["a"], [1.5], "seed 1.5 cannot"),
    ],
)
def test_pairs_are_checked(prompts, seeds, words):
    """Prompts are texts, seeds are integers, and there are as many of them."""
    with pytest.raises(InputError, match=words):
        generator().generate(prompts, seeds)


def test_nothing_to_draw_is_nothing_drawn():
    """No prompts give no pictures."""
    assert generator().generate([], []) == []


def test_sizes_are_multiples():
    """A size whose latents would not be whole is refused."""
    with pytest.raises(OptionError, match="Pictures of 16 x 20 were asked of sd:toy, whose sides are multiples of 8"):
        generator(height=20)


class _Prude(torch.nn.Module):
    """A safety checker that dislikes the first picture of every batch."""

    device = torch.device("cpu")

    def forward(self, images: Any, clip_input: Any) -> tuple[Any, list[bool]]:
        images[0] = 0.0
        return images, [number == 0 for number in range(len(images))]


class _Features:
    def __call__(self, images: Any, return_tensors: str) -> Any:
        class Given(dict):
            pixel_values = torch.zeros(1)

            def to(self, _device: Any) -> Any:
                return self

        return Given()


def test_a_safety_checker_speaks():
    """A picture that a filter blackens is named, with what to do."""
    made = pipeline("epsilon")
    model = generator(made=made)
    model._pipeline.safety_checker, model._pipeline.feature_extractor = _Prude(), _Features()
    with pytest.warns(UserWarning, match="took the picture of 'a red circle' for unsafe and made it black"):
        drawn = model.generate(PROMPTS, [1, 2, 3])
    assert np.asarray(drawn[0]).max() == 0
    assert np.asarray(drawn[1]).max() > 0


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_precision_changes_no_noise(dtype):
    """In another precision the same seed draws nearly the same picture."""
    single, other = (loaded("epsilon", "image-generator", d, steps=4) for d in (None, dtype))
    pair = [model.generate(PROMPTS[:1], [3])[0] for model in (single, other)]
    difference = np.abs(np.asarray(pair[0], float) - np.asarray(pair[1], float)).mean()
    assert difference < (0.1 if dtype == "float64" else 12)
