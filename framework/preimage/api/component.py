"""What a plugin declares about one thing it provides, without importing it."""

from __future__ import annotations

import attrs

__all__ = ["API", "KINDS", "Component", "Finding"]

API: dict[str, tuple[int, int]] = {
    "optimizer": (1, 0),
    "objective": (1, 0),
    "adapter": (1, 0),
    "distance": (1, 0),
    "model": (1, 0),
    "executor": (1, 0),
}
"""The contract's version per extension point: (major, minor), independent of the package's version."""

KINDS: tuple[str, ...] = tuple(API)


@attrs.frozen
class Component:
    """A light record of one optimizer, objective, adapter, distance, model loader or executor.

    Reading a plugin's records must cost nothing: `target` and `config` are names (``"module:attribute"``)
    that the catalogue imports when a pipeline is built, never before.

    >>> Component(
    ...     name="gcg",
    ...     target="preimage_gcg.optimizer:GCG",
    ...     config="preimage_gcg.config:GCGConfig",
    ...     api="1.0",
    ...     summary="Greedy coordinate gradient.",
    ...     traits=("space:text", "requires:gradient"),
    ... ).trait("requires")
    ('gradient',)
    """

    name: str
    """What users type: lower case, words joined by hyphens (model loaders: the scheme before the colon)."""
    target: str
    """``"module:attribute"`` of a callable ``target(config, **parts)``."""
    config: str
    """``"module:attribute"`` of the attrs class that declares, validates and documents the options."""
    api: str
    """The contract it was written for, ``"major.minor"``."""
    summary: str
    """One sentence for tables."""
    traits: tuple[str, ...] = ()
    """``key:value`` facts that assembly checks before anything heavy is imported.

    ======================  =========================================  ===========================================
    key                     values                                     declared by
    ======================  =========================================  ===========================================
    ``space``               text, features                             optimizer, objective
    ``domain``              text, image, image-set, features           distance
    ``complement``          what one less itself is called, as SSIM    distance
    ``requires``            gradient, next-token, captions             optimizer
    ``start``               required: it refines a given prompt        optimizer
    ``offers``              gradient, next-token                       objective
    ``role``                image-text-encoder, text-encoder, …        objective, distance (needs), model (has)
    ``target``              image, text, label                         objective
    ``example``             a reference to try it with                 model
    ======================  =========================================  ===========================================
    """
    needs: tuple[str, ...] = ()
    """Import names of packages that the target needs, checked before it is imported."""
    cite: str = ""
    """Where the method comes from, for example ``"arXiv:2307.15043"``."""

    def trait(self, key: str) -> tuple[str, ...]:
        """Return the values declared for `key`, in the order they were declared."""
        prefix = key + ":"
        return tuple(trait[len(prefix) :] for trait in self.traits if trait.startswith(prefix))


@attrs.frozen
class Finding:
    """One line of ``preimage doctor``: what was checked, how it went and what to do."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""
