"""Training: labels, texts, tokenizer, and a run that is cut off and goes on."""

import os
import random
import time
from pathlib import Path

import pytest

import preimage_miniworld
from preimage_miniworld.labels import CLASSES, labels_of
from preimage_miniworld.parser import attributes_of, parse
from preimage_miniworld.scene import sample_scene
from preimage_miniworld.training.noise import short_prompt, training_text
from preimage_miniworld.training.pool import sibling

MODELS = Path(preimage_miniworld.__file__).parent / "models"

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")


def test_labels_fit_their_classes_and_ignore_the_order():
    """Equal scenes have equal labels, each below its number of classes."""
    for seed in range(200):
        scene = sample_scene(random.Random(seed))
        labels = labels_of(scene)
        assert len(labels) == len(CLASSES)
        assert all(0 <= label < count for label, count in zip(labels, CLASSES, strict=True))
        if scene.relation and scene.mood == "none":
            assert labels_of(scene.reversed()) == labels


def test_training_texts_tell_the_truth():
    """Complete texts name the scene, short prompts nothing that is not in it."""
    rng = random.Random(0)
    for _ in range(300):
        scene = sample_scene(rng)
        text, complete = training_text(scene, rng, ["code", "list"])
        if complete:
            assert parse(text).background == scene.background
        truth = {pair for pair in attributes_of(scene).names() if pair[0] != "relation"}
        said = {pair for pair in parse(short_prompt(scene, rng)).names() if pair[0] != "relation"}
        assert said <= truth


def test_a_sibling_differs_in_one_attribute():
    """A sibling is another training scene with the same number of objects."""
    rng = random.Random(0)
    for _ in range(100):
        scene = sample_scene(rng)
        other = sibling(scene, rng)
        assert other != scene
        assert other.split == "train"
        assert len(other.objects) == len(scene.objects)


