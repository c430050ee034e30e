"""Results as one HTML file that needs nothing else: pictures, prompts, curves, costs and how to repeat them.

Prompts come out of a search over a tokenizer's vocabulary and captions out of files, so both are untrusted: every
text is escaped.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage.chart import Curve, line_chart, series
from preimage.errors import InputError
from preimage.html import document, picture_element, write_document

if TYPE_CHECKING:
    from PIL.Image import Image

    from preimage.result import Result

__all__ = ["write_page"]


def write_page(
    results: Sequence[Result],
    path: str | os.PathLike[str],
    truths: Mapping[str, str] | None = None,
    images: Mapping[str, Image] | None = None,
    drawn: Sequence[Image] | None = None,
    title: str = "Recovered prompts",
) -> None:
    """Write the results to an HTML file; those of one picture stand together.

    Arguments:
        results: of one or several pictures and searches.
        path: of the file; its folder must exist.
        truths: a picture's name, as in ``result.target.name``, to its true caption.
        images: a picture's name to the picture, where it is not to be read from its file.
        drawn: what a generator made of each result's prompt, in their order.
        title: what stands above everything.

    Raises:
        InputError: there is no result, or the file cannot be written.
    """
    if not results:
        message = "There is no result to write a page about: run a search first."
        raise InputError(message)
    names = _names_of_searches(results)
    groups: dict[str, list[int]] = {}
    for index, result in enumerate(results):
        groups.setdefault(result.target.sha256 or result.target.name, []).append(index)
    sections = []
    for members in groups.values():
        of_one = [results[index] for index in members]
        target = of_one[0].target
        picture = _picture(target.name, (images or {}).get(target.name))
        truth = (truths or {}).get(target.name, "")
        again = [] if drawn is None else [drawn[index] for index in members]
        sections.append(_section(of_one, [names[index] for index in members], picture, truth, again))
    page = document(title, _lead(results, len(groups)), "\n".join(sections) + _footer(results, names))
    write_document(page, path)


def _names_of_searches(results: Sequence[Result]) -> list[str]:
    """Return what each result's search is called; those of one picture differ."""
    plain = [_search(result) for result in results]
    names: list[str] = []
    taken: set[tuple[str, str]] = set()
    for result, name in zip(results, plain, strict=True):
        picture = result.target.sha256 or result.target.name
        candidates = [name, f"{name}, seed {result.provenance.seed}"]
        candidates += [f"{name}, run {number}" for number in range(2, len(results) + 2)]
        chosen = next(candidate for candidate in candidates if (picture, candidate) not in taken)
        taken.add((picture, chosen))
        names.append(chosen)
    return names


def _search(result: Result) -> str:
    stages: Sequence[Mapping[str, Any]] = result.provenance.recipe.get("stages", ())
    return " → ".join(str(stage["optimizer"]) for stage in stages) or "search"


def _picture(name: str, image: Image | None) -> str:
    """Return the picture as an element, or a note where it is gone."""
    from preimage.image import load_image

    try:
        found = load_image(Path(name)) if image is None else image
    except InputError:
        return '<div class="gone">The picture is no longer where it was.</div>'
    return picture_element(found, Path(name).name or "picture")


def _section(results: Sequence[Result], names: Sequence[str], picture: str, truth: str, drawn: Sequence[Image]) -> str:
    best = min(range(len(results)), key=lambda index: results[index].loss)
    again = [picture_element(image, f"drawn: {result.text}") for image, result in zip(drawn, results, strict=False)]
    prompts = "".join(
        f'<li class="{series(index)}"><div class="method"><span class="swatch"></span>{escape(name)}'
        f'<span class="loss">loss {result.loss:.4f}</span></div>'
        f'<p class="prompt{" best" if index == best and len(results) > 1 else ""}">{escape(result.text)}</p>'
        f"{f'<div class=drawn>{again[index]}</div>' if again else ''}</li>"
        for index, (name, result) in enumerate(zip(names, results, strict=True))
    )
    caption = f'<p class="truth"><span class="kind">True caption</span>{escape(truth)}</p>' if truth else ""
    curves = [
        Curve(name, tuple((point.spent.candidates, point.best_loss) for point in result.trajectory))
        for name, result in zip(names, results, strict=True)
        if result.trajectory
    ]
    chart = ""
    if curves:
        svg = line_chart(curves, x_label="candidates scored", y_label="best loss")
        chart = f'<figure>{svg}<figcaption class="legend">{_legend(names, results)}</figcaption></figure>'
    file = Path(results[0].target.name).name
    return (
        f'<section><div class="what">{picture}{f"<p class=file>{escape(file)}</p>" if file else ""}</div>'
        f'<div class="found">{caption}<ol>{prompts}</ol></div>{chart}'
        f'<div class="scroll">{_costs(results, names)}</div></section>'
    )


