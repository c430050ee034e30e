"""The extension points: what Preimage asks its plugins, and what it tells them.

A plugin is a module with some of these functions, each marked with `hookimpl`, that an entry point of the group
``preimage.plugins`` names. Hooks are for registration and for observation, never for computation: each
``provide_…`` hook is called once per catalogue, each observer at most once per step. Implementations are plain
functions, never wrappers or generators, with exactly the parameters of the specification or fewer and without
defaults; those that provide something return tuples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

from preimage.api.component import Component, Finding
from preimage.api.events import RunEvent, StepEvent

if TYPE_CHECKING:
    from preimage.result import Result

__all__ = ["COLLECTORS", "GROUP", "OBSERVERS", "PROJECT", "hookimpl", "hookspec"]

PROJECT = "preimage"
GROUP = "preimage.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

COLLECTORS: dict[str, str] = {
    "optimizer": "provide_optimizers",
    "objective": "provide_objectives",
    "adapter": "provide_adapters",
    "distance": "provide_distances",
    "model": "provide_models",
    "executor": "provide_executors",
}
"""Which hook collects which kind of component."""

OBSERVERS: tuple[str, ...] = ("run_started", "step_finished", "run_finished")


@hookspec
def provide_optimizers() -> Sequence[Component]:
    """Return the plugin's optimizers.

    Called once when a catalogue is built, in the main thread, before torch is imported. An exception marks the
    plugin as broken; everything else goes on.

    >>> from preimage import Component, hookimpl
    >>> @hookimpl
    ... def provide_optimizers():
    ...     return (
    ...         Component(
    ...             name="coin-flip",
    ...             target="preimage_coin.optimizer:CoinFlip",
    ...             config="preimage_coin.config:CoinFlipConfig",
    ...             api="1.0",
    ...             summary="Replaces a random token by another.",
    ...             traits=("space:text",),
    ...         ),
    ...     )
    >>> provide_optimizers()[0].name
    'coin-flip'
    """
    raise NotImplementedError


@hookspec
def provide_objectives() -> Sequence[Component]:
    """Return the plugin's objectives; called like `provide_optimizers`.

    >>> from preimage import Component, hookimpl
    >>> @hookimpl
    ... def provide_objectives():
    ...     return (
    ...         Component(
    ...             name="brevity",
    ...             target="preimage_brevity.objective:Brevity",
    ...             config="preimage_brevity.config:BrevityConfig",
    ...             api="1.0",
    ...             summary="Counts letters.",
    ...             traits=("space:text", "role:text-encoder", "target:text"),
    ...         ),
    ...     )
    >>> provide_objectives()[0].trait("role")
    ('text-encoder',)
    """
    raise NotImplementedError


@hookspec
def provide_adapters() -> Sequence[Component]:
    """Return the plugin's embedding adapters; called like `provide_optimizers`.

    >>> from preimage import Component, hookimpl
    >>> @hookimpl
    ... def provide_adapters():
    ...     return (
    ...         Component(
    ...             name="procrustes",
    ...             target="preimage_procrustes.adapter:Procrustes",
    ...             config="preimage_procrustes.config:ProcrustesConfig",
    ...             api="1.0",
    ...             summary="One rotation for all tokens.",
    ...         ),
    ...     )
    >>> provide_adapters()[0].api
    '1.0'
    """
    raise NotImplementedError


@hookspec
def provide_distances() -> Sequence[Component]:
    """Return the plugin's distances; called like `provide_optimizers`.

    >>> from preimage import Component, hookimpl
    >>> @hookimpl
    ... def provide_distances():
    ...     return (
    ...         Component(
    ...             name="hamming",
    ...             target="preimage_hamming.distance:Hamming",
    ...             config="preimage_hamming.config:HammingConfig",
    ...             api="1.0",
    ...             summary="Counts differing tokens.",
    ...             traits=("space:text",),
    ...         ),
    ...     )
    >>> provide_distances()[0].summary
    'Counts differing tokens.'
    """
    raise NotImplementedError


@hookspec
def provide_models() -> Sequence[Component]:
    """Return the plugin's model loaders; called like `provide_optimizers`.

    The component's name is the scheme of references (``scheme:name``); its target is called as
    ``target(config, name=…, role=…, device=…, dtype=…)`` and returns an object of that role.

    >>> from preimage import Component, hookimpl
    >>> @hookimpl
    ... def provide_models():
    ...     return (
    ...         Component(
    ...             name="onnx",
    ...             target="preimage_onnx.loader:load",
    ...             config="preimage_onnx.config:OnnxConfig",
    ...             api="1.0",
    ...             summary="Encoders exported to ONNX.",
    ...             traits=("role:text-encoder",),
    ...             needs=("onnxruntime",),
    ...         ),
    ...     )
    >>> provide_models()[0].needs
    ('onnxruntime',)
    """
    raise NotImplementedError


@hookspec
def provide_executors() -> Sequence[Component]:
    """Return the plugin's executors; called like `provide_optimizers`.

    >>> from preimage import Component, hookimpl
    >>> @hookimpl
    ... def provide_executors():
    ...     return (
    ...         Component(
    ...             name="threads",
    ...             target="preimage_threads.executor:Threads",
    ...             config="preimage_threads.config:ThreadsConfig",
    ...             api="1.0",
    ...             summary="A pool of threads.",
    ...         ),
    ...     )
    >>> provide_executors()[0].name
    'threads'
    """
    raise NotImplementedError


@hookspec
def run_started(event: RunEvent) -> None:
    """A set of runs begins. Called once per set, in the thread that runs it; an exception ends the run.

    >>> from preimage import hookimpl
    >>> @hookimpl
    ... def run_started(event):
    ...     print(f"{event.optimizer} on {event.n_runs} target(s)")
    >>> from preimage.api import RunEvent
    >>> run_started(RunEvent(optimizer="gcg", n_runs=3, seed=0, budget={"steps": 10}))
    gcg on 3 target(s)
    """


@hookspec
def step_finished(event: StepEvent) -> None:
    """One step of all runs has ended. Called at most once per step and not at all if nobody listens.

    >>> from preimage import hookimpl
    >>> @hookimpl
    ... def step_finished(event):
    ...     print(event.step, min(event.best_loss))
    >>> from preimage.api import Spent, StepEvent
    >>> step_finished(StepEvent(7, (0.9,), (0.8,), ("a red circle",), (Spent(),), running=1))
    7 0.8
    """


@hookspec
def run_finished(results: Sequence[Result]) -> None:
    """A set of runs has ended, whatever ended it. Called once per set, with one result per target.

    >>> from preimage import hookimpl
    >>> @hookimpl
    ... def run_finished(results):
    ...     for result in results:
    ...         print(result.text)
    """


@hookspec
def check_installation() -> Sequence[Finding]:
    """Return what ``preimage doctor`` should say about the plugin's surroundings. May import anything.

    >>> from preimage import hookimpl
    >>> from preimage.api import Finding
    >>> @hookimpl
    ... def check_installation():
    ...     return (Finding(check="word list", ok=True, detail="10,000 words"),)
    >>> check_installation()[0].ok
    True
    """
    raise NotImplementedError
