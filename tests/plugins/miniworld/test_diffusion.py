"""The Stable Diffusion pipeline of the mini world, how it is trained, and the classifier that judges its pictures."""

import copy
from pathlib import Path

import pytest
from attrs import evolve

import preimage_miniworld
from preimage_miniworld.data import held_out

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
open_clip = pytest.importorskip("open_clip")
np = pytest.importorskip("numpy")

MODELS = Path(preimage_miniworld.__file__).parent / "models"
TEXTS = ["a small striped red star in a meadow", "", "Tiny ZANZIBAR ball, quite (odd) at night", "blue " * 60]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def pipeline():
    """The bundled pipeline, loaded by diffusers."""
    loaded = diffusers.StableDiffusionPipeline.from_pretrained(MODELS / "sd")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_the_text_tower_is_that_of_the_first_clip(pipeline):
    """Its ids are those of open_clip's tokenizer, its states those of open_clip's text tower."""
    model = open_clip.create_model(f"local-dir:{MODELS / 'clip'}").eval()
    theirs = open_clip.get_tokenizer(f"local-dir:{MODELS / 'clip'}")(TEXTS)
    ours = pipeline.tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = model.token_embedding(theirs) + model.positional_embedding
        hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask))
        states = pipeline.text_encoder(input_ids=ours)

    assert ours.shape == theirs.shape
    # What follows the end is padding, which the two do differently and which changes nothing before it.
    for row, end in enumerate(theirs.argmax(1).tolist()):
        assert torch.equal(ours[row, : end + 1], theirs[row, : end + 1])
        assert torch.allclose(states.last_hidden_state[row, : end + 1], hidden[row, : end + 1], atol=1e-5)
        assert torch.allclose(states.pooler_output[row], hidden[row, end], atol=1e-5)


def test_weights_are_stored_in_half_and_loaded_in_single_precision(pipeline):
    """Small on disk, exact once loaded, safetensors only."""
    from safetensors.torch import load_file

    weights = list((MODELS / "sd").rglob("*.safetensors"))
    assert len(weights) == 3
    assert not list((MODELS / "sd").rglob("*.bin"))
    assert all(value.dtype == torch.float16 for path in weights for value in load_file(path).values())
    assert {part.dtype for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder)} == {torch.float32}
    assert sum(path.stat().st_size for path in (MODELS / "sd").rglob("*") if path.is_file()) < 16e6


def test_equal_noise_gives_equal_pictures_alone_and_in_a_batch(pipeline):
    """A picture depends on its text and its noise, not on its company."""
    from preimage_miniworld.training.pipeline import generated

    one = generated(pipeline, TEXTS[:1], steps=4)
    two = generated(pipeline, TEXTS[:2], steps=4)

    assert one.shape == (1, 64, 64, 3)
    assert np.abs(one[0].astype(int) - two[0]).max() <= 1
    assert np.abs(two[0].astype(int) - two[1]).max() > 20


def test_pictures_show_what_the_captions_say():
    """A few held-out scenes are drawn with the right colours and backgrounds."""
    from preimage_miniworld.training.figures import diffusion_figures

    figures = diffusion_figures(MODELS / "sd", 12)

    assert figures["sd: one object: colour"] >= 75
    assert figures["sd: one object: background"] >= 75
    assert figures["sd: one object: shape"] >= 60
    assert set(figures) >= {"sd: two objects: relation", "sd: one object: texture", "sd: seconds a picture"}


def test_the_classifier_knows_held_out_scenes():
    """It names what rendered pictures show; who judges must not err itself."""
    from preimage_miniworld.training.figures import attribute_figures

    figures = attribute_figures(MODELS / "attributes.safetensors", 60)

    for name in ("colour", "shape", "texture", "size", "background"):
        assert figures[f"attributes: one object: {name}"] >= 98


