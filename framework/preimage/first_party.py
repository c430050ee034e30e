"""Which of our own distributions brings a name, whether it is installed or not."""

from __future__ import annotations

__all__ = ["extra_for", "is_taken"]

_EXTRAS: dict[str, dict[str, tuple[str, ...]]] = {
    "optimizer": {
        "autodan": ("autodan",),
        "blip2": ("blip2", "blip-2"),
        "counterfactual": (
            "counterfactual-blackbox",
            "counterfactual-draw",
            "counterfactual-evolution",
            "counterfactual-gradient",
            "counterfactual-linear",
            "word-edits",
        ),
        "gcg": ("gcg",),
        "interrogator": ("interrogator", "clip-interrogator", "prune"),
        "pez": ("pez",),
        "random-search": ("random-search",),
    },
    "objective": {
        "objectives": (
            "class-likelihood",
            "clip-similarity",
            "denoising",
            "fluency",
            "regeneration",
            "target-likelihood",
            "text-distance",
            "text-similarity",
        ),
    },
    "distance": {
        "distances": (
            "edit-distance",
            "exact-match",
            "fid",
            "image-similarity",
            "kid",
            "mean-squared-error",
            "ssim",
            "text-similarity",
            "token-f1",
        ),
        "miniworld": ("picture-attributes", "scene-attributes"),
    },
    "adapter": {"fuse": ("fuse", "linear", "shared-token")},
    "model": {
        "diffusers": ("sd", "diffusers"),
        "miniworld": ("miniworld",),
        "open-clip": ("open_clip", "open-clip"),
        "transformers": ("hf", "transformers"),
    },
    "executor": {"dask": ("dask",)},
    "command": {
        "counterfactual": ("explain",),
        "diffusers": ("generate",),
        "fuse": ("adapt",),
        "miniworld": ("miniworld",),
    },
    "pictures": {"miniworld": ("miniworld",)},
    "observer": {"tensorboard": ("tensorboard",)},
}


def extra_for(kind: str, name: str) -> str:
    """Return the extra of the host that installs a component, or an empty string.

    >>> extra_for("model", "hf")
    'transformers'
    """
    for extra, names in _EXTRAS.get(kind, {}).items():
        if name in names:
            return extra
    return ""


def is_taken(kind: str, name: str) -> bool:
    """Tell whether a component of ours has this name, or a distribution of ours ``preimage-NAME``.

    >>> is_taken("objective", "fluency"), is_taken("optimizer", "fluency"), is_taken("optimizer", "fuse")
    (True, False, True)
    """
    return bool(extra_for(kind, name)) or any(name in extras for extras in _EXTRAS.values())
