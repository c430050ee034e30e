"""The things of a process that belong to its user, and whether a plugin has left them alone."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import sys
from collections.abc import Iterator
from typing import Any

from preimage.testing.check import Violation

__all__ = ["untouched"]


@contextlib.contextmanager
def untouched(doing: str) -> Iterator[None]:
    """Raise unless the block leaves the process as it was: nothing printed, no global setting changed.

    Looked at are the random generators of Python, numpy and torch, torch's default dtype, number of threads
    and gradient mode, the root logger, the environment and the working directory. All are put back.

    Arguments:
        doing: what happens in the block, for the message.

    Raises:
        Violation: something has changed.
    """
    original = _snapshot()
    # One draw from each generator, so that seeding it anew shows even if it had just been seeded alike.
    random.random()
    if numpy := sys.modules.get("numpy"):
        numpy.random.random()
    if torch := sys.modules.get("torch"):
        torch.rand(())
    before = _snapshot()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
        after = _snapshot()
    finally:
        _restore(original)
    changed = [name for name, value in before.items() if not _same(value, after[name])]
    if changed:
        message = f"{doing} changes {' and '.join(changed)} of the whole process."
        raise Violation(message)
    if printed.getvalue():
        message = f"{doing} prints {printed.getvalue().strip()[:80]!r}."
        raise Violation(message)


def _snapshot() -> dict[str, Any]:
    root = logging.getLogger()
    state: dict[str, Any] = {
        "the generator of random": random.getstate(),
        "the environment": dict(os.environ),
        "the working directory": os.getcwd(),
        "the root logger": (list(root.handlers), root.level),
    }
    # Neither is imported for this: what is not imported cannot have been changed.
    if numpy := sys.modules.get("numpy"):
        state["the generator of numpy"] = [
            part.tolist() if hasattr(part, "tolist") else part for part in numpy.random.get_state()
        ]
    if torch := sys.modules.get("torch"):
        state["the generator of torch"] = torch.get_rng_state()
        state["the default dtype of torch"] = torch.get_default_dtype()
        state["the number of threads of torch"] = torch.get_num_threads()
        state["the gradient mode of torch"] = torch.is_grad_enabled()
    return state


def _same(left: Any, right: Any) -> bool:
    return bool((left == right).all()) if hasattr(left, "all") else bool(left == right)


def _restore(state: dict[str, Any]) -> None:
    random.setstate(state["the generator of random"])
    if dict(os.environ) != state["the environment"]:
        os.environ.clear()
        os.environ.update(state["the environment"])
    os.chdir(state["the working directory"])
    root = logging.getLogger()
    root.handlers[:], level = state["the root logger"][0], state["the root logger"][1]
    root.setLevel(level)
    if "the generator of numpy" in state:
        sys.modules["numpy"].random.set_state(tuple(state["the generator of numpy"]))
    if "the generator of torch" in state:
        torch = sys.modules["torch"]
        torch.set_rng_state(state["the generator of torch"])
        torch.set_default_dtype(state["the default dtype of torch"])
        torch.set_grad_enabled(state["the gradient mode of torch"])
        if torch.get_num_threads() != state["the number of threads of torch"]:
            torch.set_num_threads(state["the number of threads of torch"])
