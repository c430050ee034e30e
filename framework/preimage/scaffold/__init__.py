"""A new plugin, whole and green from its first minute: what ``preimage new-plugin`` writes.

The files under ``templates`` are those of a distribution, with ``${…}`` where a name goes (`string.Template`):
``common`` for every kind, and a folder for each. ``src`` becomes ``src/PACKAGE``, and the ending ``.in`` is dropped.
"""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import attrs

from preimage import __version__
from preimage.api.component import API, KINDS
from preimage.errors import InputError, OptionError
from preimage.first_party import is_taken

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable

__all__ = ["Plan", "plan_for", "write"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@attrs.frozen(kw_only=True)
class _Kind:
    """What the files of a kind are filled with."""

    templates: str
    noun: str
    summary: str
    suite: str
    traits: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("torch",)
    dependencies: tuple[str, ...] = ("torch>=2.2",)
    target: str = "${class}"


_KINDS = {
    ("optimizer", "text"): _Kind(
        templates="optimizer",
        noun="the search: a state, `start`, and `step`, which asks for losses and returns the next state",
        summary="Moves to the best of some random neighbours of the present prompt.",
        suite="OptimizerSuite",
        traits=("space:text",),
    ),
    ("optimizer", "features"): _Kind(
        templates="row-optimizer",
        noun="the search: a state, `start`, and `step`, which asks for margins and distances",
        summary="Moves each row to the best of some random neighbours.",
        suite="FeatureSearchSuite",
        traits=("space:features",),
    ),
    ("objective", "text"): _Kind(
        templates="objective",
        noun="the loss of each candidate, and its gradient",
        summary="How far a prompt lies from target texts in an encoder's space.",
        suite="ObjectiveSuite",
        traits=("space:text", "role:text-encoder", "target:text", "offers:gradient"),
    ),
    ("adapter", "text"): _Kind(
        templates="adapter",
        noun="the way of a gradient from one model's embeddings to another's",
        summary="One linear map between the embeddings of words that both models know.",
        suite="AdapterSuite",
    ),
    ("distance", "text"): _Kind(
        templates="distance",
        noun="the distance between two inputs, and the axioms that it declares to keep",
        summary="The share of the words of two texts that only one of them has.",
        suite="DistanceSuite",
        traits=("domain:text",),
    ),
    ("model", "text"): _Kind(
        templates="model",
        noun="the loader, and what it returns in a role that objectives ask for",
        summary="Encoders of texts.",
        suite="ModelSuite",
        traits=("role:text-encoder", "example:${name}:example"),
        needs=("tokenizers", "torch"),
        dependencies=("tokenizers>=0.21", "torch>=2.2"),
        target="load",
    ),
    ("executor", "text"): _Kind(
        templates="executor",
        noun="where work goes, and how its result comes back",
        summary="Processes of this machine.",
        suite="ExecutorSuite",
        needs=(),
        dependencies=(),
    ),
}


@attrs.frozen
class Plan:
    """The files of a new distribution.

    Attributes:
        distribution: its name.
        files: path inside the distribution's folder to content.
    """

    distribution: str
    files: dict[str, str]


def plan_for(name: str, kind: str, *, space: str = "text") -> Plan:
    """Return what a plugin with one component consists of; nothing is written.

    Arguments:
        name: what users will type, such as ``"tabu-search"``; the distribution is called ``preimage-NAME``.
        kind: one of `preimage.api.component.KINDS`.
        space: what an optimizer searches, ``"text"`` or ``"features"``.

    Raises:
        OptionError: the name cannot be used or is taken by ours, or there is no such kind or space.

    >>> plan = plan_for("tabu-search", "optimizer")
    >>> plan.distribution
    'preimage-tabu-search'
    >>> "class TabuSearch:" in plan.files["src/preimage_tabu_search/optimizer.py"]
    True
    """
    if kind not in KINDS:
        message = f"There are no plugins of the kind {kind!r}: choose one of {', '.join(KINDS)}."
        raise OptionError(message)
    if (kind, space) not in _KINDS:
        message = (
            f"There is no plugin to begin with for the kind {kind!r} and the space {space!r}: optimizers search text "
            "or features, and for all other kinds the space is left out."
        )
        raise OptionError(message)
    bare = name.removeprefix("preimage-")
    if not _NAME.fullmatch(bare):
        words = "-".join(re.findall("[a-z0-9]+", re.sub("(?<=[a-z])(?=[A-Z])", "-", name).lower()))
        hint = f" For example: {words}." if _NAME.fullmatch(words) else ""
        message = f"{name!r} cannot be a component's name: write lower-case words joined by hyphens.{hint}"
        raise OptionError(message)
    if is_taken(kind, bare):
        message = (
            f"{bare!r} is a name of ours, and two components of one name could only be told apart by their "
            "distributions: choose another name."
        )
        raise OptionError(message)
    chosen = _KINDS[kind, space]
    package = "preimage_" + bare.replace("-", "_")
    names = {
        "name": bare,
        "distribution": f"preimage-{bare}",
        "package": package,
        "class": "".join(word.capitalize() for word in bare.split("-")),
        "title": bare.replace("-", " ").capitalize(),
        "kind": kind,
        "noun": chosen.noun,
        "summary": chosen.summary,
        "suite": chosen.suite,
        "api": ".".join(map(str, API[kind])),
    }
    requirements = ("attrs>=23.2", f"preimage>={'.'.join(__version__.split('.')[:2])}", *chosen.dependencies)
    names |= {
        "target": Template(chosen.target).substitute(names),
        "traits": _tuple(Template(trait).substitute(names) for trait in chosen.traits),
        "needs": _tuple(chosen.needs),
        "dependencies": ", ".join(f'"{requirement}"' for requirement in requirements),
    }
    found = {**_texts("common"), **_texts(chosen.templates)}
    _require_free(names["class"], "\n".join(found.values()))
    filled = {path.replace("src/", f"src/{package}/"): Template(text).substitute(names) for path, text in found.items()}
    return Plan(names["distribution"], dict(sorted(filled.items())))


def write(plan: Plan, folder: Path) -> Path:
    """Write a new distribution into a folder of its own, and return that.

    Arguments:
        plan: what it consists of.
        folder: where its folder goes.

    Raises:
        InputError: there is such a folder already, or it cannot be written.
    """
    home = folder / plan.distribution
    if home.exists():
        message = f"There is already {home}, and nothing of it is overwritten: choose another name or another folder."
        raise InputError(message)
    try:
        for name, text in plan.files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"{home} cannot be written ({error.strerror}): choose another folder."
        raise InputError(message) from error
    return home


def _tuple(texts: Iterable[str]) -> str:
    """Write a tuple of texts as code.

    >>> _tuple(["torch"]), _tuple(["a", "b"]), _tuple([])
    ('("torch",)', '("a", "b")', '()')
    """
    quoted = [f'"{text}"' for text in texts]
    return f"({', '.join(quoted)}{',' if len(quoted) == 1 else ''})"


def _texts(folder: str) -> dict[str, str]:
    """Return the templates of a folder by the path that they are for."""
    return dict(_walk(files(__package__) / "templates" / folder, ""))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        else:
            name = entry.name.removesuffix(".in").replace("gitignore", ".gitignore")
            found.append((prefix + name, entry.read_text(encoding="utf-8")))
    return found


def _require_free(name: str, texts: str) -> None:
    """Raise where a class of this name would hide something that the templates use."""
    if keyword.iskeyword(name) or re.search(rf"\b{name}\b", texts):
        message = (
            f"The class would be called {name}, which means something else in its own module: choose another name."
        )
        raise OptionError(message)
