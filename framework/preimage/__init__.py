"""Preimage finds the inputs behind outputs.

Which prompt would make this image? Which prompt serves several models at once? What is the nearest input that
would have been decided otherwise? ::

    import preimage

    result = preimage.invert("picture.png", model="miniworld:clip")
    print(result.text, result.loss)

Everything that searches, scores, measures or loads is a plugin; `preimage.api` holds the contracts. Importing
this package imports neither torch nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from preimage._lazy import lazy

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue, catalogue
    from preimage.api import SLOT, Component, Finding, Spent, Template, hookimpl
    from preimage.budget import Budget
    from preimage.errors import PreimageError
    from preimage.inversion import invert, rerun
    from preimage.pipeline import Pipeline, Stage, Term
    from preimage.result import Result
    from preimage.study.study import Study

_HOMES = {
    "SLOT": "preimage.api.template",
    "Budget": "preimage.budget",
    "Catalogue": "preimage._catalogue",
    "Component": "preimage.api.component",
    "Finding": "preimage.api.component",
    "Pipeline": "preimage.pipeline",
    "PreimageError": "preimage.errors",
    "Result": "preimage.result",
    "Spent": "preimage.api.events",
    "Stage": "preimage.pipeline",
    "Study": "preimage.study.study",
    "Template": "preimage.api.template",
    "Term": "preimage.pipeline",
    "catalogue": "preimage._catalogue",
    "hookimpl": "preimage.api.hooks",
    "invert": "preimage.inversion",
    "rerun": "preimage.inversion",
}

__version__ = "0.1.0"

__all__ = [
    "SLOT",
    "Budget",
    "Catalogue",
    "Component",
    "Finding",
    "Pipeline",
    "PreimageError",
    "Result",
    "Spent",
    "Stage",
    "Study",
    "Template",
    "Term",
    "catalogue",
    "hookimpl",
    "invert",
    "rerun",
]


# `preimage --help` and a plugin's light module do not pay for what they do not use.
__getattr__ = lazy(__name__, _HOMES, globals())


def __dir__() -> list[str]:
    return __all__
