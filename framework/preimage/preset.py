"""Options under one name: what a paper, or a size of model, asks of a component.

A config class keeps its presets beside its options, in a class variable, so that both are declared, shown and checked
in one place. What is given by name comes on top::

    @attrs.frozen(kw_only=True)
    class GCGConfig(TextStart):
        presets: ClassVar[Mapping[str, Preset]] = {"paper": Preset(options={"topk": 256}, num_steps=3000)}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from preimage.errors import OptionError, nearest

__all__ = ["Preset", "preset_of", "presets_of"]


@attrs.frozen
class Preset:
    """The options of a component under one name.

    >>> Preset(options={"topk": 256}, num_steps=3000).describe()
    'topk=256; 3000 steps'
    """

    options: Mapping[str, Any]
    num_steps: int | None = None
    """How long an optimizer searches with it, where no budget is given."""
    summary: str = ""
    """Where the values come from, in one sentence."""

    def describe(self) -> str:
        """Return the values as they would be typed."""
        options = " ".join(f"{name}={value}" for name, value in self.options.items())
        return options if self.num_steps is None else f"{options}; {self.num_steps} steps"


def presets_of(config: type) -> Mapping[str, Preset]:
    """Return the presets that a config class declares, by name."""
    declared: Mapping[str, Preset] = getattr(config, "presets", {})
    return declared


def preset_of(config: type, name: str, owner: str) -> Preset:
    """Return a preset of a config class.

    Arguments:
        config: the class.
        name: of the preset.
        owner: whose preset it is, as the beginning of a sentence.

    Raises:
        OptionError: it has no such preset.
    """
    known = presets_of(config)
    if name not in known:
        has = f"It has {', '.join(known)}." if known else "It has none: leave the preset out and give options."
        message = f"{owner} has no preset {name!r}.{nearest(name, list(known))} {has}"
        raise OptionError(message)
    return known[name]
