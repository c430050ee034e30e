"""The loss of a result is the loss of its text typed in afresh, computed here with nothing but open_clip."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image

import preimage_miniworld
from preimage import Budget, Pipeline, Result, Stage, Term, rerun
from preimage.errors import InputError
from preimage_miniworld.data import held_out

FOLDER = f"local-dir:{Path(preimage_miniworld.__file__).parent / 'models' / 'clip'}"

SEARCHES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "gcg": [("gcg", {"search_width": 24})],
    "gcg unfiltered": [("gcg", {"search_width": 24, "filter_ids": False})],
    "gcg two at once": [("gcg", {"search_width": 24, "n_replace": 2, "topk": 32})],
    "gcg with beams": [("gcg", {"search_width": 24, "beam_width": 3, "buffer_size": 4, "momentum": 0.5})],
    "gcg from a text": [("gcg", {"search_width": 24, "optim_str_init": "a small red circle at night"})],
    "random search": [("random-search", {"search_width": 24})],
    "random search unfiltered": [("random-search", {"search_width": 24, "filter_ids": False})],
    "random search in the embedding's ball": [("random-search", {"search_width": 24, "ball": "embedding"})],
    "random search with one token": [("random-search", {"search_width": 24, "prompt_length": 1})],
    "two stages": [("random-search", {"search_width": 24}), ("gcg", {"search_width": 24})],
    "three stages": [
        ("gcg", {"search_width": 8}),
        ("random-search", {"search_width": 8}),
        ("gcg", {"search_width": 8}),
    ],
}
TEMPLATES = [
    "{optim_str}",
    "an image of {optim_str}",
    "{optim_str} in the snow",
    "a scene, {optim_str}, at night.",
    "{optim_str} and {optim_str}",
    "a {optim_str}left of a {optim_str}.",
]

Typed = Callable[[str, str, Path], float]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two held-out scenes as files."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, (_, picture, _) in enumerate(held_out(2, seed=11)):
        paths.append(folder / f"{number}.png")
        picture.save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def typed_in() -> Typed:
    """The loss of a text in a template, as somebody who has only open_clip would compute it."""
    model, preprocess = open_clip.create_model_from_pretrained(FOLDER)
    tokenizer = open_clip.get_tokenizer(FOLDER)
    model.eval()

    @functools.cache
    @torch.no_grad()
    def of_picture(path: Path) -> torch.Tensor:
        return model.encode_image(preprocess(Image.open(path))[None], normalize=True)[0]

    @functools.cache
    @torch.no_grad()
    def loss(text: str, template: str, path: Path) -> float:
        of_text = model.encode_text(tokenizer([template.replace("{optim_str}", text)]), normalize=True)
        return 1.0 - float(of_text[0] @ of_picture(path))

    return loss


def search(
    stages: list[tuple[str, dict[str, Any]]], terms: list[Term], targets: Sequence[Any], seed: int
) -> list[Result]:
    """Return the results of a short search for all targets."""
    pipeline = Pipeline(
        stages=[Stage(optimizer=name, budget=Budget(num_steps=3), options=options) for name, options in stages],
        terms=terms,
    )
    return pipeline.run(targets, seed=seed)


# Every search in half of the templates, every template under half of the searches.
CASES = [(name, template) for i, name in enumerate(SEARCHES) for j, template in enumerate(TEMPLATES) if (i + j) % 2]


@pytest.mark.parametrize(("name", "template"), CASES)
def test_loss_of_a_result_is_the_loss_of_its_text(
    name: str, template: str, pictures: list[Path], typed_in: Typed
) -> None:
    """Whatever searches, in whatever template, from whatever seed: the loss reported is that of the text."""
    seed = 100 * list(SEARCHES).index(name) + TEMPLATES.index(template)
    terms = [Term(objective="clip-similarity", model="miniworld:clip", template=template)]
    for path, result in zip(pictures, search(SEARCHES[name], terms, pictures, seed), strict=True):
        expected = typed_in(result.text, template, path)
        assert result.loss == pytest.approx(expected, abs=1e-5)
        assert result.terms == {"clip-similarity(miniworld:clip)": pytest.approx(expected, abs=1e-5)}
        # So is every best on the way there: none of them was worth less or more than its text.
        for point in result.trajectory:
            assert point.best_loss == pytest.approx(typed_in(point.best_text, template, path), abs=1e-5)


def test_loss_of_several_terms_is_their_weighted_sum(pictures: list[Path], typed_in: Typed) -> None:
    """With several terms each is typed into its own template, and the loss is the weighted sum."""
    templates, weights = ("{optim_str}", "a scene with {optim_str}"), (1.0, 0.25)
    terms = [
        Term(objective="clip-similarity", model="miniworld:clip", template=template, weight=weight)
        for template, weight in zip(templates, weights, strict=True)
    ]
    for path, result in zip(pictures, search(SEARCHES["gcg"], terms, pictures, 5), strict=True):
        values = [typed_in(result.text, template, path) for template in templates]
        expected = sum(weight * value for weight, value in zip(weights, values, strict=True))
        assert result.loss == pytest.approx(expected, abs=1e-5)


def test_ids_of_a_result_are_those_of_its_text(pictures: list[Path]) -> None:
    """The ids of a result are what open_clip's tokenizer reads in its text."""
    tokenizer = open_clip.get_tokenizer(FOLDER)
    terms = [Term(objective="clip-similarity", model="miniworld:clip")]
    for result in search(SEARCHES["gcg"], terms, pictures, 6):
        read = tokenizer([result.text])[0].tolist()
        assert tuple(read[1 : 1 + len(result.ids)]) == result.ids


