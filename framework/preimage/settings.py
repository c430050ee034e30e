"""What a user may decide once for all commands, in ``preimage.toml`` or in the environment.

::

    [plugins]
    allow = ["preimage-gcg", "preimage-open-clip"]   # nothing else is imported
    deny = ["acme-metrics"]                          # never imported

    [prefer]
    "optimizer:gcg" = "preimage-gcg"                 # decides where two distributions provide one name

    [defaults]
    model = "open_clip:ViT-B-32/laion2b_s34b_b79k"

    [observers]
    tensorboard = "runs"                             # what an observer is told, such as where to write

The file is the one that ``PREIMAGE_CONFIG`` names, else ``preimage.toml`` in the current folder. The environment
variables ``PREIMAGE_ALLOW`` and ``PREIMAGE_DENY`` (names joined by commas) replace the lists of the file, and
``PREIMAGE_OBSERVERS`` (``tensorboard=runs``, joined by commas) replaces its table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from preimage.errors import InputError, OptionError, nearest

__all__ = ["DEFAULTS", "Settings", "read_settings"]

DEFAULTS = ("model", "optimizer", "objective", "executor", "device", "dtype")
"""The keys of ``[defaults]``; each holds a text."""

_TABLES = {"plugins": ("allow", "deny"), "prefer": None, "defaults": DEFAULTS, "observers": None}
_EMPTY: Mapping[str, str] = MappingProxyType({})


class Settings(NamedTuple):
    """Plain data; names of distributions are normalised."""

    allow: tuple[str, ...] | None = None
    """The distributions (or ``distribution:name``) that may be imported; None allows all."""
    deny: tuple[str, ...] = ()
    prefer: Mapping[str, str] = _EMPTY
    """``kind:name`` to the distribution that wins."""
    defaults: Mapping[str, str] = _EMPTY
    observers: Mapping[str, str] = _EMPTY
    """Name of an observer to what it is told."""
    source: str = ""
    """The file they were read from, or nothing."""

    def exclusion(self, distribution: str, name: str) -> tuple[str, str] | None:
        """Return cause and remedy if a plugin must not be imported, or None.

        >>> Settings(deny=("acme",)).exclusion("acme", "metric")
        ('denied by the settings', "remove 'acme' from deny")
        """
        names = (distribution, f"{distribution}:{name}")
        where = f" in {self.source}" if self.source else ""
        for denied in self.deny:
            if denied in names:
                return "denied by the settings", f"remove {denied!r} from deny{where}"
        if self.allow is not None and not set(names) & set(self.allow):
            return "not among the allowed plugins of the settings", f"add {distribution!r} to allow{where}"
        return None


def read_settings(environment: Mapping[str, str] | None = None, folder: str = "") -> Settings:
    """Return the settings of `environment` (the process's own unless given) and of the file in `folder`.

    Raises:
        InputError: the file cannot be read, or is not TOML.
        OptionError: a table or key that does not exist, or a value of another type.
    """
    environment = os.environ if environment is None else environment
    named = environment.get("PREIMAGE_CONFIG", "")
    path = named or os.path.join(folder, "preimage.toml")
    settings = _read(path) if named or os.path.isfile(path) else Settings()
    if "PREIMAGE_ALLOW" in environment:
        settings = settings._replace(allow=_names(environment["PREIMAGE_ALLOW"].split(",")))
    if "PREIMAGE_DENY" in environment:
        settings = settings._replace(deny=_names(environment["PREIMAGE_DENY"].split(",")))
    if "PREIMAGE_OBSERVERS" in environment:
        settings = settings._replace(observers=_told(environment["PREIMAGE_OBSERVERS"]))
    return settings


def _read(path: str) -> Settings:
    # Costs 9 ms, which those without a file need not pay.
    import tomllib

    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        message = f"The settings file {path} cannot be read ({error.strerror}): create it, or unset PREIMAGE_CONFIG."
        raise InputError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"The settings file {path} is not TOML ({error}): correct it there."
        raise InputError(message) from error
    for table, content in document.items():
        _check_table(path, table, content)
    plugins = document.get("plugins", {})
    return Settings(
        allow=_names(plugins["allow"]) if "allow" in plugins else None,
        deny=_names(plugins.get("deny", [])),
        prefer=MappingProxyType({key: _names([value])[0] for key, value in document.get("prefer", {}).items()}),
        defaults=MappingProxyType(document.get("defaults", {})),
        observers=MappingProxyType(document.get("observers", {})),
        source=path,
    )


def _check_table(path: str, table: str, content: Any) -> None:
    """Raise unless a table is one that exists, with keys that exist and values of the right type."""
    if table not in _TABLES:
        message = (
            f"{path} has {table!r}, which is not a table of the settings.{nearest(table, list(_TABLES))} "
            f"The tables are {', '.join(f'[{known}]' for known in _TABLES)}."
        )
        raise OptionError(message)
    if not isinstance(content, dict):
        message = f"{path} sets {table} = {content!r}, but {table} is a table: write [{table}] above its keys."
        raise OptionError(message)
    keys = _TABLES[table]
    for key, value in content.items():
        if keys is not None and key not in keys:
            message = (
                f"{path} sets {key!r} in [{table}], which does not exist.{nearest(key, keys)} "
                f"The keys are {', '.join(keys)}."
            )
            raise OptionError(message)
        if table == "plugins":
            good = isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value)
            wanted = 'a list of names of distributions, such as ["preimage-gcg"]'
        else:
            good = isinstance(value, str) and bool(value.strip())
            wanted = "a text"
        if not good:
            message = f"{path} sets {key} = {value!r} in [{table}], but it takes {wanted}."
            raise OptionError(message)
        if table == "prefer" and not all(key.partition(":")):
            message = (
                f"{path} prefers a distribution for {key!r}, which is not of the form kind:name: "
                f'write, for example, "optimizer:{key.strip(":")}" = {value!r}.'
            )
            raise OptionError(message)


def _told(text: str) -> Mapping[str, str]:
    told = {}
    for item in filter(str.strip, text.split(",")):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals and value):
            message = f"PREIMAGE_OBSERVERS has {item!r}, which is not of the form name=value: write tensorboard=runs."
            raise OptionError(message)
        told[name] = value
    return MappingProxyType(told)


def _names(names: list[str]) -> tuple[str, ...]:
    from preimage.discovery import normalise

    pairs = (name.strip().partition(":") for name in names if name.strip())
    return tuple(normalise(distribution) + colon + name for distribution, colon, name in pairs)
