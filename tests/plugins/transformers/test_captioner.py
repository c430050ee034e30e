"""Captioners: what they say is what transformers generates, and what is sampled is drawn from the model's own odds."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
import torch
import transformers

from preimage.api import Decoding
from preimage.errors import AssemblyError, InputError
from preimage.testing.toy_models import toy_pictures
from preimage_transformers.captioner import _Drawn

from .conftest import loaded, made

KINDS = ("blip", "blip2")
SHORT = Decoding(max_tokens=6)


def generated(kind, pictures, prefix="", **options):
    """Return what plain transformers generates for pictures with their own processor."""
    folder, model, tokenizer = made(kind)
    images = transformers.BlipImageProcessor.from_pretrained(folder)
    processor = transformers.Blip2Processor(images, tokenizer, num_query_tokens=3) if kind == "blip2" else None
    if processor is None:
        batch = {**images(pictures, return_tensors="pt"), **tokenizer([prefix] * len(pictures), return_tensors="pt")}
        batch.pop("token_type_ids", None)
    else:
        batch = processor(images=pictures, text=[prefix] * len(pictures), return_tensors="pt")
    rows = model.generate(**batch, do_sample=False, **{"max_new_tokens": 6} | options)
    return [" ".join(text.split()) for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_and_beams_are_those_of_transformers(kind):
    """The likeliest captions, in their order."""
    model, pictures = loaded(kind, "captioner"), toy_pictures(3)

    assert [said for (said,) in model.captions(pictures, SHORT)] == generated(kind, pictures)
    beams = attrs.evolve(SHORT, count=2, beams=3, length_penalty=-1.0)
    wanted = generated(kind, pictures, num_beams=3, num_return_sequences=2, length_penalty=-1.0)
    assert [text for said in model.captions(pictures, beams) for text in said] == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_the_prefix_is_read_and_not_said(kind):
    """The caption is what comes behind it."""
    model, pictures = loaded(kind, "captioner"), toy_pictures(2)
    prefix = "a large red"
    said = [text for (text,) in model.captions(pictures, attrs.evolve(SHORT, prefix=prefix))]
    whole = generated(kind, pictures, prefix)

    for text, all_of_it in zip(said, whole, strict=True):
        assert " ".join(all_of_it.split()).replace(prefix, "", 1).strip() == text


def test_lengths_are_kept():
    """Nothing ends before the least, and everything at the most."""
    model, pictures = loaded("blip2", "captioner"), toy_pictures(3)

    for least, most in ((6, 6), (0, 1)):
        said = model.captions(pictures, Decoding(min_tokens=least, max_tokens=most))
        wanted = generated("blip2", pictures, min_new_tokens=least, max_new_tokens=most)
        assert [text for (text,) in said] == wanted


def test_batches_change_nothing():
    """Captions are the same however many are written at once."""
    pictures, seeds = toy_pictures(5), [1, 2, 3, 4, 5]
    decoding = Decoding(count=5, beams=2, max_tokens=5)

    wide, narrow = (
        loaded("blip2", "captioner", image_batch=size).captions(pictures, decoding, seeds=seeds) for size in (64, 3)
    )
    assert wide == narrow


def test_sampled_captions_differ_from_each_other():
    """Each of a picture's has a generator of its own."""
    (said,) = loaded("blip2", "captioner").captions(toy_pictures(1), Decoding(count=9, max_tokens=6), seeds=[3])

    assert len(set(said[1:])) >= 7


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.7)])
def test_noise_draws_from_the_distribution(temperature, top_p):
    """The largest of noisy log-probabilities is each token as often as it is probable."""
    scores = torch.tensor([2.0, 1.0, 0.5, -1.0, -torch.inf])
    expected = (scores / temperature).softmax(dim=0)
    if top_p < 1.0:
        # 0.60, 0.22, 0.13 and so on: the first two have 0.7 together.
        expected = torch.where(torch.arange(5) < 2, expected, 0.0)
        expected = expected / expected.sum()
    count = 4000
    rngs = [torch.Generator().manual_seed(seed) for seed in range(count)]
    drawn = _Drawn(rngs, temperature, top_p)(torch.zeros(count, 1), scores.expand(count, -1)).argmax(dim=1)
    found = Counter(drawn.tolist())

    for token, share in enumerate(expected.tolist()):
        assert abs(found[token] / count - share) <= 4 * (share * (1 - share) / count) ** 0.5


def test_a_blip2_that_would_not_see_the_picture():
    """Without the place of the picture in the text, captions would be about nothing."""
    with pytest.raises(AssemblyError, match="has no image_token_index, so that the text model would never see"):
        loaded("blip2-blind", "captioner")


def test_a_prefix_that_leaves_no_room():
    """The text model reads 24 tokens."""
    with pytest.raises(InputError, match="reads 24 tokens, and the picture with the prefix .* takes .*: shorten"):
        loaded("blip2", "captioner").captions(toy_pictures(1), Decoding(prefix="a small red circle above " * 8))
