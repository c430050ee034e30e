"""``preimage show``: everything about one component."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from preimage._catalogue import Catalogue, catalogue
from preimage.api.component import KINDS
from preimage.cli import UsageError
from preimage.cli.table import aligned, terminal_width
from preimage.configuration import Option, options_of
from preimage.errors import PreimageError, UnknownNameError, nearest
from preimage.plugin import Provider
from preimage.preset import Preset, presets_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("name", nargs="+", metavar="[KIND] NAME", help="a component, such as 'gcg' or 'optimizer gcg'")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print one component."""
    installed = catalogue()
    if len(arguments.name) > 2:
        message = f"show takes a name, or a kind and a name, not {' '.join(arguments.name)!r}."
        raise UsageError(message)
    *kinds, name = arguments.name
    provider = installed.describe(kinds[0], name) if kinds else _of_any_kind(installed, name)
    options, presets, fault = _options(installed, provider)
    if arguments.json:
        import json

        print(json.dumps(_record(provider, options, presets, fault), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(provider, options, presets, fault)))
    return 0 if provider.usable and not fault else 3


def _of_any_kind(installed: Catalogue, name: str) -> Provider:
    """Return the component of a name, whatever its kind.

    Raises:
        UnknownNameError: there is none.
        UsageError: there are several.
    """
    distribution, _, bare = name.rpartition("/")
    named = [p for p in installed.providers if p.component.name == bare and distribution in ("", p.distribution)]
    kinds = list(dict.fromkeys(provider.kind for provider in named))
    if len(kinds) > 1:
        ways = " or ".join(f"'preimage show {kind} {name}'" for kind in kinds)
        message = f"{name!r} is {' and '.join(kinds)}: write {ways}."
        raise UsageError(message)
    if kinds:
        usable = [provider for provider in named if provider.usable]
        return installed.describe(kinds[0], name) if usable else named[0]
    for kind in KINDS:
        # A plugin that broke before it said what it provides, or one of ours that is not installed, says more.
        try:
            return installed.describe(kind, name)
        except UnknownNameError as error:
            if "It comes with" in str(error):
                raise
    names = sorted({provider.component.name for provider in installed.providers})
    has = f"Installed: {', '.join(names)}." if names else "No component is installed."
    message = f"There is no component {name!r}.{nearest(name, names)} {has}"
    raise UnknownNameError(message)


def _options(installed: Catalogue, provider: Provider) -> tuple[tuple[Option, ...], Mapping[str, Preset], str]:
    """Return options and presets, or why they cannot be read; a component can be described without them."""
    if provider.state == "incompatible":
        return (), {}, ""
    try:
        config = installed.config(provider.kind, provider.qualified)
        return options_of(config), presets_of(config), ""
    except PreimageError as error:
        return (), {}, str(error)


def _lines(provider: Provider, options: tuple[Option, ...], presets: Mapping[str, Preset], fault: str) -> list[str]:
    component = provider.component
    facts = [
        ("kind", provider.kind),
        ("from", f"{provider.distribution} {provider.version}".rstrip()),
        ("target", component.target),
        ("contract", component.api),
        ("traits", ", ".join(component.traits)),
        ("needs", ", ".join(component.needs)),
        ("source", component.cite),
        ("state", provider.state),
        ("cause", provider.cause),
        ("remedy", provider.remedy),
    ]
    lines = [component.name, "", f"  {component.summary}", ""]
    lines += [f"  {line}" for line in aligned([(name, value) for name, value in facts if value])]
    if fault:
        return [*lines, "", f"The options cannot be read: {fault}"]
    if not options:
        return [*lines, "", "It has no options."]
    lines += ["", "options (-o name=value)"]
    rows = [(o.name, o.type, "required" if o.required else f"= {o.default}", o.help) for o in options]
    lines += [f"  {line}" for line in aligned(rows, width=max(terminal_width() - 2, 0))]
    if presets:
        lines += ["", "presets (--preset NAME)"]
        meanings = [(name, f"{preset.describe()}. {preset.summary}".rstrip()) for name, preset in presets.items()]
        lines += [f"  {line}" for line in aligned(meanings, width=max(terminal_width() - 2, 0))]
    return lines


def _record(
    provider: Provider, options: tuple[Option, ...], presets: Mapping[str, Preset], fault: str
) -> dict[str, Any]:
    import attrs

    return {
        "kind": provider.kind,
        "distribution": provider.distribution,
        "version": provider.version,
        "module": provider.module,
        "state": provider.state,
        "cause": provider.cause or fault,
        "remedy": provider.remedy,
        **attrs.asdict(provider.component),
        "options": [attrs.asdict(option) for option in options],
        "presets": {name: attrs.asdict(preset) for name, preset in presets.items()},
    }
