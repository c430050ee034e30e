"""What the catalogue knows of each plugin and of each thing that it provides."""

from __future__ import annotations

from typing import Literal

import attrs

from preimage.api.component import Component

__all__ = ["STATES", "Plugin", "Provider", "State"]

State = Literal["ok", "disabled", "incompatible", "missing-dependency", "broken"]

STATES: tuple[State, ...] = ("ok", "disabled", "incompatible", "missing-dependency", "broken")
"""
==================  ===================================================================
ok                  works
disabled            installed, and kept from being imported by the settings
incompatible        written for another version of a contract
missing-dependency  a package that it needs is not installed
broken              its entry point, module, hooks or records are not as they must be
==================  ===================================================================
"""


@attrs.frozen
class Provider:
    """One component and where it comes from."""

    kind: str
    component: Component
    distribution: str
    """Normalised name of the distribution, or the origin of a component registered by hand."""
    version: str
    module: str
    """The module whose hook returned the component."""
    state: State = "ok"
    cause: str = ""
    remedy: str = ""

    @property
    def qualified(self) -> str:
        """``distribution/name``, which is unique among the components of one kind."""
        return f"{self.distribution}/{self.component.name}"

    @property
    def usable(self) -> bool:
        """Whether the name leads here; missing packages are named when it is loaded."""
        return self.state in ("ok", "missing-dependency")

    def __str__(self) -> str:
        return f"{self.kind} {self.component.name!r} of {self.distribution} {self.version}".rstrip()


@attrs.frozen
class Plugin:
    """One entry point of the group ``preimage.plugins`` and how it fares."""

    distribution: str
    version: str
    name: str
    module: str
    state: State = "ok"
    cause: str = ""
    """One line: what is wrong."""
    remedy: str = ""
    """One line: what to do about it."""
    providers: tuple[Provider, ...] = ()
    seconds: float = 0.0
    """How long importing the module took in this process."""

    @property
    def id(self) -> str:
        """``distribution:name``, under which it is registered."""
        return f"{self.distribution}:{self.name}"
