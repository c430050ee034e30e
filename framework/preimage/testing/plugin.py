"""The checks of a plugin as a whole: whether the host lets it in, and what listing it costs."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import subprocess
import sys
from typing import Any

from preimage.plugin import Plugin
from preimage.testing.check import CheckList, NotApplicable, Violation

__all__ = ["CHECKS", "HEAVY", "LIMIT_MS", "probe"]

CHECKS = CheckList("plugin")

HEAVY = ("torch", "numpy", "transformers", "open_clip", "diffusers", "PIL", "pandas", "scipy", "sklearn", "jax")
"""What a plugin's light module must not import."""

LIMIT_MS = 30.0
"""What importing it may cost, in CPU time beyond the host's contracts."""

_WEIGH = """
import json, sys, time
import attrs, pluggy, preimage.api
before, start = set(sys.modules), time.process_time()
__import__(sys.argv[1])
spent = 1000 * (time.process_time() - start)
print()
print(json.dumps([spent, sorted(set(sys.modules) - before)]))
"""


def probe(source: str, *arguments: str) -> Any:
    """Run a script in a fresh interpreter and return what it printed last, read as JSON.

    Raises:
        Violation: it ended with an error.
    """
    done = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        check=False,
    )
    if done.returncode:
        error = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise Violation(f"In a fresh interpreter it ends with {error}")
    return json.loads(done.stdout.splitlines()[-1])


@functools.cache
def _weight(module: str) -> tuple[float, tuple[str, ...]]:
    """Return the least CPU time, in ms, of up to three imports of a module, and what it imports."""
    least, imported = float("inf"), ()
    for _ in range(3):
        spent, imported = probe(_WEIGH, module)
        least = min(least, spent)
        if least <= LIMIT_MS:
            break
    return least, tuple(imported)


@CHECKS.required(remedy="Correct the entry point, the hooks or their records; `preimage plugins` shows all causes.")
def _host_admits_it(plugin: Plugin) -> None:
    """Its module can be imported, its hooks are plain functions without defaults, and return records."""
    if plugin.state in ("broken", "disabled") or (plugin.state != "ok" and not plugin.providers):
        raise Violation(f"It is {plugin.state}: {plugin.cause}. {plugin.remedy[:1].upper()}{plugin.remedy[1:]}.")


@CHECKS.required(remedy="Import heavy packages in the target's module; the plugin's module only makes records.")
def _module_is_light(plugin: Plugin) -> None:
    """The plugin's module imports no heavy package and costs less than 30 ms of CPU time."""
    if plugin.state in ("broken", "disabled") or not plugin.module:
        raise NotApplicable("The host does not admit it; see host-admits-it.")
    least, imported = _weight(plugin.module)
    heavy = [name for name in HEAVY if name in imported]
    if heavy:
        raise Violation(f"Importing {plugin.module} imports {' and '.join(heavy)}.")
    if least > LIMIT_MS:
        raise Violation(f"Importing {plugin.module} costs {least:.0f} ms of CPU time, and {LIMIT_MS:.0f} are allowed.")


@CHECKS.optional(remedy="Declare license = '…' in pyproject.toml.")
def _licence_is_declared(plugin: Plugin) -> None:
    """The distribution says under which licence it may be used."""
    try:
        metadata = importlib.metadata.metadata(plugin.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise NotApplicable("It belongs to no installed distribution.") from None
    named = any(key in metadata and metadata[key] for key in ("License-Expression", "License"))
    if not named and not any("License ::" in line for line in metadata.get_all("Classifier") or ()):
        raise Violation(f"The metadata of {plugin.distribution} names no licence.")
