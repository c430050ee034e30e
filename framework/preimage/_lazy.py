"""Packages whose names are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy"]


def lazy(package: str, homes: Mapping[str, str], namespace: dict[str, Any]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package that takes its names from the modules in `homes`.

    Arguments:
        package: its name, for the error.
        homes: name to module.
        namespace: the package's globals, where what has been looked up is kept.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in homes:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        from importlib import import_module

        value = getattr(import_module(homes[name]), name)
        namespace[name] = value
        return value

    return __getattr__
