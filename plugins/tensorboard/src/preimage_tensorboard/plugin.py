"""Hears of runs and their steps, and hands them on where somebody has asked for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from preimage.api import Finding, hookimpl

if TYPE_CHECKING:
    from preimage.api import RunEvent, StepEvent
    from preimage.result import Result
    from preimage_tensorboard.writer import Writers

__all__ = ["check_installation", "run_finished", "run_started", "step_finished"]


class _Watching(threading.local):
    """Who writes down the runs of this thread: observers are told in the thread that runs."""

    writers: Writers | None = None


_watching = _Watching()


def _folder() -> str:
    """Return where to write to, or nothing: ``[observers] tensorboard = "runs"``, or in the environment."""
    from preimage.settings import read_settings

    return read_settings().observers.get("tensorboard", "")


@hookimpl
def run_started(event: RunEvent) -> None:
    """Open a log for each run, if a folder has been named."""
    _close()
    folder = _folder()
    if folder:
        from preimage_tensorboard.writer import Writers

        _watching.writers = Writers(folder, event)


@hookimpl
def step_finished(event: StepEvent) -> None:
    """Write down a step."""
    if _watching.writers is not None:
        _watching.writers.step(event)


@hookimpl
def run_finished(results: Sequence[Result]) -> None:
    """Write down what was found."""
    if _watching.writers is not None:
        _watching.writers.finish(results)
        _close()


@hookimpl
def check_installation() -> tuple[Finding, ...]:
    """Say where logs go, or how to get some."""
    folder = _folder()
    detail = f"logs go to {folder}" if folder else 'not asked for: set [observers] tensorboard = "runs"'
    return (Finding(check="log folder", ok=True, detail=detail),)


def _close() -> None:
    # A run that ended in an error was never said to have finished.
    writers, _watching.writers = _watching.writers, None
    if writers is not None:
        writers.close()
