"""Where runs are carried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

__all__ = ["Executor", "SupportsResult"]


@runtime_checkable
class SupportsResult(Protocol):
    """The part of a future that the host uses."""

    def result(self) -> Any:
        """Wait for the work and return its value, or raise its error."""
        ...

    def done(self) -> bool:
        """Tell whether the work has ended."""
        ...

    def cancel(self) -> bool:
        """Try to stop work that has not begun."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Anything with ``submit(function, *arguments) -> future``.

    Work units are names, options and seeds, never live models: the worker builds from its own catalogue.
    """

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> SupportsResult:
        """Start ``function(*arguments)`` somewhere."""
        ...
