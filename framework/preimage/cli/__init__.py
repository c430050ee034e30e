"""The command line: ``preimage COMMAND …``.

A command is a module with ``add_arguments(parser)`` and ``run(arguments) -> int``; `COMMANDS` names it, and it is
imported when it is run. Commands of plugins are entry points of the group ``preimage.commands``
(``name = module:function``), read as text for the help and called as ``function(argv) -> int | None``.

Nothing here prints a traceback unless ``PREIMAGE_DEBUG=1`` is set. Exit codes:

===  ==========================================================
0    done
1    something failed while running, or a check did not pass
2    the command, an option or an input cannot be used
3    a plugin is broken, or something that it needs is missing
70   an unexpected error, which is ours or a plugin's
130  interrupted with Ctrl-C
141  whoever read the output closed it
===  ==========================================================
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from preimage import errors

if TYPE_CHECKING:
    from preimage.discovery import Entry

__all__ = ["COMMANDS", "Parser", "UsageError", "main", "named_value"]

COMMANDS: dict[str, tuple[str, str]] = {
    "invert": ("preimage.cli.invert", "Find the prompt that a picture is most like."),
    "compare": ("preimage.cli.compare", "Compare methods on many pictures at equal cost, and write a report."),
    "plugins": ("preimage.cli.plugins", "List the installed plugins, what they provide and how they fare."),
    "show": ("preimage.cli.show", "Describe one component: its options, what it needs, where it comes from."),
    "check": ("preimage.cli.check", "Test whether what a distribution provides keeps the contracts."),
    "doctor": ("preimage.cli.doctor", "Look for everything that may be wrong with this installation."),
    "new-plugin": ("preimage.cli.new_plugin", "Write a plugin of your own to start from; its tests pass already."),
}
"""Name to (module, summary), in the order of the help."""

_EXIT_CODES: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    ((errors.PluginError, errors.MissingDependencyError), 3),
    ((errors.NonFiniteLossError, errors.CapacityError, errors.StorageError, errors.WorkerError), 1),
    ((errors.PreimageError,), 2),
)


class UsageError(errors.PreimageError):
    """The command line itself is wrong."""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        text = message if message.endswith(".") else f"{message}."
        raise UsageError(f"{text} Run '{self.prog} --help' to see what it takes.")


def named_value(text: str, option: str, example: str) -> tuple[str, str]:
    """Return name and value of what was given to a repeatable option as ``name=value``.

    Raises:
        UsageError: it is not written so; the message shows the example.

    >>> named_value("steps=20", "-o", "guidance=5")
    ('steps', '20')
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        message = f"{option} {text} is not of the form name=value: write, for example, {option} {example}."
        raise UsageError(message)
    return name.strip(), value.strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    Arguments:
        argv: the arguments behind ``preimage``, those of the process unless given.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _survive_any_text()
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except SystemExit as leaving:  # argparse has printed a help text
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:
        _say("interrupted.")
        return 130
    except BrokenPipeError:
        # The interpreter flushes once more at its end and must find somewhere to write to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return _report(error)
    return code


def _survive_any_text() -> None:
    """Let prompts hold letters that the terminal has no code for."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _report(error: Exception) -> int:
    """Print one sentence about an exception and return the exit code."""
    if os.environ.get("PREIMAGE_DEBUG", "") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    text = " ".join(str(error).split())
    notes = "; ".join(getattr(error, "__notes__", ()))
    for classes, code in _EXIT_CODES:
        if isinstance(error, classes):
            _say(text)
            return code
    what = f"{type(error).__name__}: {text}".rstrip(": .") + (f" ({notes})" if notes else "")
    _say(f"unexpected {what}. Set PREIMAGE_DEBUG=1 to see where it comes from.")
    return 70


def _say(sentence: str) -> None:
    print(f"preimage: {sentence}", file=sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    if command is None or arguments[0] != command:
        parser = _parser()
        if not arguments:
            parser.print_help()
            return 0
        parser.parse_args(arguments)  # --help and --version end here, anything else raises
        message = f"the command is missing before {arguments[0]!r}. Run 'preimage --help' to see the commands."
        raise UsageError(message)
    rest = arguments[1:]
    if command in COMMANDS:
        return _run(command, rest)
    return _plugin_command(command)(rest) or 0


def _parser() -> Parser:
    from preimage import __version__

    parser = _TopLevel(
        prog="preimage",
        usage="preimage [--help] [--version] COMMAND ...",
        description="Finds the inputs behind outputs: the prompt that would make an image, and its kin.",
    )
    parser.add_argument("--version", action="version", version=f"preimage {__version__}")
    return parser


class _TopLevel(Parser):
    """The parser in front of the command; looks for commands of plugins only when the help is printed."""

    def format_help(self) -> str:
        return f"{super().format_help()}\n{_commands_help()}\n\nRun 'preimage COMMAND --help' for its options.\n"


def _commands_help() -> str:
    rows = [(name, summary) for name, (_, summary) in COMMANDS.items()]
    rows += [(entry.name, f"From {entry.distribution} {entry.version}.") for entry in _plugin_commands()]
    width = max(len(name) for name, _ in rows)
    return "commands:\n" + "\n".join(f"  {name:<{width}}  {summary}" for name, summary in rows)


def _run(command: str, rest: list[str]) -> int:
    from importlib import import_module

    module = import_module(COMMANDS[command][0])
    parser = Parser(prog=f"preimage {command}", description=COMMANDS[command][1])
    module.add_arguments(parser)
    code: int = module.run(parser.parse_args(rest))
    return code


def _plugin_commands() -> list[Entry]:
    """Return the commands of plugins that can be run; broken ones are the business of ``preimage doctor``."""
    from preimage.discovery import discover
    from preimage.settings import read_settings

    try:
        settings = read_settings()
    except errors.PreimageError:
        return []  # help must be had even when the settings are what is wrong
    return [
        entry
        for entry in discover().commands
        if not entry.problem
        and entry.name not in COMMANDS
        and settings.exclusion(entry.distribution, entry.name) is None
    ]


def _plugin_command(command: str) -> Callable[[list[str]], int | None]:
    """Import and return the function behind a plugin's command."""
    distribution, _, name = command.rpartition("/")
    entries = _plugin_commands()
    found = [e for e in entries if e.name == name and distribution in ("", e.distribution)]
    if not found:
        raise UsageError(_unknown_command(command, entries))
    if len(found) > 1:
        qualified = " or ".join(f"'preimage {entry.distribution}/{entry.name}'" for entry in found)
        message = f"{len(found)} plugins have a command {command!r}: run {qualified}."
        raise UsageError(message)
    entry = found[0]
    from importlib import import_module

    try:
        function = import_module(entry.module)
        for part in entry.attribute.split("."):
            function = getattr(function, part)
    except (Exception, SystemExit) as error:
        message = (
            f"the command {command!r} of {entry.distribution} {entry.version} cannot be run, because importing "
            f"{entry.module}:{entry.attribute} raised {type(error).__name__}: {error}."
        )
        raise errors.PluginError(message) from error
    return function  # type: ignore[return-value]


def _unknown_command(command: str, entries: list[Entry]) -> str:
    from preimage.first_party import extra_for

    names = [*COMMANDS, *(entry.name for entry in entries)]
    extra = extra_for("command", command)
    install = f' It comes with: pip install "preimage[{extra}]"' if extra else ""
    return (
        f"there is no command {command!r}.{errors.nearest(command, names)}{install} "
        f"The commands are {', '.join(names)}."
    )
