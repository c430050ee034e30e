"""Which plugins are installed, read as text from the metadata of distributions; nothing of theirs is imported.

This is the only module that knows `entrypoints`, which takes names and versions from the folders' names and so
costs half of what `importlib.metadata` does at a cold start. It gives up a whole folder at the first file that it
cannot parse, be it a stranger's: then that folder is walked distribution by distribution, each in a guard, and
the offending file is reported instead of taking every plugin down with it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import entrypoints  # type: ignore[import-untyped, unused-ignore]

__all__ = ["COMMANDS", "PICTURES", "PLUGINS", "Discovery", "Entry", "Malformed", "Shadowed", "discover", "normalise"]

PLUGINS = "preimage.plugins"
"""The entry-point group of plugins: name -> module."""
COMMANDS = "preimage.commands"
"""The entry-point group of subcommands: name -> module:function."""
PICTURES = "preimage.pictures"
"""The entry-point group of pictures for studies: name -> module:function, see `preimage.api.Pictures`."""

_GROUPS = (PLUGINS, COMMANDS, PICTURES)

_VALUE = re.compile(r"(?P<module>\w+(\.\w+)*)(:(?P<attribute>\w+(\.\w+)*))?\s*(\[.*\])?$")


class Entry(NamedTuple):
    """One line of one of our groups."""

    distribution: str
    """Normalised as PEP 503 says: lower case, runs of ``-_.`` become one hyphen."""
    version: str
    name: str
    module: str
    attribute: str = ""
    """What stands behind the colon; empty for plugins, the function for commands and pictures."""
    path: str = ""
    """The file that holds the line."""
    problem: str = ""
    """Why the line cannot be used, or nothing."""

    @property
    def id(self) -> str:
        """``distribution:name``, which is unique."""
        return f"{self.distribution}:{self.name}"


class Malformed(NamedTuple):
    """An ``entry_points.txt`` that cannot be read as it should, whoever's it is."""

    distribution: str
    path: str
    cause: str


class Shadowed(NamedTuple):
    """Metadata that is not used because other metadata of the same distribution was found first."""

    distribution: str
    version: str
    path: str
    by: str


class Discovery(NamedTuple):
    """Everything that is known of the plugins without importing them."""

    plugins: tuple[Entry, ...]
    """Sorted by distribution and name, so that two machines agree."""
    commands: tuple[Entry, ...]
    pictures: tuple[Entry, ...]
    malformed: tuple[Malformed, ...]
    shadowed: tuple[Shadowed, ...]
    leftovers: tuple[str, ...]
    """Folders that an interrupted pip left behind, named ``~something``."""


class _Advert(NamedTuple):
    """What one distribution says in our groups, in the order of its file."""

    distribution: str
    version: str
    path: str
    lines: tuple[tuple[str, str, str], ...]  # (group, name, value); the value is empty where the line has none


def normalise(distribution: str) -> str:
    """Return the name by which indexes know a distribution.

    >>> normalise("Preimage_GCG.extra")
    'preimage-gcg-extra'
    """
    return re.sub(r"[-_.]+", "-", distribution).strip("-").lower()


def discover(path: Sequence[str] | None = None) -> Discovery:
    """Read our groups from every distribution on `path`, which is `sys.path` unless given.

    Of one distribution that is installed twice, the first folder wins, as for imports; inside one folder the
    higher version does.
    """
    adverts: dict[str, _Advert] = {}
    malformed: list[Malformed] = []
    shadowed: list[Shadowed] = []
    leftovers: list[str] = []
    for folder in dict.fromkeys(str(entry) for entry in (sys.path if path is None else path)):
        found = sorted(_in_folder(folder, malformed), key=lambda advert: _order(advert.version), reverse=True)
        for advert in found:
            if os.path.basename(os.path.dirname(advert.path)).startswith("~"):
                leftovers.append(os.path.dirname(advert.path))
                continue
            first = adverts.setdefault(advert.distribution, advert)
            if first is not advert and not _same_file(first.path, advert.path):
                shadowed.append(Shadowed(advert.distribution, advert.version, advert.path, first.path))
    entries = [pair for advert in adverts.values() for pair in _entries(advert)]
    return Discovery(
        plugins=tuple(sorted(entry for group, entry in entries if group == PLUGINS)),
        commands=tuple(sorted(entry for group, entry in entries if group == COMMANDS)),
        pictures=tuple(sorted(entry for group, entry in entries if group == PICTURES)),
        malformed=tuple(sorted(malformed)),
        shadowed=tuple(sorted(shadowed)),
        leftovers=tuple(sorted(leftovers)),
    )


def _in_folder(folder: str, malformed: list[Malformed]) -> list[_Advert]:
    """Return what the distributions of one folder of the path advertise, in no particular order."""
    found = []
    try:
        for config, distribution in entrypoints.iter_files_distros([folder], repeated_distro="all"):
            lines = tuple(
                (group, name, value)
                for group in _GROUPS
                if config.has_section(group)
                for name, value in config.items(group, raw=True)
            )
            if lines:
                found.append(_advert(folder, distribution.name, distribution.version, lines))
    except Exception:
        # Anything from a ParsingError to an OSError of a stranger's file; it is named by the walk below.
        return list(_walk(folder, malformed))
    return found


