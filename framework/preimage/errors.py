"""Every error that Preimage raises on purpose.

Each message says what happened with the values, why that is not allowed and what to do. Each class is also
the builtin that a caller would catch without knowing Preimage::

    PreimageError
    ├── UnknownNameError       LookupError      no component, model or column of that name
    ├── AmbiguousNameError     LookupError      two distributions provide one name
    ├── OptionError            ValueError       an option that does not exist or does not validate
    ├── AssemblyError          ValueError       pieces that do not fit together
    ├── InputError             ValueError       a picture, text, recipe or file that cannot be used
    ├── BudgetError            ValueError       a budget that allows nothing, or that never ends
    ├── ConstraintError        ValueError       no token, length or start is left to search
    ├── CheckpointError        ValueError       a saved run that does not belong to this one
    ├── NonFiniteLossError     ArithmeticError  an objective answered NaN or infinity
    ├── CapacityError          MemoryError      not even one candidate fits into memory
    ├── StorageError           OSError          a study's folder that cannot be written to any more
    ├── WorkerError            RuntimeError     a process died of the work it was given
    ├── MissingDependencyError ImportError      a package that is needed is not installed
    └── PluginError            RuntimeError     a plugin broke its contract
"""

__all__ = [
    "AmbiguousNameError",
    "AssemblyError",
    "BudgetError",
    "CapacityError",
    "CheckpointError",
    "ConstraintError",
    "InputError",
    "MissingDependencyError",
    "NonFiniteLossError",
    "OptionError",
    "PluginError",
    "PreimageError",
    "StorageError",
    "UnknownNameError",
    "WorkerError",
    "first_line",
    "nearest",
]


class PreimageError(Exception):
    """The root of all errors that Preimage raises on purpose."""


class UnknownNameError(PreimageError, LookupError):
    """No component, model or column has the name that was asked for."""


class AmbiguousNameError(PreimageError, LookupError):
    """Two distributions provide one name and no setting decides between them."""


class OptionError(PreimageError, ValueError):
    """An option does not exist, or its value does not validate."""


class AssemblyError(PreimageError, ValueError):
    """Pieces of a pipeline do not fit together."""


class InputError(PreimageError, ValueError):
    """A picture, text, recipe or file cannot be used."""


class BudgetError(PreimageError, ValueError):
    """A budget allows nothing, or would never end."""


class ConstraintError(PreimageError, ValueError):
    """The constraints leave no token, length or start to search."""


class CheckpointError(PreimageError, ValueError):
    """A saved run cannot be read or does not belong to this one."""


class NonFiniteLossError(PreimageError, ArithmeticError):
    """An objective answered NaN or infinity."""


class CapacityError(PreimageError, MemoryError):
    """Not even one candidate fits into memory."""


class StorageError(PreimageError, OSError):
    """A study's folder cannot be written to any more."""


class WorkerError(PreimageError, RuntimeError):
    """The process that was given some work died of it, each time anew."""


class MissingDependencyError(PreimageError, ImportError):
    """A package that is needed is not installed."""


class PluginError(PreimageError, RuntimeError):
    """A plugin broke its contract or failed; the message names plugin, version and component."""


def nearest(name: str, known: "list[str] | tuple[str, ...]", *, count: int = 3) -> str:
    """Return ``" Did you mean 'gcg'?"`` for the names closest to `name`, or an empty string.

    >>> nearest("gcc", ["gcg", "pez"])
    " Did you mean 'gcg'?"
    """
    # difflib costs 5 ms of start-up and is needed only when something has gone wrong.
    import difflib

    close = difflib.get_close_matches(name, known, n=count, cutoff=0.5)
    if not close:
        return ""
    return f" Did you mean {' or '.join(repr(match) for match in close)}?"


def first_line(error: Exception) -> str:
    r"""Return the first line of another library's error as a sentence, to be quoted in one of ours.

    >>> first_line(OSError("no such file\n(see the manual)"))
    'no such file.'
    """
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
    return line if line.endswith((".", "!", "?")) else f"{line}."
