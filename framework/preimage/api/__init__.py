"""The contracts between Preimage and its plugins: protocols and frozen records, one noun a module.

Nothing here imports torch. Tensors appear in annotations only, and every docstring names their axes.
"""

from preimage.api.adapter import EmbeddingAdapter
from preimage.api.component import API, KINDS, Component, Finding
from preimage.api.distance import Distance
from preimage.api.events import RunEvent, Spent, StepEvent
from preimage.api.executor import Executor, SupportsResult
from preimage.api.hooks import hookimpl
from preimage.api.model import (
    ROLES,
    Captioner,
    Classifier,
    ImageGenerator,
    ImageTextEncoder,
    LanguageModel,
    Model,
    TextEncoder,
)
from preimage.api.objective import GradientObjective, NextTokenObjective, Objective
from preimage.api.optimizer import Gradients, Losses, NextTokens, Optimizer, Request, State, Step
from preimage.api.space import FeatureSpace, TextSpace
from preimage.api.template import SLOT, Template

__all__ = [
    "API",
    "KINDS",
    "ROLES",
    "SLOT",
    "Captioner",
    "Classifier",
    "Component",
    "Distance",
    "EmbeddingAdapter",
    "Executor",
    "FeatureSpace",
    "Finding",
    "GradientObjective",
    "Gradients",
    "ImageGenerator",
    "ImageTextEncoder",
    "LanguageModel",
    "Losses",
    "Model",
    "NextTokenObjective",
    "NextTokens",
    "Objective",
    "Optimizer",
    "Request",
    "RunEvent",
    "Spent",
    "State",
    "Step",
    "StepEvent",
    "SupportsResult",
    "Template",
    "TextEncoder",
    "TextSpace",
    "hookimpl",
]
