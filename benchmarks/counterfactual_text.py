"""Nearest texts of another mood, and nearest prompts whose pictures show something else.

::

    python benchmarks/counterfactual_text.py [--texts 20] [--prompts 10] [--output benchmarks/counterfactual_text.md]

Captions of held-out scenes are asked for another mood, each class in turn. Words that may be put in are those of 200
captions of the training split. How likely a text is says a second language model, which no search has seen, and
whether it says what it should the parser of captions, which knows the grammar: the mood as asked, and everything else
as before. Token searches are given as many candidates as the word search needs.

Prompts are captions of held-out scenes with one object, asked for another colour and another shape in turn, each told
apart from the seven others by descriptions. Whether pictures show it is judged by the classifier of attributes, which
has learned from rendered pictures alone, and has nothing to do with the search.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from attrs import evolve

import preimage_miniworld
from preimage import Budget, catalogue
from preimage_counterfactual import PromptCounterfactual, PromptExplainer, TextExplainer
from preimage_counterfactual.texts.judging import nats_of
from preimage_miniworld.attributes import NAMES, load_attributes, recognised
from preimage_miniworld.captions import caption
from preimage_miniworld.data import held_out
from preimage_miniworld.parser import Attributes, parse
from preimage_miniworld.scene import COLOURS, SHAPES, sample_scenes

CLASSES = {"happy": "positive", "sad": "negative", "none": "neutral"}
BUDGET = Budget(max_candidates=900)
METHODS: dict[str, dict[str, Any]] = {
    "word-edits with a language model": {"language_model": "miniworld:gpt2"},
    "word-edits without": {},
    "random-search": {"method": "random-search", "budget": BUDGET, "method_options": {"search_width": 150}},
    "gcg": {"method": "gcg", "budget": BUDGET, "method_options": {"search_width": 150, "topk": 64}},
}


def main() -> None:
    """Explain, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10, help="denoising steps of a picture")
    parser.add_argument("--shown", type=int, default=5, help="how many answers of each kind are listed")
    parser.add_argument("--seed", type=int, default=1, help="draws the scenes")
    parser.add_argument("--output", type=Path, help="write the tables to this file, too")
    arguments = parser.parse_args()

    rng = random.Random(0)
    known = [caption(scene, rng) for scene in islice(sample_scenes("train", 0, None, distinct=True), 200)]
    lines = ["# Nearest texts and prompts", ""]
    if arguments.texts:
        lines += of_texts(known, arguments.texts, arguments.seed, arguments.shown)
    if arguments.prompts:
        lines += of_prompts(known, arguments.prompts, arguments.steps, arguments.seed, arguments.shown)
    page = "\n".join(lines).rstrip() + "\n"
    print(page)
    if arguments.output:
        arguments.output.write_text(page, encoding="utf-8")


def of_texts(known: Sequence[str], count: int, seed: int, shown: int) -> list[str]:
    """Return the lines about captions that are asked for another mood."""
    questions = []
    for index, (scene, _, text) in enumerate(held_out(count, seed=seed)):
        others = [mood for mood in CLASSES if mood != scene.mood]
        questions.append((text, scene.mood, others[index % 2]))
    judge = catalogue().load_model("miniworld:llama", "language-model")
    lines = [
        f"{count} held-out captions, each asked for another mood. Flipped: the classifier gives the class asked for. "
        "As meant: the parser of captions reads the mood that was asked for and everything else as before. Words: "
        "replaced, dropped or put in. Nats: per token under a second language model, before and after. Texts: that the "
        "classifier was asked about.",
        "",
        "| search | flipped | as meant | words | nats before | nats after | texts |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    listed: list[str] = []
    for name, options in METHODS.items():
        explainer = TextExplainer("miniworld:mood", **options).fit(known)
        answers = [explainer.explain(text, desired_class=CLASSES[wanted]) for text, _, wanted in questions]
        found = [answer for answer in answers if answer.found]
        meant = [
            as_meant(answer.text, text, wanted) for answer, (text, _, wanted) in zip(answers, questions, strict=True)
        ]
        row = [
            name,
            percent(answer.found for answer in answers),
            percent(meant),
            f"{fmean(answer.edits for answer in found):.2f}",
            f"{fmean(nats_of(judge, [answer.original for answer in found]).tolist()):.2f}",
            f"{fmean(nats_of(judge, [str(answer.text) for answer in found]).tolist()):.2f}",
            f"{fmean(answer.calls for answer in answers):.0f}",
        ]
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], file=sys.stderr, flush=True)
        listed += [f"| {name} | {answer.wanted} | {answer} |" for answer in answers[:shown]]
    return [*lines, "", "| search | asked for | answer |", "| --- | --- | --- |", *listed, ""]


