"""Counterfactual prompts: the smallest change of a prompt after which its pictures are decided otherwise."""

from __future__ import annotations

import pytest

import preimage
from preimage.cli import main
from preimage.errors import InputError
from preimage_counterfactual import PromptExplainer
from preimage_counterfactual.texts.judging import DescriptionClassifier
from preimage_counterfactual.texts.wording import changed, words_in
from preimage_miniworld.render import render
from preimage_miniworld.scene import Scene, SceneObject
from preimage_miniworld.words import COLOUR_WORDS

RED = "a large plain red star in a meadow"
WORDS = ["red", "blue", "violet", "circle", "large", "small", "meadow"]


class Renderer:
    """A generator that draws the last colour that a prompt names, and grows deaf to a word on demand."""

    reference, fingerprint = "test:renderer", ""

    def __init__(self, deaf=()):
        self.deaf = deaf
        self.drawn = []

    def generate(self, prompts, seeds):
        self.drawn += zip(prompts, seeds, strict=True)
        return [render(self.scene(prompt), seed) for prompt, seed in zip(prompts, seeds, strict=True)]

    def scene(self, prompt):
        named = [
            colour
            for word in words_in(prompt)
            for colour, words in COLOUR_WORDS.items()
            if word in words and word not in self.deaf
        ]
        return Scene((SceneObject((named or ["red"])[-1], "star", "solid", "large"),))


@pytest.fixture(scope="module")
def clip():
    return preimage.catalogue().load_model("miniworld:clip", "image-text-encoder")


def explainer(clip, generator, **options):
    return PromptExplainer(generator, judge=clip, method_options={"search_width": 128}, **options).fit(WORDS)


OTHERS = ["a red star", "a purple star", "a white star"]


def test_one_word_turns_the_pictures(clip):
    """The colour and nothing else; both prompts are drawn with the same seeds."""
    generator = Renderer()
    answer = explainer(clip, generator).explain(RED, wanted="a blue star", instead_of=OTHERS)
    assert answer.marked == "a large plain [red → blue] star in a meadow"
    assert (answer.decision, answer.probability, answer.probability_after) == ("a red star", 0.0, 1.0)
    assert generator.drawn == [(RED, 0), (RED, 1), (answer.text, 0), (answer.text, 1)]
    assert answer.tried == 2
    classifier = DescriptionClassifier(clip, ["a blue star", *OTHERS])
    assert classifier.of_pictures(answer.pictures_after).argmax(dim=1).tolist() == [0, 0]
    assert classifier.of_pictures(answer.pictures).argmax(dim=1).tolist() == [1, 1]
    assert "pictures" not in answer.to_dict()


def test_where_pictures_do_not_follow_another_word_is_tried(clip):
    """The text alone would be content with a word that the generator does not hear."""
    deaf = Renderer(deaf=["azure"])
    answer = explainer(clip, deaf).explain(RED, wanted="an azure star", instead_of=OTHERS)
    assert answer.marked == "a large plain [red → blue] star in a meadow"
    assert answer.tried == 3
    assert [prompt for prompt, seed in deaf.drawn if seed == 0][1] == "a large plain azure star in a meadow"


def test_words_that_the_pictures_do_not_need_are_put_back(clip, monkeypatch):
    """Each trial is drawn."""
    import attrs

    from preimage_counterfactual.texts.explainer import TextExplainer
    from preimage_counterfactual.texts.wording import word_changes

    nearest = TextExplainer.nearest

    def wasteful(self, text, wanted, margin):
        changes = word_changes(text, "a small plain blue circle in a meadow")
        return attrs.evolve(nearest(self, text, wanted, margin), text=changed(text, changes), changes=changes)

    monkeypatch.setattr(TextExplainer, "nearest", wasteful)
    answer = explainer(clip, Renderer()).explain(RED, wanted="a blue star", instead_of=OTHERS)
    assert answer.marked == "a large plain [red → blue] star in a meadow"


def test_pictures_that_show_it_already_need_no_answer(clip):
    """They are drawn, and nothing is searched."""
    answer = explainer(clip, Renderer()).explain(RED, wanted="a red star", instead_of="a blue star")
    assert (answer.status, answer.tried, answer.calls) == ("already", 1, 0)


def test_where_no_prompt_turns_the_pictures_the_nearest_miss_is_told(clip):
    """A generator that hears no colour draws what it draws."""
    deaf = Renderer(deaf=[word for words in COLOUR_WORDS.values() for word in words])
    answer = explainer(clip, deaf).explain(RED, wanted="a blue star", instead_of=OTHERS)
    assert answer.status == "none"
    assert "0% are decided 'a blue star'" in answer.reason
    assert answer.nearest_miss in answer.reason


def test_bad_input_gets_a_sentence(clip):
    """Descriptions, prompts and seeds that cannot be."""
    one = explainer(clip, Renderer())
    with pytest.raises(InputError, match="at least two different"):
        one.explain(RED, wanted="a red star", instead_of="a red star")
    with pytest.raises(InputError, match="no word that could be changed"):
        one.explain("?", wanted="a blue star", instead_of=OTHERS)
    with pytest.raises(InputError, match="0 seeds"):
        PromptExplainer(Renderer(), judge=clip, seeds=())
    with pytest.raises(InputError, match="agreement is 2"):
        PromptExplainer(Renderer(), judge=clip, agreement=2)


def test_the_command_line_draws_with_the_real_generator(tmp_path, capsys):
    """The mini world's diffusion model; the pictures before and after are written."""
    words, folder = tmp_path / "words.txt", tmp_path / "pictures"
    words.write_text("\n".join(WORDS))
    line = ["explain", "--prompt", RED, "--model", "miniworld:sd", "--judge", "miniworld:clip", "--steps", "4"]
    line += ["--target", "a blue star", "--like", str(words), "--pictures", str(folder), "--seeds", "0", "1"]
    assert main([*line, *[word for other in OTHERS for word in ("--instead-of", other)], "-o", "search_width=128"]) == 0
    assert "'red' replaced by 'blue'" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [
        f"0000-{seed}-{when}.png" for seed in (0, 1) for when in ("after", "before")
    ]
