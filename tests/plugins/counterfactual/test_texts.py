"""Counterfactual texts: the nearest text of another class, on the mini world's own models."""

from __future__ import annotations

import itertools
import json
import random

import pytest
import torch
from rapidfuzz.distance import Levenshtein

import preimage
from preimage.cli import main
from preimage.errors import ConstraintError, InputError, UnknownNameError
from preimage.testing import OptimizerSuite
from preimage_counterfactual import TextExplainer
from preimage_counterfactual.texts.judging import nats_of
from preimage_counterfactual.texts.wording import WordChange, changed, marked, word_changes, words_in
from preimage_fuse.fuse import Fuse
from preimage_miniworld.data import held_out

SAD = "a small gloomy blue star at night"
WORDS = ["sad", "gloomy", "happy", "cheerful", "smiling", "star", "blue", "large", "in", "meadow"]


class TestWordEdits(OptimizerSuite):
    component = "word-edits"


@pytest.fixture(scope="module")
def mood():
    return preimage.catalogue().load_model("miniworld:mood", "classifier")


@pytest.fixture(scope="module")
def writer():
    return preimage.catalogue().load_model("miniworld:gpt2", "language-model")


@pytest.fixture(scope="module")
def explainer(mood, writer):
    """It knows few words, so that searches are short."""
    return TextExplainer(mood, language_model=writer).fit(WORDS)


def decided(mood, text):
    (ids,) = mood.space.encode([text])
    return mood.labels[int(mood.class_log_probs(torch.tensor([ids])).argmax())]


def cost(explainer, original, text):
    """What the explainer minimises, from its definition."""
    model = explainer.language_model
    (own,), (ids,) = model.space.encode([original]), model.space.encode([text])
    edits = Levenshtein.distance([word.casefold() for word in words_in(original)], words_in(text.casefold()))
    return explainer.edit_cost * edits - len(own) * model.token_log_probs(torch.tensor([ids])).mean().item()


def test_changes_make_one_text_of_the_other_and_are_the_fewest():
    """For random texts, with punctuation between the words of the original."""
    rng = random.Random(0)
    for _ in range(200):
        old = [rng.choice("abcde") for _ in range(rng.randint(1, 7))]
        new = [rng.choice("abcde") for _ in range(rng.randint(1, 7))]
        original = "".join(word + rng.choice([" ", ", ", " - "]) for word in old).strip(" -,")
        changes = word_changes(original, " ".join(new))
        assert len(changes) == Levenshtein.distance(old, new)
        assert words_in(changed(original, changes)) == new


def test_what_does_not_change_is_spelled_as_it_was():
    """Capitals, punctuation and double spaces stay; a word at the beginning takes over the capital."""
    original = "Gloomy, isn't it?  A BLUE star."
    assert changed(original, ()) == original
    assert word_changes(original, "gloomy isn't it a blue star") == ()
    changes = (WordChange(0, "Gloomy", "happy"), WordChange(4, "BLUE", ""), WordChange(6, "", "again"))
    assert changed(original, changes) == "Happy, isn't it?  A star again."
    assert marked(original, changes) == "[Gloomy → happy], isn't it?  A [BLUE → ] star [ → again]."


def test_words_are_learned_as_they_are_mostly_written(mood):
    """The frequent ones first; at the beginning of a sentence a word has a capital by chance."""
    assert TextExplainer(mood).fit(["Stars in May", "the stars", "stars of May"]).words_[:2] == ("stars", "May")


def test_an_answer_is_decided_as_wanted_by_the_model_itself(explainer, mood):
    """And everything that is said of it holds of the text as it is written."""
    answer = explainer.explain(SAD, desired_class="Positive")
    assert answer.found
    assert (answer.decision, answer.wanted) == ("negative", "positive")
    assert decided(mood, answer.text) == "positive"
    assert answer.text == changed(SAD, answer.changes)
    assert answer.edits == answer.distance == Levenshtein.distance(words_in(SAD), words_in(answer.text)) == 1
    assert answer.probability < 0.1 < 0.9 < answer.probability_after
    assert answer.sentence().startswith("It is decided positive instead of negative with")


