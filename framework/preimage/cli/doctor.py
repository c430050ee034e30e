"""``preimage doctor``: everything that may be wrong with an installation, and what to do about it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from preimage import __version__
from preimage._catalogue import Catalogue, catalogue
from preimage.api.component import Finding
from preimage.cli import COMMANDS
from preimage.discovery import PLUGINS, Entry
from preimage.errors import PreimageError
from preimage.plugin import Plugin, Provider

__all__ = ["add_arguments", "findings", "run"]

HEAVY = ("torch", "numpy", "transformers", "diffusers", "open_clip", "pandas", "scipy", "sklearn", "tensorflow", "jax")
"""What the light module of a plugin must not import."""

_LIMIT_MS = 100.0
"""Far above what a light module costs, so that a busy machine is no finding; `preimage check` is stricter."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--load", action="store_true", help="import every component as well, which takes its time")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 if anything is wrong."""
    found = []
    for finding in findings(load=arguments.load):
        found.append(finding)
        if not arguments.json:
            print(f"{'ok  ' if finding.ok else 'BAD '}  {finding.check}: {finding.detail}", flush=True)
            if finding.remedy and not finding.ok:
                print(f"      remedy: {finding.remedy}", flush=True)
    bad = sum(not finding.ok for finding in found)
    if arguments.json:
        print(json.dumps([attrs.asdict(finding) for finding in found], indent=2, ensure_ascii=False))
    else:
        print(f"\n{len(found)} checks, {bad or 'none'} bad.")
    return 1 if bad else 0


def findings(*, load: bool = False) -> Iterator[Finding]:
    """Yield every check, cheap ones first.

    Arguments:
        load: import the targets of all components, and not their options alone.
    """
    yield from _host()
    try:
        installed = catalogue()
    except PreimageError as error:
        yield Finding("settings", False, str(error), "correct the settings, then run 'preimage doctor' again")
        return
    source = installed.settings.source or "no file, so that everything is allowed"
    yield Finding("settings", True, source)
    yield from _metadata(installed)
    yield from _plugins(installed, load=load)
    yield from _names(installed)
    yield from _commands(installed)
    yield from _editable(installed)
    yield from _weight(installed)
    for plugin, finding in installed.check_installation():
        yield attrs.evolve(finding, check=f"{plugin.distribution}: {finding.check}")


def _host() -> Iterator[Finding]:
    from importlib import metadata

    version = sys.version.split()[0]
    supported = sys.version_info >= (3, 11)
    yield Finding("interpreter", supported, f"Python {version} at {sys.executable}", "use Python 3.11 or newer")
    yield Finding("preimage", True, f"{__version__} at {Path(__file__).parents[1]}")
    for name in ("attrs", "pluggy", "entrypoints"):
        try:
            yield Finding(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            detail = "can be imported, but no installed distribution has the name"
            yield Finding(name, False, detail, f"pip install --force-reinstall {name}")


def _metadata(installed: Catalogue) -> Iterator[Finding]:
    discovery = installed.discovery
    for file in discovery.malformed:
        yield Finding("entry points", False, f"{file.path}: {file.cause}", f"reinstall {file.distribution}")
    for hidden in discovery.shadowed:
        detail = f"{hidden.path} ({hidden.version}) is hidden by {hidden.by}"
        remedy = f"pip uninstall {hidden.distribution} until pip finds no more, then install it again"
        yield Finding("duplicate metadata", False, detail, remedy)
    for folder in discovery.leftovers:
        yield Finding("left-over", False, f"{folder} is what an interrupted pip left behind", f"delete {folder}")
    if not (discovery.malformed or discovery.shadowed or discovery.leftovers):
        yield Finding("metadata", True, "no malformed, duplicate or left-over files")


def _plugins(installed: Catalogue, *, load: bool) -> Iterator[Finding]:
    for plugin in installed.plugins:
        ok = plugin.state in ("ok", "disabled")
        detail = plugin.state + (f", {plugin.cause}" if plugin.cause else "")
        yield Finding(f"plugin {plugin.id} {plugin.version}", ok, detail, plugin.remedy)
        for provider in plugin.providers:
            if provider.state == "ok":
                yield from _component(installed, plugin, provider, load=load)
    if not installed.plugins:
        yield Finding("plugins", False, "none is installed", 'pip install "preimage[all]"')


def _component(installed: Catalogue, plugin: Plugin, provider: Provider, *, load: bool) -> Iterator[Finding]:
    """Yield a finding if the options or the target of a component cannot be imported."""
    check = f"{provider.kind} {provider.qualified}"
    remedy = f"upgrade or reinstall {plugin.distribution}"
    try:
        installed.config(provider.kind, provider.qualified)
        if load:
            installed.load(provider.kind, provider.qualified)
            yield Finding(check, True, f"{provider.component.target} can be imported")
    except PreimageError as error:
        yield Finding(check, False, str(error), remedy)
        return
    if not load and not _exists(provider.component.target.partition(":")[0]):
        yield Finding(check, False, f"it names {provider.component.target}, but there is no such module", remedy)


def _exists(module: str) -> bool:
    """Tell whether a module can be found; the packages around it are imported for that, itself not."""
    try:
        return find_spec(module) is not None
    except Exception:
        return False


def _names(installed: Catalogue) -> Iterator[Finding]:
    for name, qualified in installed.conflicts.items():
        remedy = f'decide in preimage.toml: [prefer] "{name}" = "{qualified[0].partition("/")[0]}"'
        yield Finding("names", False, f"{name} is ambiguous: {' and '.join(qualified)}", remedy)
    distributions = {provider.distribution for provider in installed.providers}
    for name, preferred in installed.settings.prefer.items():
        if preferred not in distributions:
            detail = f"[prefer] names {preferred} for {name}, which is not installed"
            yield Finding("settings", False, detail, f"pip install {preferred}, or remove the line")
    known = {plugin.distribution for plugin in installed.plugins} | {plugin.id for plugin in installed.plugins}
    listed = (*installed.settings.deny, *(installed.settings.allow or ()))
    for name in listed:
        if name not in known:
            yield Finding("settings", True, f"{name} is allowed or denied, but is not installed")


def _commands(installed: Catalogue) -> Iterator[Finding]:
    by_name: dict[str, list[Entry]] = {}
    for entry in installed.discovery.commands:
        check = f"command {entry.name} of {entry.distribution}"
        if entry.problem:
            yield Finding(check, False, entry.problem, f"correct {entry.path} or reinstall {entry.distribution}")
        elif entry.name in COMMANDS:
            detail = "the host has a command of this name, which runs instead"
            yield Finding(check, False, detail, f"report it to the authors of {entry.distribution}")
        else:
            by_name.setdefault(entry.name, []).append(entry)
    for name, entries in by_name.items():
        if len(entries) > 1:
            ways = " and ".join(f"'preimage {entry.distribution}/{name}'" for entry in entries)
            yield Finding(f"command {name}", False, f"{len(entries)} plugins have it", f"run it as {ways}")


def _editable(installed: Catalogue) -> Iterator[Finding]:
    """Compare the entry points of editable installs, which are a snapshot, with their pyproject.toml of today."""
    for path in sorted({entry.path for entry in installed.discovery.plugins}):
        entries = [entry for entry in installed.discovery.plugins if entry.path == path]
        source = _editable_source(Path(path).parent)
        if source is None:
            continue
        declared = _declared(source)
        recorded = {e.name: f"{e.module}:{e.attribute}" if e.attribute else e.module for e in entries}
        if declared is not None and declared != recorded:
            detail = f"{source / 'pyproject.toml'} declares {declared}, the installation recorded {recorded}"
            yield Finding(f"editable {entries[0].distribution}", False, detail, f"pip install -e {source}")


def _editable_source(home: Path) -> Path | None:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        record = json.loads((home / "direct_url.json").read_text(encoding="utf-8"))
        if not record.get("dir_info", {}).get("editable"):
            return None
        return Path(url2pathname(urlsplit(record["url"]).path))
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _declared(source: Path) -> dict[str, str] | None:
    import tomllib

    try:
        document = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
        table: Any = document["project"].get("entry-points", {}).get(PLUGINS, {})
    except (OSError, ValueError, KeyError):
        return None
    return {str(name): str(value) for name, value in table.items()}


_PROBE = """
import json, sys, time
import attrs, pluggy, preimage.api
before, start = set(sys.modules), time.process_time()
__import__(sys.argv[1])
spent = 1000 * (time.process_time() - start)
print(json.dumps([spent, sorted(set(sys.modules) - before)]))
"""


def _weight(installed: Catalogue) -> Iterator[Finding]:
    """Import each plugin's module alone in a fresh interpreter and look at what it brings along."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for plugin in installed.plugins:
        if plugin.state in ("disabled", "broken") or not plugin.module:
            continue
        check = f"start-up cost of {plugin.id}"
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROBE, plugin.module],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
                env=environment,
            )
            spent, modules = json.loads(done.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            yield Finding(check, False, f"it could not be measured: {error}", f"upgrade {plugin.distribution}")
            continue
        heavy = [name for name in HEAVY if name in modules]
        detail = f"{spent:.1f} ms"
        if heavy:
            detail += f", because {plugin.module} imports {' and '.join(heavy)}"
        elif spent > _LIMIT_MS:
            detail += f", more than the {_LIMIT_MS:.0f} ms that a plugin may cost"
        remedy = f"its authors should import heavy packages in the target's module, not in {plugin.module}"
        yield Finding(check, not heavy and spent <= _LIMIT_MS, detail, remedy)
