"""What the commands cost before they do anything: CPU time over a bare interpreter.

::

    python benchmarks/startup.py [--rounds 21] [--output benchmarks/startup.md]

Every round starts each command once, in turn, so that a busy machine is busy for all of them alike; the table
shows medians. CPU time is user and system time of the process, which waiting for other programs does not lengthen.
The budgets are those that the project keeps: exit code 1 if one is exceeded.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

SCRIPT = "import sys; from preimage.cli import main; sys.exit(main(sys.argv[1:]))"

# Name, code, arguments, budget in ms over the first row.
ROWS: tuple[tuple[str, str, tuple[str, ...], float | None], ...] = (
    ("bare interpreter", "pass", (), None),
    ("import preimage", "import preimage", (), None),
    ("import preimage.api", "import preimage.api", (), None),
    ("preimage --version", SCRIPT, ("--version",), 120.0),
    ("preimage --help", SCRIPT, ("--help",), 120.0),
    ("preimage plugins", SCRIPT, ("plugins",), 200.0),
    ("preimage show gcg", SCRIPT, ("show", "gcg"), None),
)


def cpu_ms(code: str, arguments: tuple[str, ...]) -> float:
    """Return the CPU time of one process in milliseconds."""
    sink = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_WRONLY, 0) for descriptor in (1, 2)]
    command = [sys.executable, "-c", code, *arguments]
    process = os.posix_spawn(sys.executable, command, os.environ, file_actions=sink)
    _, _, usage = os.wait4(process, 0)
    return 1000 * (usage.ru_utime + usage.ru_stime)


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the CPU times of every row, of each round after a first that only fills the caches."""
    times: dict[str, list[float]] = {name: [] for name, *_ in ROWS}
    for turn in range(rounds + 1):
        for name, code, arguments, _ in ROWS:
            spent = cpu_ms(code, arguments)
            if turn:
                times[name].append(spent)
    return times


def table(times: dict[str, list[float]]) -> tuple[list[str], bool]:
    """Return the lines of a Markdown table and whether every budget is kept."""
    rounds = len(times["bare interpreter"])
    bare = statistics.median(times["bare interpreter"])
    lines = [
        f"CPU milliseconds, median of {rounds} interleaved rounds, Python {sys.version.split()[0]}.",
        "",
        "| command | total | over bare | budget |",
        "| --- | ---: | ---: | ---: |",
    ]
    kept = True
    for name, _, _, budget in ROWS:
        total = statistics.median(times[name])
        kept &= budget is None or total - bare < budget
        over = "" if name == "bare interpreter" else f"{total - bare:.0f}"
        lines.append(f"| {name} | {total:.0f} | {over} | {'' if budget is None else f'{budget:.0f}'} |")
    return lines, kept


def main() -> int:
    """Measure, print the table and check the budgets."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=21, help="how often each command is started")
    parser.add_argument("--output", type=Path, help="write the table to this file as well")
    arguments = parser.parse_args()
    lines, kept = table(measure(arguments.rounds))
    print("\n".join(lines))
    if arguments.output:
        arguments.output.write_text("\n".join(["# Start-up", "", *lines]) + "\n", encoding="utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