def as_meant(text: str | None, original: str, mood: str) -> bool:
    """Tell whether a text says the mood, and everything else as the original does."""
    if text is None:
        return False
    before, after = parse(original), parse(text)
    moods = [entry.mood for entry in after.objects if entry.mood]
    return faceless(before) == faceless(after) and moods == ([] if mood == "none" else [mood])


def faceless(said: Attributes) -> Attributes:
    """Return what is said of a scene but for the moods."""
    return evolve(said, objects=tuple(evolve(entry, mood=None) for entry in said.objects))


def of_prompts(known: Sequence[str], count: int, steps: int, seed: int, shown: int) -> list[str]:
    """Return the lines about prompts whose pictures are asked for another colour or shape."""
    explainer = PromptExplainer(
        "miniworld:sd", judge="miniworld:clip", language_model="miniworld:gpt2", generator_options={"steps": steps}
    ).fit(known)
    reads = reader()
    answers: list[PromptCounterfactual] = []
    shows: list[tuple[bool, bool, bool]] = []
    # Some pictures show already what is asked for, by the judge: then there is nothing to explain.
    for index, (scene, _, text) in enumerate(held_out(2 * count, seed=seed, objects=1)):
        entry = scene.objects[0]
        kind, values = (("colour", COLOURS), ("shape", SHAPES))[index % 2]
        own = getattr(entry, kind)
        wanted = values[(values.index(own) + 1 + index) % len(values)]
        wanted = values[(values.index(wanted) + 1) % len(values)] if wanted == own else wanted
        said = {
            value: f"a {value} {entry.shape}" if kind == "colour" else f"a {entry.colour} {value}" for value in values
        }
        others = [said[value] for value in values if value != wanted]
        answer = explainer.explain(text, wanted=said[wanted], instead_of=others)
        if answer.status == "already":
            continue
        answers.append(answer)
        print(wanted, answer, file=sys.stderr, flush=True)
        place, target = NAMES.index(kind), values.index(wanted)
        before, after = reads(answer.pictures), reads(answer.pictures_after or answer.pictures)
        for one, other in zip(before, after, strict=False):
            kept = np.delete(one, place) == np.delete(other, place)
            shows.append((one[place] == target, other[place] == target, bool(kept.all())))
        if len(answers) == count:
            break
    found = [answer for answer in answers if answer.found]
    lines = [
        f"{count} held-out captions of one object as prompts, asked for another colour or shape; two pictures of each, "
        f"{steps} steps, the same seeds before and after. Found: `miniworld:clip` decides all pictures as asked. "
        "Shown: share of pictures that show it by the classifier of attributes, before and after; kept: share in which "
        "nothing else that it reads has changed.",
        "",
        "| found | words | shown before | shown after | kept | nats before | nats after | prompts drawn |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    row = [
        f"{len(found)} of {count}",
        f"{fmean(answer.edits for answer in found):.2f}",
        percent(before for before, _, _ in shows),
        percent(after for _, after, _ in shows),
        percent(kept for _, _, kept in shows),
        f"{fmean(answer.nats or 0 for answer in found):.2f}",
        f"{fmean(answer.nats_after or 0 for answer in found):.2f}",
        f"{fmean(answer.tried for answer in answers):.1f}",
    ]
    told = [str(answer) if answer.found else f"none, the nearest miss is {answer.nearest_miss}" for answer in answers]
    listed = [f"| {answer.wanted} | {said} |" for answer, said in zip(answers, told, strict=True)][: 2 * shown]
    return [*lines, f"| {' | '.join(row)} |", "", "| asked for | answer |", "| --- | --- |", *listed, ""]


def reader() -> Callable[[Sequence[Any]], np.ndarray]:
    """Return what tells the attributes of pictures, ``(N, 12)``."""
    folder = Path(preimage_miniworld.__file__).parent / "models"
    classifier = load_attributes(folder / "attributes.safetensors")

    def read(pictures: Sequence[Any]) -> np.ndarray:
        pixels = np.stack([np.asarray(picture.convert("RGB").resize((64, 64))) for picture in pictures])
        return np.asarray(recognised(classifier, pixels).numpy())

    return read


def percent(true: Any) -> str:
    """Return how many of some truths are."""
    values = list(true)
    return f"{100 * sum(values) / len(values):.0f} %"


if __name__ == "__main__":
    main()