def _legend(names: Sequence[str], results: Sequence[Result]) -> str:
    return "".join(
        f'<span class="{series(index)}"><span class="swatch"></span>{escape(name)}</span>'
        for index, (name, result) in enumerate(zip(names, results, strict=True))
        if result.trajectory
    )


def _costs(results: Sequence[Result], names: Sequence[str]) -> str:
    terms = list(dict.fromkeys(term for result in results for term in result.terms))
    shown = terms if len(terms) > 1 else []
    head = ["search", "loss", *shown, "candidates", "forward", "backward", "seconds", "seed", "stopped by"]
    rows = []
    for name, result in zip(names, results, strict=True):
        spent = result.spent
        values = [f"{result.terms[term]:.4f}" if term in result.terms else "" for term in shown]
        counts = [f"{spent.candidates:,}", f"{spent.forward:,}", f"{spent.backward:,}", f"{spent.seconds:.1f}"]
        cells = [f"{result.loss:.4f}", *values, *counts, str(result.provenance.seed)]
        rows.append(
            f'<tr><th scope="row">{escape(name)}</th>'
            + "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
            + f"<td>{escape(result.stop_reason.replace('_', ' '))}</td></tr>"
        )
    heads = "".join(
        f'<th scope="col"{"" if name in ("search", "stopped by") else " class=number"}>{escape(name)}</th>'
        for name in head
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _lead(results: Sequence[Result], n_pictures: int) -> str:
    models = list(dict.fromkeys(name for result in results for name in result.provenance.models))
    searches = list(dict.fromkeys(_search(result) for result in results))
    pictures = "one picture" if n_pictures == 1 else f"{n_pictures} pictures"
    by = f", as {' and '.join(models)} sees {'it' if n_pictures == 1 else 'them'}" if models else ""
    return (
        f"Prompts found for {pictures} by {' and '.join(searches)}{by}. The loss is computed from each prompt as it "
        "reads here, typed in afresh; lower is better."
    )


def _footer(results: Sequence[Result], names: Sequence[str]) -> str:
    versions: dict[str, str] = {}
    for result in results:
        versions |= result.provenance.versions
    models: dict[str, str] = {}
    for result in results:
        models |= result.provenance.models
    facts = "".join(f"<li>{escape(name)} {escape(version)}</li>" for name, version in sorted(versions.items()))
    facts += "".join(f"<li>{escape(name)} <code>{escape(weights[:12])}</code></li>" for name, weights in models.items())
    recipes: dict[str, str] = {}
    for result, name in zip(results, names, strict=True):
        text = _repeat(result)
        if text and text not in recipes.values():
            recipes[name if name not in recipes else f"{name} ({Path(result.target.name).name})"] = text
    repeats = "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
        for name, text in recipes.items()
    )
    if repeats:
        repeats = f"<h2>To run it again</h2><p>Save a recipe and give it to the command above it.</p>{repeats}"
    return f'<footer>{repeats}<h2>Made with</h2><ul class="versions">{facts}</ul></footer>'


def _repeat(result: Result) -> str:
    """Return the command and recipe that give the result again; empty where live objects made it."""
    import yaml

    if not result.provenance.recipe:
        return ""
    recipe = yaml.safe_dump(_plain(result.provenance.recipe), sort_keys=False, allow_unicode=True)
    return f"preimage invert PICTURE --recipe recipe.yaml --seed {result.provenance.seed}\n\n# recipe.yaml\n{recipe}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