@pytest.mark.parametrize("wanted", ["positive", "neutral"])
def test_the_answer_is_the_best_of_all_single_edits(wanted, explainer, mood):
    """No text with one word replaced, dropped or put in is decided as wanted and costs less."""
    own = words_in(SAD)
    edited = [[*own[:place], word, *own[place + 1 :]] for place in range(len(own)) for word in WORDS]
    edited += [own[:place] + own[place + 1 :] for place in range(len(own))]
    edited += [[*own[:place], word, *own[place:]] for place in range(len(own)) for word in WORDS]
    texts = [" ".join(words) for words in edited]
    best = min(cost(explainer, SAD, text) for text in texts if decided(mood, text) == wanted)
    answer = explainer.explain(SAD, desired_class=wanted)
    assert cost(explainer, SAD, answer.text) == pytest.approx(best, abs=1e-3)


def test_no_edit_of_an_answer_can_be_taken_back(mood, explainer):
    """Of answers with several edits, too: without any one of them the text is not decided as wanted."""
    text = "a sad gloomy unhappy blue star"
    few = TextExplainer(mood, language_model=explainer.language_model).fit(["star", "blue"])
    answer = few.explain(text, desired_class="neutral")
    assert answer.edits >= 2
    for place in range(answer.edits):
        without = changed(text, answer.changes[:place] + answer.changes[place + 1 :])
        assert decided(mood, without) != "neutral"


def test_edits_that_are_not_needed_are_taken_back(explainer, monkeypatch):
    """Whatever the search brings: three words differ, and one of them decides."""
    found = preimage.Pipeline.run

    def wasteful(pipeline, targets, **options):
        import attrs

        (result,) = found(pipeline, targets, **options)
        return [attrs.evolve(result, text="a large cheerful blue star in meadow")]

    monkeypatch.setattr(preimage.Pipeline, "run", wasteful)
    answer = explainer.explain(SAD, desired_class="positive")
    assert answer.marked == "a small [gloomy → cheerful] blue star at night"


def test_any_other_class_will_do_by_default(explainer, mood):
    """The nearest of the answers for each of them."""
    answer = explainer.explain(SAD)
    each = [explainer.explain(SAD, desired_class=wanted) for wanted in ("neutral", "positive")]
    assert cost(explainer, SAD, answer.text) == min(cost(explainer, SAD, one.text) for one in each)
    assert decided(mood, answer.text) == answer.wanted != "negative"


def test_a_text_that_is_decided_so_already_says_so(explainer):
    """It has no answer and needs none."""
    answer = explainer.explain(SAD, desired_class="negative")
    assert (answer.status, answer.text, answer.edits) == ("already", None, 0)
    assert str(answer) == "The text is already decided negative."


def test_where_there_is_none_the_nearest_miss_is_told(mood):
    """With words that say nothing of a mood."""
    answer = (
        TextExplainer(mood, method_options={"max_edits": 1})
        .fit(["star", "blue"])
        .explain(SAD, desired_class="positive")
    )
    assert (answer.status, answer.found) == ("none", False)
    assert answer.nearest_miss in answer.reason
    assert decided(mood, answer.nearest_miss) != "positive"
    assert json.loads(answer.to_json())["text"] is None


def test_the_language_model_makes_answers_plausible(mood, writer):
    """Of several texts, answers found with it are likelier under another language model."""
    judge = preimage.catalogue().load_model("miniworld:llama", "language-model")
    texts = [text for scene, _, text in itertools.islice(held_out(8), 8) if scene.mood != "none"][:3]
    nats = []
    for model in (None, writer):
        answers = TextExplainer(mood, language_model=model).fit(WORDS).explain(texts, desired_class="neutral")
        assert all(answer.found for answer in answers)
        ids = [torch.tensor(judge.space.encode([answer.text])) for answer in answers]
        nats.append(sum(-judge.token_log_probs(row).mean().item() for row in ids))
    assert nats[1] <= nats[0]


def test_the_same_state_gives_the_same_answer(mood):
    """Also without words that were learned."""
    first, second = (
        TextExplainer(mood, random_state=3, method_options={"search_width": 64}).explain(SAD, desired_class="neutral")
        for _ in range(2)
    )
    assert first.text == second.text
    assert first.calls == second.calls


