"""``preimage plugins``: what is installed and how it fares."""

from __future__ import annotations

import argparse
from typing import Any

from preimage._catalogue import Catalogue, catalogue
from preimage.cli.table import aligned
from preimage.plugin import Plugin

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.add_argument("--timing", action="store_true", help="add how long importing each plugin took")


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    installed = catalogue()
    if arguments.json:
        import json

        print(json.dumps(_record(installed), indent=2, ensure_ascii=False))
        return 0
    print("\n".join(_lines(installed, timing=arguments.timing)))
    return 0


def _lines(installed: Catalogue, *, timing: bool) -> list[str]:
    if not installed.plugins:
        lines = ['No plugin is installed. To have ours: pip install "preimage[all]"']
    else:
        head = ("plugin", "version", "state", *(("import ms",) if timing else ()), "provides")
        rows = [head, *(_row(plugin, timing=timing) for plugin in installed.plugins)]
        table = aligned(rows, right=[3] if timing else [])
        lines = [table[0]]
        for plugin, line in zip(installed.plugins, table[1:], strict=True):
            lines.append(line)
            if plugin.state != "ok":
                lines += [f"    cause   {plugin.cause}", f"    remedy  {plugin.remedy}"]
    for name, qualified in installed.conflicts.items():
        kind, _, bare = name.partition(":")
        prefer = f'[prefer] "{name}" = "{qualified[0].partition("/")[0]}"'
        lines += [
            "",
            f"ambiguous: {kind} {bare!r} is {' or '.join(qualified)}",
            f"    remedy  write one of these, or decide in preimage.toml: {prefer}",
        ]
    for file in installed.discovery.malformed:
        lines += [
            "",
            f"malformed: {file.path}",
            f"    cause   {file.cause}",
            f"    remedy  reinstall {file.distribution}; until then its metadata is read line by line",
        ]
    if installed.discovery.leftovers or installed.discovery.shadowed:
        lines += ["", "There is metadata that should not be there: run 'preimage doctor'."]
    return lines


def _row(plugin: Plugin, *, timing: bool) -> tuple[str, ...]:
    kinds: dict[str, list[str]] = {}
    for provider in plugin.providers:
        kinds.setdefault(provider.kind, []).append(provider.component.name)
    provides = "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items()) or "-"
    time = (f"{plugin.seconds * 1000:.1f}",) if timing else ()
    # The entry's name adds something only where it is not that of the distribution.
    tail = plugin.distribution.removeprefix("preimage-")
    name = plugin.distribution if plugin.name in (tail, plugin.distribution) else plugin.id
    return (name, plugin.version, plugin.state, *time, provides)


def _record(installed: Catalogue) -> dict[str, Any]:
    import attrs

    return {
        "plugins": [
            {
                "distribution": plugin.distribution,
                "version": plugin.version,
                "name": plugin.name,
                "module": plugin.module,
                "state": plugin.state,
                "cause": plugin.cause,
                "remedy": plugin.remedy,
                "import_ms": round(plugin.seconds * 1000, 3),
                "components": [
                    {"kind": provider.kind, "state": provider.state, **attrs.asdict(provider.component)}
                    for provider in plugin.providers
                ],
            }
            for plugin in installed.plugins
        ],
        "conflicts": {name: list(qualified) for name, qualified in installed.conflicts.items()},
        "malformed": [file._asdict() for file in installed.discovery.malformed],
        "shadowed": [file._asdict() for file in installed.discovery.shadowed],
        "leftovers": list(installed.discovery.leftovers),
    }
