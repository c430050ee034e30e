"""Captions as prompts: one step, ranked by losses, in words that may be proposed and no more than fit."""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest
import torch

from preimage import Budget, Pipeline, Stage, Term
from preimage.api import Captions, Losses
from preimage.assembly import check
from preimage.captioning import Captioning
from preimage.errors import AssemblyError, ConstraintError, OptionError
from preimage.testing.toy import toy_problem
from preimage.testing.toy_models import toy_pictures
from preimage_blip2 import Blip2, Blip2Config, worded

CONFIG = Blip2Config(captioner="toy:captioner")


def step_of(optimizer, space, *captions):
    """Return the requests of a step and the state after it; each prompt's loss is its number of tokens."""
    rng = torch.Generator().manual_seed(0)
    step, requests, answer = optimizer.step(space, optimizer.start(space, rng, None), rng), [], None
    while True:
        try:
            request = step.send(answer)
        except StopIteration as stop:
            return requests, stop.value
        requests.append(request)
        rows = None if isinstance(request, Captions) else request.candidates
        answer = captions if rows is None else torch.full((len(rows),), float(rows.shape[1]), dtype=torch.float64)


def test_it_asks_once_and_ranks_what_is_said(words):
    """Captions first, then the losses of each length; prompts come best first, each only once."""
    space = words(20).space

    requests, state = step_of(Blip2(CONFIG), space, "w1 w2 w3", "w4 w5", "w6 w7", "w1  w2 w3")

    asked, *scored = requests
    assert (asked.captioner, asked.decoding) == ("toy:captioner", CONFIG.decoding)
    assert all(isinstance(request, Losses) for request in scored)
    assert [request.candidates.tolist() for request in scored] == [[[4, 5], [6, 7]], [[1, 2, 3]]]
    assert state.done
    assert state.prompts == ("w4 w5", "w6 w7", "w1 w2 w3")
    assert state.losses.tolist() == [2.0, 2.0, 3.0]
    assert state.current.tolist() == [4, 5]
    assert len(state.captions) == 4


def test_words_that_may_not_be_proposed_are_left_out(words):
    """The banned and the unknown go, punctuation goes where its word would otherwise."""
    space = words(20, banned_words=("w2",)).space

    assert worded(space, "w1 w2 stranger w3, w4.") == [1, 3, 4]
    assert worded(space, "w2 stranger") == []


def test_what_is_too_long_loses_its_end(words):
    """Word by word, to what is wanted or to what the model reads."""
    space = words(20).space
    caption = " ".join(f"w{index % 20}" for index in range(30))

    assert worded(space, caption, 3) == [0, 1, 2]
    assert len(worded(space, caption)) == len(worded(space, caption, 99)) == space.max_length


def test_a_prompt_is_read_back_as_it_is(letters):
    """Where two words are read as one token, that token stands in the prompt."""
    space = letters(["ab"]).space

    assert worded(space, "c a d b") == [2, 0, 3, 1]
    assert worded(space, "c a b") == [2, 6]


def test_a_picture_of_which_nothing_may_be_said(words):
    """There is no prompt then, and the error shows what was said."""
    with pytest.raises(ConstraintError, match="No word of what toy:captioner says .* such as 'a red circle', may be"):
        step_of(Blip2(CONFIG), words(20).space, "a red circle")


def test_captions_longer_than_they_may_be():
    """Least and most contradict each other."""
    with pytest.raises(OptionError, match="min_tokens is 40 and max_tokens 32"):
        Blip2Config(min_tokens=40)


def test_the_seed_is_drawn_from_the_run(words):
    """Two runs with other generators ask with other seeds, two with the same with the same."""
    space = words(20).space

    def seed(number):
        rng = torch.Generator().manual_seed(number)
        optimizer = Blip2(CONFIG)
        return next(optimizer.step(space, optimizer.start(space, rng, None), rng)).seed

    assert seed(1) == seed(1) != seed(2)


@attrs.frozen
class Parrot:
    """A captioner that says of every picture how wide it is."""

    reference = "parrot"
    fingerprint = "none"
    asked: list = attrs.field(factory=list)

    def captions(self, images, decoding, *, seeds=None):
        """Say w and the width, as often as asked."""
        self.asked.append(([image.size for image in images], list(seeds)))
        return [[f"w{image.width}"] * decoding.count for image in images]


class TestHost:
    """What the host does about a request for captions."""

    def test_pictures_of_all_runs_are_looked_at_together(self):
        """One call for both targets, a tuple of pictures among them; each run gets its own."""
        parrot = Parrot()
        first, second, third = (toy_pictures(1, size=size)[0] for size in (3, 5, 7))
        captioning = Captioning({"parrot": parrot}, [first, (second, "a text", third)])

        said = captioning("parrot", Blip2Config(count=2).decoding, [1, 0], [8, 9])

        assert said == [("w5", "w5", "w7", "w7"), ("w3", "w3")]
        assert parrot.asked == [([(5, 5), (7, 7), (3, 3)], [8, 8, 9])]

    def test_a_target_without_picture_and_a_captioner_nobody_named(self):
        """Both are sentences."""
        captioning = Captioning({"parrot": Parrot()}, ["a text"])

        with pytest.raises(AssemblyError, match="Target 0 is no picture, so that it has no caption"):
            captioning("parrot", CONFIG.decoding, [0], [0])
        with pytest.raises(AssemblyError, match=r"Captions of 'other' are asked for.* are \['parrot'\]"):
            captioning("other", CONFIG.decoding, [0], [0])
        with pytest.raises(AssemblyError, match="this problem has no captioner"):
            toy_problem().captions("parrot", CONFIG.decoding, [0], [0])


CLIP = Term(objective="clip-similarity", model="miniworld:clip")


def pipeline(**options):
    """Return blip2 alone, for one step."""
    return Pipeline(stages=[Stage(optimizer="blip2", budget=Budget(num_steps=1), options=options)], terms=[CLIP])


class TestAssembly:
    """What does not fit is said before torch is imported."""

    def test_texts_have_no_captions(self):
        """A target that is a text is named."""
        from preimage import catalogue

        with pytest.raises(AssemblyError, match="blip2 says what a picture shows, and the target 'a red star' is a te"):
            check(pipeline(captioner="miniworld:blip2"), catalogue(), ["picture.png", "a red star"])

    def test_a_model_that_is_no_captioner(self):
        """The loader's roles are known from its record."""
        from preimage import catalogue

        with pytest.raises(AssemblyError, match=r"open_clip:ViT-B-32 is loaded by open_clip.*blip2 needs a captioner"):
            check(pipeline(captioner="open_clip:ViT-B-32"), catalogue())

    def test_without_torch(self):
        """The error comes from a process that has not imported it."""
        code = """
import sys
from preimage import Budget, Pipeline, Stage, Term
from preimage.errors import AssemblyError
stages = [Stage(optimizer="blip2", budget=Budget(num_steps=1), options={"captioner": "miniworld:blip2"})]
try:
    Pipeline(stages=stages, terms=[Term(objective="clip-similarity", model="miniworld:clip")]).run(["a red star"])
except AssemblyError:
    print("torch" in sys.modules)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"