@pytest.mark.parametrize("method", ["random-search", "gcg"])
def test_optimizers_of_prompts_will_do(method, mood):
    """They search tokens; what they find is taken back as far as it can be, like any other text."""
    options = {"search_width": 60} | ({"topk": 32} if method == "gcg" else {})
    budget = preimage.Budget(max_candidates=240)
    answer = TextExplainer(mood, method=method, method_options=options, budget=budget).explain(
        SAD, desired_class="neutral"
    )
    assert decided(mood, answer.text) == "neutral"
    assert answer.edits <= 3


def test_gradients_of_a_language_model_with_other_tokens_count(mood, writer, explainer, monkeypatch):
    """With `gcg` an adapter carries them over, and at the same number of texts the answer costs less than without."""
    carried, pull_back = [], Fuse.pull_back

    def watched(adapter, *given):
        carried.append(pull_back(adapter, *given))
        return carried[-1]

    monkeypatch.setattr(Fuse, "pull_back", watched)
    options = {"method": "gcg", "budget": preimage.Budget(max_candidates=600), "method_options": {"search_width": 100}}
    text = "a little tearful yellow plus and a huge orange triangle in the dark"
    with_it, without = (
        TextExplainer(mood, language_model=model, **options).explain(text, desired_class="positive")
        for model in (writer, None)
    )
    assert decided(mood, with_it.text) == decided(mood, without.text) == "positive"
    assert writer.space.fingerprint != mood.space.fingerprint
    assert any(gradient.abs().max() > 0 for gradient in carried)
    assert cost(explainer, text, with_it.text) < cost(explainer, text, without.text)
    assert with_it.nats_after < nats_of(writer, [without.text]).item()


def test_any_distance_of_texts_will_do(mood):
    """Also one that asks for a model."""
    explainer = TextExplainer(mood, distance="text-similarity", distance_model="miniworld:sentence").fit(WORDS)
    answer = explainer.explain(SAD, desired_class="positive")
    assert decided(mood, answer.text) == "positive"
    assert 0 < answer.distance < 1


def test_bad_input_gets_a_sentence(explainer, mood):
    """Classes, texts and numbers that cannot be."""
    with pytest.raises(UnknownNameError, match="no class 'joyful'"):
        explainer.explain(SAD, desired_class="joyful")
    with pytest.raises(InputError, match="no word that could be changed"):
        explainer.explain("...")
    with pytest.raises(InputError, match="shorten it"):
        explainer.explain("star " * 100)
    with pytest.raises(InputError, match="edit_cost is 0"):
        TextExplainer(mood, edit_cost=0)
    with pytest.raises(InputError, match="give a list"):
        explainer.fit("a text")
    with pytest.raises(InputError, match="hold no word"):
        explainer.fit(["...", "!"])
    with pytest.raises(ConstraintError, match="no text to edit"):
        preimage.catalogue().build("optimizer", "word-edits").start(None, None, None)


def test_the_command_line_explains_texts(tmp_path, capsys):
    """Words from a file, a table to read and JSON for programs; 1 where there is no answer."""
    words = tmp_path / "captions.txt"
    words.write_text("\n".join(WORDS))
    line = ["explain", "--text", SAD, "--model", "miniworld:mood", "--target", "positive", "--like", str(words)]
    assert main([*line, "--language-model", "miniworld:gpt2"]) == 0
    said = capsys.readouterr().out
    assert "It is decided positive instead of negative with 'gloomy' replaced by" in said
    assert "nats per token" in said
    assert main([*line, "--json", "--text", "a happy star"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["edits"] == 1
    assert second["status"] == "already"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "Nothing is given"),
        (["--text", SAD, "table.csv"], "table and text is given"),
        (["--text", SAD, "--row", "1"], "--row does not go with a text"),
        (["table.csv"], "--row N and --all"),
        (["--prompt", SAD], "--judge"),
        (["table.csv", "--row", "1", "--judge", "miniworld:clip"], "--judge does not go with a table"),
    ],
)
def test_what_does_not_go_together_is_refused(given, said, capsys):
    """Before any model is loaded."""
    assert main(["explain", "--model", "miniworld:mood", *given]) == 2
    assert said in capsys.readouterr().err
