"""Counterfactual explanations of decisions about rows of a table, about texts, and about the pictures of prompts."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Answers": "search",
    "CounterfactualExplainer": "explainer",
    "Decision": "decision",
    "Explanation": "explanation",
    "PromptCounterfactual": "texts.answer",
    "PromptExplainer": "texts.prompts",
    "TableSpace": "space",
    "TextCounterfactual": "texts.answer",
    "TextExplainer": "texts.explainer",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import torch.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
