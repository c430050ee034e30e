"""The trained CLIP: loads through open_clip's own loader and reaches its figure."""

import warnings
from pathlib import Path

import pytest

import preimage_miniworld

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

FOLDER = Path(preimage_miniworld.__file__).parent / "models" / "clip"


@pytest.fixture(scope="module")
def loaded():
    """The model, its preprocessing and its tokenizer, as anybody loads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{FOLDER}")
        tokenizer = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    return model.eval(), preprocess, tokenizer


def test_the_right_caption_comes_first():
    """For at least 85 of 100 held-out pictures, among 256 held-out captions."""
    from preimage_miniworld.training.figures import clip_figures

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figures = clip_figures(FOLDER)

    assert figures["clip: right caption first among 256, of 100"] >= 85


def test_the_tokenizer_is_its_own(loaded):
    """Lower-casing, word ends, specials at the highest ids, many words in pieces, room for captions."""
    from preimage_miniworld.data import held_out

    _, _, tokenizer = loaded
    inner = tokenizer.tokenizer
    size = len(inner)

    assert inner.convert_tokens_to_ids(["<|startoftext|>", "<|endoftext|>"]) == [size - 2, size - 1]
    assert inner.tokenize("Red") == ["red</w>"]
    assert len(inner.tokenize("beneath")) > 2
    assert inner.decode(inner("a small striped circle").input_ids, skip_special_tokens=True) == (
        "a small striped circle"
    )
    rows = tokenizer([text for _, _, text in held_out(256)])
    assert (rows == size - 1).any(1).all()
    assert (rows[:, -1] == size - 1).all()


def test_the_model_is_small_and_single_precision(loaded):
    """A few megabytes on disk; single precision once loaded."""
    model, _, _ = loaded

    assert sum(entry.stat().st_size for entry in FOLDER.iterdir()) < 6e6
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_short_prompts_are_understood(loaded):
    """A few right words score above as many wrong ones, and junk around them does little harm."""
    from preimage_miniworld.data import demo_scenes

    model, preprocess, tokenizer = loaded
    (scene, picture, _), *_ = demo_scenes()
    entry = scene.objects[0]
    right = f"{entry.colour} {entry.shape}"
    texts = [right, f"list {right} object code", f"{entry.colour} square", "green cross"]
    with torch.no_grad():
        seen = model.encode_image(preprocess(picture)[None], normalize=True)
        scores = (seen @ model.encode_text(tokenizer(texts), normalize=True).T)[0].tolist()

    assert min(scores[:2]) > max(scores[2:])


def test_the_vector_of_a_picture_does_not_depend_on_what_was_asked_before():
    """Its last digits depend on the batch that it is encoded in, so that one from another batch would differ."""
    from preimage_miniworld.data import held_out
    from preimage_open_clip.config import OpenClipConfig
    from preimage_open_clip.loader import load

    pictures = [picture for _, picture, _ in held_out(5, seed=7)]
    first, second = (load(OpenClipConfig(), name=str(FOLDER)) for _ in range(2))
    alone, together = first.encode_images(pictures[:1]), second.encode_images(pictures)

    assert torch.equal(first.encode_images(pictures), together)
    assert torch.equal(second.encode_images(pictures[:1]), alone)
