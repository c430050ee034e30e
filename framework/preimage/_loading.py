"""Importing what plugins name, so that whatever goes wrong there says whose it is."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from preimage.errors import MissingDependencyError, PluginError

if TYPE_CHECKING:
    from preimage.plugin import Provider

__all__ = [
    "attributed",
    "foreign_module",
    "import_target",
    "missing_members",
    "missing_needs",
    "one_line",
    "pip_line",
]

_PACKAGES = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "open_clip": "open-clip-torch",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Import names whose distribution is called otherwise."""


def pip_line(modules: tuple[str, ...] | list[str]) -> str:
    """Return the command that installs the packages of `modules`.

    >>> pip_line(["torch", "open_clip"])
    'pip install torch open-clip-torch'
    """
    tops = dict.fromkeys(module.partition(".")[0] for module in modules)
    return "pip install " + " ".join(_PACKAGES.get(top, top.replace("_", "-")) for top in tops)


def missing_needs(needs: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of these modules cannot be imported, without importing any.

    Only the part before the first dot is looked up, because looking up a submodule imports its package.
    """
    return tuple(need for need in needs if not _is_installed(need.partition(".")[0]))


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: in sys.modules without a spec, as __main__ is
        return False


def foreign_module(error: BaseException, own: str) -> str:
    """Return the module whose absence `error` reports, or nothing if it is none or belongs to package `own`."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    top = error.name.partition(".")[0]
    return "" if top == own.partition(".")[0] else top


def one_line(error: BaseException) -> str:
    r"""Return type and message of an exception on one line.

    >>> one_line(ValueError("boom\n  bang"))
    'ValueError: boom bang'
    """
    text = " ".join(str(error).split())
    if len(text) > 300:
        text = text[:297] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def attributed(provider: Provider, doing: str) -> Iterator[None]:
    """Add to any exception a note that names plugin, version and component; its type and traceback stay."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised while {doing} {provider}")
        raise


def import_target(provider: Provider, reference: str) -> Any:
    """Return the object that ``"module:attribute"`` names, for a component of `provider`.

    Raises:
        MissingDependencyError: the module needs a package that is not installed.
        PluginError: the module cannot be imported, or has no such attribute.
    """
    name, _, attribute = reference.partition(":")
    try:
        found: Any = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = foreign_module(error, name)
        if missing:
            message = f"The {provider} needs {missing}, which is not installed: {pip_line([missing])}"
            raise MissingDependencyError(message, name=missing) from error
        message = (
            f"The {provider} cannot be used, because importing {name} raised {one_line(error)}. "
            f"Reinstall or upgrade {provider.distribution}, or report this to its authors."
        )
        raise PluginError(message) from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            message = (
                f"The {provider} names {reference}, but {name} has no {attribute!r}: "
                f"upgrade {provider.distribution}, or report this to its authors."
            )
            raise PluginError(message) from error
    return found


def missing_members(instance: object, protocol: type) -> tuple[str, ...]:
    """Return the members of a protocol that an object lacks.

    Unlike ``isinstance`` with a protocol this evaluates no property, and properties may be dear: a model's
    fingerprint hashes its weights.
    """
    return tuple(name for name in _members(protocol) if not _has(instance, name))


def _members(protocol: type) -> list[str]:
    names: dict[str, None] = {}
    for base in reversed(protocol.__mro__):
        if getattr(base, "_is_protocol", False):
            declared = [*inspect.get_annotations(base), *vars(base)]
            names.update(dict.fromkeys(n for n in declared if not n.startswith("_") or n == "__call__"))
    return list(names)


def _has(instance: object, name: str) -> bool:
    try:
        inspect.getattr_static(instance, name)
    except AttributeError:
        # Objects that forward to another by __getattr__ have it all the same.
        return hasattr(type(instance), "__getattr__") and hasattr(instance, name)
    return True