def test_result_can_be_run_again(pictures: list[Path]) -> None:
    """A result, saved and loaded, is enough to find the same prompt again."""
    terms = [Term(objective="clip-similarity", model="miniworld:clip", template="an image of {optim_str}")]
    (result,) = search(SEARCHES["two stages"], terms, pictures[:1], 7)
    again = rerun(Result.from_json(result.to_json()))
    assert (again.text, again.loss) == (result.text, result.loss)


def test_each_of_several_results_can_be_run_again(pictures: list[Path]) -> None:
    """Where a term compares each with a target of its own, a result's recipe holds the one that is its own."""
    moods: Any = {"objective": "class-likelihood", "model": "miniworld:mood", "targets": ["positive", "negative"]}
    terms = [Term(objective="clip-similarity", model="miniworld:clip"), Term(**moods)]
    results = search(SEARCHES["random search"], terms, pictures, 3)
    for result, mood in zip(results, moods["targets"], strict=True):
        assert result.provenance.recipe["terms"][1]["targets"] == [mood]
        again = rerun(Result.from_json(result.to_json()))
        assert again.text == result.text
        assert again.loss == pytest.approx(result.loss, abs=1e-5)


def test_the_result_of_a_group_is_run_again_on_the_group(pictures: list[Path]) -> None:
    """Its members have to be given, and no others are taken for them."""
    terms = [Term(objective="clip-similarity", model="miniworld:clip")]
    (result,) = search(SEARCHES["random search"], terms, [tuple(pictures)], 3)
    assert rerun(result, tuple(pictures)).text == result.text
    with pytest.raises(InputError, match="made from a group, .*0.png, .*1.png: give its members"):
        rerun(result)
    with pytest.raises(InputError, match="is not what this result was made from"):
        rerun(result, pictures[0])


def test_a_text_is_run_again_on_itself() -> None:
    """Another one is refused, and the words of a group are told from a text of the same words."""
    terms = [Term(objective="text-similarity", model="miniworld:clip")]
    one, group = search(SEARCHES["random search"], terms, ["a red circle, a star", ("a red circle", "a star")], 3)
    assert rerun(one).text == one.text
    assert rerun(group, ("a red circle", "a star")).text == group.text
    with pytest.raises(InputError, match="it was 'a red circle, a star'"):
        rerun(one, "a star")
    with pytest.raises(InputError, match="made from a group, a red circle, a star: give its members"):
        rerun(group)


def test_bundled_model_keeps_its_reference(pictures: list[Path]) -> None:
    """Results name the model as it was asked for, not the folder that it lies in on this machine."""
    terms = [Term(objective="clip-similarity", model="miniworld:clip")]
    (result,) = search(SEARCHES["gcg"], terms, pictures[:1], 8)
    assert list(result.provenance.models) == ["miniworld:clip"]
    assert {"preimage-miniworld", "preimage-open-clip"} <= set(result.provenance.versions)
