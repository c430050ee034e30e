"""The trained models in transformers' format: plain transformers loads them, and they reach their figures."""

import warnings
from pathlib import Path

import pytest

import preimage_miniworld

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

MODELS = Path(preimage_miniworld.__file__).parent / "models"


@pytest.fixture(autouse=True)
def quiet():
    """The libraries' warnings are theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_language_models_give_what_the_grammar_gives(name):
    """Their perplexity per word is within 15 % of the grammar's own."""
    from preimage_miniworld.training.figures import language_figures

    figures = language_figures(name, MODELS / name, 200)

    assert figures[f"{name}: above the grammar's own, %"] <= 15
    assert abs(figures[f"{name}: added by leaving out the mark of the beginning, %"]) <= 5


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_language_models_prefer_captions_to_their_words_in_disorder(name):
    """The same words sorted, or among words from elsewhere, are less likely."""
    from preimage_miniworld.training.figures import nats

    text = "a tiny striped azure ball under the stars"
    told, sorted_, strange = nats(MODELS / name, [text, " ".join(sorted(text.split())), f"{text} return object"])

    assert told + 10 < sorted_
    assert told + 10 < strange


def test_the_language_models_tokenizers_differ():
    """They cut captions in other places, and both give back what they read."""
    one, two = (transformers.AutoTokenizer.from_pretrained(MODELS / name) for name in ("gpt2", "llama"))
    text = "a tiny striped azure ball beneath a blossom"

    assert [piece.strip("Ġ") for piece in one.tokenize(text)] != [piece.strip("▁") for piece in two.tokenize(text)]
    for tokenizer in (one, two):
        for said in (text, "zebra café 42!"):
            ids = tokenizer(said, add_special_tokens=False).input_ids
            assert tokenizer.decode(ids) == said


def test_moods_are_named():
    """98 of 100 held-out captions, and nearly as many short prompts among junk."""
    from preimage_miniworld.training.figures import mood_figures

    figures = mood_figures(MODELS / "mood", 300)

    assert figures["mood: right on held-out captions"] >= 98
    assert figures["mood: right on short prompts among junk"] >= 90


def test_the_judge_knows_captions_and_pictures():
    """For at least 85 of 100 held-out pictures the right caption comes first among 256."""
    from preimage_miniworld.training.figures import judge_figures

    assert judge_figures(MODELS / "clip-judge")["clip-judge: right caption first among 256, of 100"] >= 85


def test_paraphrases_lie_together():
    """A caption's nearest of 256 is the other caption of its scene."""
    from preimage_miniworld.training.figures import sentence_figures

    assert sentence_figures(MODELS / "sentence")["sentence: right paraphrase first among 256"] >= 85


@pytest.mark.parametrize("name", ["gpt2", "llama", "mood", "clip-judge", "sentence"])
def test_models_are_small_and_compute_in_single_precision(name):
    """Half precision on disk, single precision in memory, a few megabytes."""
    from safetensors.torch import load_file

    stored = load_file(MODELS / name / "model.safetensors")
    model = transformers.AutoModel.from_pretrained(MODELS / name)

    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(entry.stat().st_size for entry in (MODELS / name).iterdir()) < 4e6


def test_captions_tell_the_whole_scene():
    """Of greedy captions of held-out pictures at least 85 in 100, and each kind of attribute in 95."""
    from preimage_miniworld.training.figures import captioner_figures

    figures = captioner_figures(MODELS / "blip2", 150)

    assert figures["blip2: whole scene right"] >= 85
    for kind in ("colour", "shape", "texture", "size", "mood", "background", "relation"):
        assert figures[f"blip2: {kind}"] >= 95, kind