@pytest.mark.parametrize("kind", ["byte_level", "unigram", "word_pieces"])
def test_a_tokenizer_is_learned_as_it_was_before(tmp_path, kind):
    """A training that goes on learns its tokenizer again, and the weights so far are those of the former one."""
    from preimage_miniworld.training import pieces

    for folder in ("one", "two"):
        getattr(pieces, kind)(tmp_path / folder, 700)

    files = [sorted((tmp_path / folder).iterdir()) for folder in ("one", "two")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_was_cut_off_ends_like_one_that_was_not(tmp_path, monkeypatch):
    """Two steps and then two more give the weights of four in one go."""
    from safetensors.torch import load_file

    from preimage_miniworld.training.clip import ClipTraining, train_clip

    whole = ClipTraining(pictures=64, texts=2, steps=4, batch=16, warm_up=1, save_every=2)

    def stop(*_arguments):
        raise KeyboardInterrupt

    train_clip(tmp_path / "one", tmp_path / "build-one", whole)
    with monkeypatch.context() as patch:
        patch.setattr("preimage_miniworld.training.clip.export_clip", stop)
        with pytest.raises(KeyboardInterrupt):
            train_clip(tmp_path / "two", tmp_path / "build-two", whole)
    train_clip(tmp_path / "two", tmp_path / "build-two", whole)

    one, two = (load_file(tmp_path / name / "open_clip_model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in one)


@pytest.mark.parametrize("cut", [2, 4])
def test_any_training_goes_on_from_its_checkpoint(tmp_path, cut):
    """A run that is cut off and goes on ends with the very weights of one that was not."""
    from preimage_miniworld.training.trainer import Schedule, train

    schedule = Schedule(steps=6, warm_up=2, save_every=2, seed=3)

    def run(folder, stop_at=None):
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 1)
        steps = []

        def loss(generator):
            steps.append(1)
            value = module(torch.randn(4, 3, generator=generator)).square().mean()
            return value, {"loss": float(value.detach())}

        def on_save():
            if stop_at is not None and len(steps) == stop_at:
                raise KeyboardInterrupt

        folder.mkdir(exist_ok=True)
        train("toy", {"model": module}, loss, schedule, folder / "checkpoint.pt", on_save)
        return module.weight.detach()

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", cut)

    assert torch.equal(run(tmp_path / "cut"), whole)


def test_a_run_of_another_seed_is_not_gone_on_from(tmp_path):
    """It would end with weights that neither seed gives."""
    from preimage_miniworld.training.trainer import Schedule, train

    def learn(seed):
        module = torch.nn.Linear(1, 1)

        def loss(_):
            return module(torch.ones(1, 1)).square().mean(), {}

        train("toy", {"model": module}, loss, Schedule(steps=2, warm_up=1, seed=seed), tmp_path / "checkpoint.pt")

    learn(0)
    with pytest.raises(ValueError, match="keeps a run of seed 0, which seed 1 cannot go on from: name another folder"):
        learn(1)


def test_jobs_begin_when_all_that_they_need_is_done(tmp_path):
    """A folder can only be made in one that is there."""
    from preimage_miniworld.training.side_by_side import carry_out

    names = [str(tmp_path / name) for name in ("a", "a/b", "a/b/c", "d", "d/e")]
    needs = {name: tuple(other for other in names if name.startswith(other + os.sep)) for name in reversed(names)}
    carry_out(needs, 2, os.mkdir)

    assert all(Path(name).is_dir() for name in names)


def test_an_error_ends_the_other_jobs(tmp_path):
    """What needs the failed one is not begun, and the error is the job's own."""
    from preimage_miniworld.training.side_by_side import carry_out

    failing, after = str(tmp_path / "missing" / "child"), str(tmp_path / "after")
    with pytest.raises(FileNotFoundError, match="child"):
        carry_out({failing: (), after: (failing,)}, 2, os.mkdir)
    assert not Path(after).exists()


def test_jobs_that_need_each_other_are_named():
    """Instead of waiting for ever."""
    from preimage_miniworld.training.side_by_side import carry_out

    with pytest.raises(ValueError, match="Nothing can be begun: one, two need each other, or something unknown"):
        carry_out({"one": ("two",), "two": ("one",)}, 2, os.mkdir)


def test_there_is_a_job_for_every_model():
    """And one for the classifier that judges pictures; each needs only what is there before it could need that."""
    from preimage_miniworld.loader import MODELS as LOADED
    from preimage_miniworld.training.jobs import JOBS
    from preimage_miniworld.training.jobs import MODELS as TRAINED

    assert set(TRAINED) == {*LOADED, "attributes"}
    done: set[str] = set()
    while ready := [name for name, job in JOBS.items() if name not in done and done.issuperset(job.needs)]:
        done.update(ready)
    assert done == set(JOBS)


def test_moods_are_read_from_texts():
    """The mood a text names, neutral when it names none or both."""
    from preimage_miniworld.training.mood import LABELS, mood_of

    said = ["a smiling star", "gloomy zz code", "red star", "a happy star, a sad ball"]
    assert [LABELS[mood_of(text)] for text in said] == ["positive", "negative", "neutral", "neutral"]


def test_the_captioner_learns_to_look_and_to_speak_and_goes_on(tmp_path):
    """Both parts run; one that is cut off between them ends with the weights of one that was not, loadable as any."""
    from preimage_miniworld.training import captioner

    gpt2 = Path(captioner.__file__).parents[1] / "models" / "gpt2"
    settings = captioner.CaptionerTraining(
        pictures=32, texts=2, captions=1, width=32, layers=1, query_layers=1, steps=2, speaking=2, batch=8,
        speaking_batch=4, warm_up=1, save_every=1,
    )  # fmt: skip

    def train(name, cut):
        folder = tmp_path / name / "models"
        folder.mkdir(parents=True)
        (folder / "gpt2").symlink_to(gpt2)
        build = tmp_path / name / "build" / "blip2"
        if cut:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(captioner, "_rows", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
                with pytest.raises(KeyboardInterrupt):
                    captioner.train_captioner(folder / "blip2", build, settings)
            assert (build / "current" / "model.safetensors").exists()
        captioner.train_captioner(folder / "blip2", build, settings)
        return transformers.Blip2ForConditionalGeneration.from_pretrained(folder / "blip2").state_dict()

    transformers = pytest.importorskip("transformers")
    whole, resumed = train("whole", cut=False), train("cut", cut=True)

    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_captions_to_learn_from_begin_where_the_picture_says():
    """With the object with a face, or else with the left or the upper one; and they tell the whole scene."""
    from preimage_miniworld.training.captioner import _plain_order

    rng = random.Random(4)
    for seed in range(100):
        scene = sample_scene(random.Random(seed))
        said = parse(_plain_order(scene, rng))
        assert said.scene() == scene.canonical()
        if scene.relation and scene.mood == "none":
            assert said.relation in ("left of", "above")
        elif scene.relation:
            assert said.objects[0].mood == scene.mood


def test_a_model_that_is_not_there_is_named_with_the_command_that_trains_it(capsys, tmp_path):
    """Instead of its figures."""
    from preimage_miniworld.training.__main__ import main

    main(["evaluate", "--models", str(tmp_path)])
    assert "mood: not there; train it with: python -m preimage_miniworld.training mood" in capsys.readouterr().out


def test_the_hours_of_training_are_those_of_all_checkpoints(tmp_path):
    """Of runs that were cut off, too: what was learned before counts."""
    from preimage_miniworld.training.figures import training_figures
    from preimage_miniworld.training.trainer import Schedule, train

    def learn(name, steps):
        module = torch.nn.Linear(1, 1)
        (tmp_path / name).mkdir(exist_ok=True)
        checkpoint = tmp_path / name / "checkpoint.pt"

        def loss(_):
            time.sleep(0.01)
            return module(torch.ones(1, 1)).square().mean(), {}

        train(name, {"model": module}, loss, Schedule(steps=steps, warm_up=1), checkpoint)

    hours = []
    for name, steps in (("one", 3), ("two", 2), ("one", 6)):
        learn(name, steps)
        hours.append(training_figures(tmp_path)["all models: hours of training"])
    assert 0.03 / 3_600 < hours[0] < hours[1] - 0.02 / 3_600 < hours[2] - 0.05 / 3_600


def test_all_models_together_are_small_and_soon_loaded():
    """All eight, by the loaders of their formats, as the figures say it."""
    pytest.importorskip("preimage_transformers")
    pytest.importorskip("preimage_diffusers")
    pytest.importorskip("preimage_open_clip")
    from preimage_miniworld.training.figures import storage_figures
    from preimage_miniworld.training.goals import AT_MOST, missed

    figures = storage_figures(MODELS)

    assert figures.keys() <= AT_MOST.keys()
    assert missed({"all models: megabytes": figures["all models: megabytes"]}) == []
    assert 0 < figures["all models: seconds to load"] < 60
