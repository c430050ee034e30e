"""The contracts between Preimage and its plugins: protocols and frozen records, one noun a module.

Nothing here imports torch. Tensors appear in annotations only, and every docstring names their axes.
Names are looked up when they are first used: a plugin that declares components pays for no protocols.
"""

from typing import TYPE_CHECKING

from preimage._lazy import lazy

if TYPE_CHECKING:
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
        Decoding,
        Denoiser,
        ImageGenerator,
        ImageTextEncoder,
        LanguageModel,
        Model,
        TextEncoder,
    )
    from preimage.api.objective import GradientObjective, NextTokenObjective, Objective
    from preimage.api.optimizer import Captions, Gradients, Losses, NextTokens, Optimizer, Request, State, Step
    from preimage.api.pictures import Picture, Pictures
    from preimage.api.space import FeatureSpace, Reach, TextSpace
    from preimage.api.template import SLOT, Template

_HOMES = {
    "API": "preimage.api.component",
    "Captioner": "preimage.api.model",
    "Captions": "preimage.api.optimizer",
    "Classifier": "preimage.api.model",
    "Component": "preimage.api.component",
    "Decoding": "preimage.api.model",
    "Denoiser": "preimage.api.model",
    "Distance": "preimage.api.distance",
    "EmbeddingAdapter": "preimage.api.adapter",
    "Executor": "preimage.api.executor",
    "FeatureSpace": "preimage.api.space",
    "Finding": "preimage.api.component",
    "GradientObjective": "preimage.api.objective",
    "Gradients": "preimage.api.optimizer",
    "ImageGenerator": "preimage.api.model",
    "ImageTextEncoder": "preimage.api.model",
    "KINDS": "preimage.api.component",
    "LanguageModel": "preimage.api.model",
    "Losses": "preimage.api.optimizer",
    "Model": "preimage.api.model",
    "NextTokenObjective": "preimage.api.objective",
    "NextTokens": "preimage.api.optimizer",
    "Objective": "preimage.api.objective",
    "Optimizer": "preimage.api.optimizer",
    "Picture": "preimage.api.pictures",
    "Pictures": "preimage.api.pictures",
    "ROLES": "preimage.api.model",
    "Reach": "preimage.api.space",
    "Request": "preimage.api.optimizer",
    "RunEvent": "preimage.api.events",
    "SLOT": "preimage.api.template",
    "Spent": "preimage.api.events",
    "State": "preimage.api.optimizer",
    "Step": "preimage.api.optimizer",
    "StepEvent": "preimage.api.events",
    "SupportsResult": "preimage.api.executor",
    "Template": "preimage.api.template",
    "TextEncoder": "preimage.api.model",
    "TextSpace": "preimage.api.space",
    "hookimpl": "preimage.api.hooks",
}

__all__ = [
    "API",
    "KINDS",
    "ROLES",
    "SLOT",
    "Captioner",
    "Captions",
    "Classifier",
    "Component",
    "Decoding",
    "Denoiser",
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
    "Picture",
    "Pictures",
    "Reach",
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

__getattr__ = lazy(__name__, _HOMES, globals())