def test_the_classifier_says_which_attribute_is_wrong():
    """Pictures compared with scenes that differ in one attribute are wrong in that one alone."""
    from preimage_miniworld.attributes import attributes_right, load_attributes

    examples = held_out(20, objects=1)
    pictures = np.stack([np.asarray(picture) for _, picture, _ in examples])
    classifier = load_attributes(MODELS / "attributes.safetensors")
    others = {"small": "large", "large": "small"}
    wrong = [
        evolve(scene, objects=[evolve(scene.objects[0], size=others[scene.objects[0].size])])
        for scene, _, _ in examples
    ]

    right = attributes_right(classifier, pictures, wrong)

    assert right["size"] == right["all"] == 0
    assert min(right["colour"], right["shape"], right["background"]) == 100


def test_an_average_follows_its_module():
    """Weights move by a share of the distance, counts are copied, the module stays as it is."""
    from preimage_miniworld.training.trainer import follow

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = copy.deepcopy(module)
    module(torch.randn(8, 3))
    with torch.no_grad():
        module[0].weight += 1
    before = {name: value.clone() for name, value in module.state_dict().items()}
    former = average[1].running_mean.clone()

    follow(average, module, 0.9)

    assert torch.allclose(average[0].weight, module[0].weight - 0.9)
    assert torch.allclose(average[1].running_mean, 0.9 * former + 0.1 * module[1].running_mean)
    assert average[1].num_batches_tracked == 1
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_velocity_weights_are_those_of_the_picture():
    """At every time a velocity weighs so that the picture weighs one more than its clamped signal-to-noise ratio."""
    from preimage_miniworld.training.diffusion import velocity_weights
    from preimage_miniworld.training.pipeline import new_scheduler

    scheduler = new_scheduler()
    weights = velocity_weights(scheduler)

    for time in (0, 200, 700, 999):
        kept = float(scheduler.alphas_cumprod[time])
        # With v = a e - s x and z = a x + s e the picture is x = a z - s v: errors of v count s squared.
        picture = float(weights[time]) / (1 - kept)
        assert picture == pytest.approx(1 + min(kept / (1 - kept), 20), rel=1e-4)
    assert weights[999] == 1


def test_latents_are_standardised_and_pictures_stay():
    """Every channel gets mean zero and unit variance, and decodes to what it did."""
    from preimage_miniworld.training.autoencoder import _standardise, encoded, new_autoencoder

    images = np.stack([np.asarray(picture) for _, picture, _ in held_out(6)])
    former = new_autoencoder(0).eval().requires_grad_(requires_grad=False)
    latter = copy.deepcopy(former)
    latents = encoded(former, images)

    _standardise(latter, latents)

    found = encoded(latter, images)
    assert torch.allclose(found.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(found.std((0, 2, 3)), torch.ones(4), atol=1e-4)
    assert torch.allclose(latter.decode(found).sample, former.decode(latents).sample, atol=1e-4)


def test_a_training_that_was_cut_off_goes_on(tmp_path):
    """Pool, autoencoder, decoder and denoiser are taken up again; the result loads and has the average's weights."""
    from preimage_miniworld.training.autoencoder import AutoencoderTraining, DecoderTraining
    from preimage_miniworld.training.diffusion import DiffusionTraining, train_diffusion

    for name in ("clip", "attributes.safetensors"):
        (tmp_path / name).symlink_to(MODELS / name)
    part = {"warm_up": 1, "save_every": 2, "batch": 4}
    parts = AutoencoderTraining(steps=2, **part), DecoderTraining(steps=2, **part)
    settings = DiffusionTraining(pictures=32, texts=2, steps=4, watched=1, **part)

    def weights(folder):
        return diffusers.UNet2DConditionModel.from_pretrained(folder / "unet").state_dict()

    train_diffusion(tmp_path / "sd", tmp_path / "build" / "sd", evolve(settings, steps=2), *parts)
    first = weights(tmp_path / "sd")
    train_diffusion(tmp_path / "sd", tmp_path / "build" / "sd", settings, *parts)

    last, kept = weights(tmp_path / "sd"), torch.load(tmp_path / "build" / "sd" / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 4
    assert any(not torch.equal(first[name], last[name]) for name in last)
    assert all(torch.equal(last[name], value.half().float()) for name, value in kept["average"]["denoiser"].items())
    diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "build" / "sd" / "current")
