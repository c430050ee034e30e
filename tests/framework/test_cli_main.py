"""The command line itself: what it says, where it says it, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import preimage
from preimage import cli, errors
from preimage.cli import main
from preimage.cli.table import aligned


@pytest.fixture
def failing(monkeypatch, tmp_path):
    """Install a command that raises what it is given, and return a way to run it."""
    (tmp_path / "failing_command.py").write_text(
        "def add_arguments(parser): parser.add_argument('--count', type=int)\ndef run(arguments): raise ERROR\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(cli.COMMANDS, "fail", ("failing_command", "Fails."))
    monkeypatch.delitem(sys.modules, "failing_command", raising=False)
    import failing_command

    def run(error, *arguments):
        failing_command.ERROR = error
        return main(["fail", *arguments])

    yield run
    sys.modules.pop("failing_command", None)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OptionError("no option 'x'."), 2),
        (errors.InputError("unreadable."), 2),
        (errors.BudgetError("empty."), 2),
        (errors.UnknownNameError("unknown."), 2),
        (errors.NonFiniteLossError("NaN."), 1),
        (errors.CapacityError("too large."), 1),
        (errors.PluginError("broken."), 3),
        (errors.MissingDependencyError("not installed."), 3),
    ],
)
def test_errors_on_purpose_are_one_sentence(failing, capsys, error, code):
    """On stderr, with an exit code that says whose fault it is."""
    assert failing(error) == code
    assert capsys.readouterr() == ("", f"preimage: {error}\n")


def test_every_error_has_an_exit_code(failing):
    """No class of ours ends as an unexpected error."""
    for name in set(errors.__all__) - {"first_line", "nearest"}:
        assert failing(getattr(errors, name)("x")) in (1, 2, 3)


def test_messages_of_several_lines_become_one(failing, capsys):
    """Whatever reads stderr line by line gets one."""
    failing(errors.InputError("first\n  second"))

    assert capsys.readouterr().err == "preimage: first second\n"


def test_unexpected_errors_point_to_the_traceback(failing, capsys):
    """One sentence with type, message and whose it is, and how to see more."""
    error = ZeroDivisionError("division by zero")
    error.add_note("raised while building optimizer 'x' of acme 1.0")

    assert failing(error) == 70
    assert capsys.readouterr().err == (
        "preimage: unexpected ZeroDivisionError: division by zero (raised while building optimizer 'x' of acme 1.0). "
        "Set PREIMAGE_DEBUG=1 to see where it comes from.\n"
    )


def test_debugging_shows_the_traceback(failing, capsys, monkeypatch):
    """Of errors on purpose, too."""
    monkeypatch.setenv("PREIMAGE_DEBUG", "1")

    assert failing(errors.InputError("unreadable.")) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert text.endswith("preimage: unreadable.\n")


def test_interrupt(failing, capsys):
    """Ctrl-C ends with 130 and without a traceback."""
    assert failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "preimage: interrupted.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plugin"], "there is no command 'plugin'. Did you mean 'plugins'"),
        (["miniwrld"], "The commands are "),
        (["--colour"], "unrecognized arguments: --colour. Run 'preimage --help'"),
        (["--version=3"], "ignored explicit argument"),
        (["plugins", "--jsn"], "unrecognized arguments: --jsn. Run 'preimage plugins --help'"),
        (["fail", "--count", "x"], "argument --count: invalid int value: 'x'."),
        (["show"], "the following arguments are required: [KIND] NAME."),
        (["show", "a", "b", "c"], "show takes a name, or a kind and a name, not 'a b c'."),
    ],
)
def test_usage_errors(failing, capsys, arguments, message):
    """One sentence with the nearest name or the way to the help; no usage text."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("preimage: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_help_and_version(capsys):
    """Without a command there is the help."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"preimage {preimage.__version__}\n"
    assert main([]) == 0
    text = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == text
    for name, (_, summary) in cli.COMMANDS.items():
        assert name in text
        assert summary in text


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_has_help(capsys, command):
    """Each module in the table can be imported and declares its options."""
    assert main([command, "--help"]) == 0
    assert f"usage: preimage {command}" in capsys.readouterr().out


COMMAND = """
def main(arguments):
    print("hello", *arguments)
    return 5
"""


def test_commands_of_plugins(site):
    """They are listed without being imported, and run with the rest of the line."""
    site.add("acme", COMMAND, entry_points="[preimage.commands]\ngreet = acme:main\n")
    site.add("broken-one", "1 / 0", entry_points="[preimage.commands]\nburn = broken_one:main\n")

    text = site.run("--help").stdout
    greeted = site.run("greet", "--loud", "you")
    burnt = site.run("burn")
    denied = site.run("greet", PREIMAGE_DENY="acme")

    assert "greet" in text
    assert "From acme 1.0." in text
    assert (greeted.returncode, greeted.stdout) == (5, "hello --loud you\n")
    assert burnt.returncode == 3
    assert "'burn' of broken-one 1.0 cannot be run" in burnt.stderr
    assert denied.returncode == 2


def test_two_plugins_with_one_command(site):
    """The qualified names are shown, and work."""
    site.add("acme", COMMAND, entry_points="[preimage.commands]\ngreet = acme:main\n")
    site.add("zeta", COMMAND, entry_points="[preimage.commands]\ngreet = zeta:main\n")

    both = site.run("greet")

    assert both.returncode == 2
    assert "run 'preimage acme/greet' or 'preimage zeta/greet'" in both.stderr
    assert site.run("zeta/greet").stdout == "hello\n"


def test_a_command_of_the_host_is_not_replaced(site):
    """A plugin cannot take a name that the host uses; the doctor says so."""
    site.add("acme", COMMAND, entry_points="[preimage.commands]\nplugins = acme:main\nbad = acme\n")

    assert "hello" not in site.run("plugins").stdout
    diagnosis = site.run("doctor", PREIMAGE_ALLOW="acme").stdout
    assert "the host has a command of this name" in diagnosis
    assert "a command is a function" in diagnosis


def test_help_survives_settings_that_cannot_be_read(site):
    """Everything else says what is wrong with them."""
    (site.cwd / "preimage.toml").write_text("[plugin]\n")

    assert site.run("--help").returncode == 0
    done = site.run("plugins")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'plugin', which is not a table of the settings. Did you mean 'plugins'?" in done.stderr
    diagnosis = site.run("doctor")
    assert diagnosis.returncode == 1
    assert "BAD   settings" in diagnosis.stdout


def test_closed_pipe(site):
    """`preimage … | head` is no error to report."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "preimage.cli", "plugins"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=site.cwd,
    )
    process.stdout.close()
    text = process.stderr.read()
    process.stderr.close()

    assert process.wait() == 141
    assert text == b""


def test_letters_that_the_terminal_has_no_code_for(site):
    """A prompt may hold any letter; printing it must not fail."""
    site.add("acme", "def main(arguments): print('\\u732b')", entry_points="[preimage.commands]\ncat = acme:main\n")

    done = site.run("cat", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stdout) == (0, "\\u732b\n")


def test_aligned_wraps_the_last_column():
    """Continued under the column's beginning, where a terminal is narrow."""
    lines = aligned([("a", "one two three four five six seven eight nine ten")], width=30)

    assert lines == ["a  one two three four five six", "   seven eight nine ten"]