def _advert(folder: str, name: str, version: str | None, lines: tuple[tuple[str, str, str], ...]) -> _Advert:
    stem = name if version is None else f"{name}-{version}"
    home = os.path.join(folder, f"{stem}.dist-info")
    if not os.path.isdir(home) and os.path.isdir(os.path.join(folder, f"{stem}.egg-info")):
        home = os.path.join(folder, f"{stem}.egg-info")
    if version is None:
        version = _version_of(home)
    # Metadata of eggs carries the interpreter behind the version: 1.0-py3.11.
    version = re.sub(r"-py\d.*$", "", version)
    return _Advert(normalise(name), version, os.path.join(home, "entry_points.txt"), lines)


def _version_of(home: str) -> str:
    """Return the version of metadata whose folder does not name it, which are development installs of old."""
    for name in ("METADATA", "PKG-INFO"):
        try:
            with open(os.path.join(home, name), encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.startswith("Version:"):
                        return line.partition(":")[2].strip()
        except OSError:
            continue
    return "unknown"


def _walk(folder: str, malformed: list[Malformed]) -> Iterator[_Advert]:
    """Yield what `_in_folder` returns, whatever the files hold, and report those that are not as they should be."""
    from importlib import metadata

    for distribution in metadata.distributions(path=[folder]):
        try:
            advert = _salvage(folder, distribution, malformed)
        except Exception as error:  # a distribution so broken that not even its folder is known
            malformed.append(Malformed("unknown", folder, f"{type(error).__name__}: {error}"))
            continue
        if advert is not None:
            yield advert


def _salvage(folder: str, distribution: object, malformed: list[Malformed]) -> _Advert | None:
    from pathlib import Path

    # The folder is not part of the interface, but without it no message could say which file to repair.
    home = getattr(distribution, "_path", None) or Path(folder)
    file = home / "entry_points.txt"
    if not file.is_file():
        return None
    stem = re.sub(r"\.(dist|egg)-info$", "", home.name)
    name, _, version = stem.partition("-")
    raw = file.read_bytes()
    cause = _fault(raw)
    lines = tuple(_lenient(raw.decode("utf-8", errors="replace")))
    if cause:
        malformed.append(Malformed(normalise(name), str(file), cause))
        if not lines and PLUGINS.encode() in raw:
            lines = ((PLUGINS, normalise(name), ""),)
    if not lines:
        return None
    return _advert(str(home.parent), name, version or None, lines)._replace(path=str(file))


def _fault(raw: bytes) -> str:
    """Return in a few words why a file is not a good ``entry_points.txt``, or nothing."""
    import configparser

    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    try:
        parser.read_string(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"byte {error.start} (0x{raw[error.start]:02x}) is not UTF-8"
    except configparser.DuplicateOptionError as error:
        return f"line {error.lineno} repeats {error.option!r} in [{error.section}]"
    except configparser.MissingSectionHeaderError as error:
        return f"line {error.lineno} stands before any [group]"
    except configparser.Error as error:
        return " ".join(str(error).split())
    return ""


def _lenient(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the lines of our groups, those without an ``=`` with an empty value."""
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group in _GROUPS and line and line[0] not in "#;":
            name, _, value = line.partition("=")
            yield group, name.strip(), value.strip()


def _entries(advert: _Advert) -> Iterator[tuple[str, Entry]]:
    seen: dict[tuple[str, str], int] = {}
    for group, name, _ in advert.lines:
        seen[group, name] = seen.get((group, name), 0) + 1
    for group, name, value in dict.fromkeys(advert.lines):
        if seen.get((group, name), 0) == 0:
            continue
        match = _VALUE.match(value)
        entry = Entry(
            distribution=advert.distribution,
            version=advert.version,
            name=name,
            module=match["module"] if match else "",
            attribute=(match["attribute"] or "") if match else "",
            path=advert.path,
            problem=_problem(group, name, value, match, seen[group, name]),
        )
        seen[group, name] = 0
        yield group, entry


def _problem(group: str, name: str, value: str, match: re.Match[str] | None, times: int) -> str:
    """Return why a line cannot be used, or nothing."""
    wanted = "a module such as 'acme.plugin'" if group == PLUGINS else "a function such as 'acme.cli:main'"
    if times > 1:
        return f"the entry point {name!r} stands {times} times in [{group}]"
    if match is None:
        return f"the entry point {f'{name} = {value}'!r} in [{group}] does not name {wanted}"
    if group == PLUGINS and match["attribute"]:
        return f"the entry point {name!r} names the object {value!r}, but a plugin is {wanted}"
    if group != PLUGINS and not match["attribute"]:
        what = "a command is" if group == COMMANDS else "pictures come from"
        return f"the entry point {name!r} names the module {value!r}, but {what} {wanted}"
    return ""


def _order(version: str) -> tuple[tuple[int, ...], str]:
    return tuple(int(number) for number in re.findall(r"\d+", version)), version


def _same_file(left: str, right: str) -> bool:
    return os.path.realpath(left) == os.path.realpath(right)
