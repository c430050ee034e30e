"""A study killed at random moments: SIGKILL to the main process, to a worker, to a Dask worker.

After the last kill it is left alone, and has to end with every record exactly once, equal to those of a study that
nothing happened to. Linux only, because children are found in ``/proc``::

    python benchmarks/study/kills.py --kills 10
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from preimage.study.store import FILE, Store

HERE = Path(__file__).parent
TARGETS = {"main": "processes", "worker": "processes", "dask worker": "dask"}
"""Who is killed, and the executor of the study meanwhile."""


def main() -> None:
    """Run the study undisturbed, then again with kills, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, default=Path("build/kills"))
    arguments = parser.parse_args()

    shutil.rmtree(arguments.folder, ignore_errors=True)
    calm, rough = arguments.folder / "calm", arguments.folder / "rough"
    command = [sys.executable, "-m", "preimage.cli", "compare", f"miniworld:held-out:{arguments.pictures}"]
    command += ["--recipes", str(HERE / "random-search.toml"), str(HERE / "gcg.toml"), "--seeds", "2"]
    command += ["--equalise", "candidates", "--budget", "2000", "--measure-generator", "none", "--quiet"]
    subprocess.run([*command, "--out", str(calm), "--workers", "2"], check=True)

    rng = random.Random(arguments.seed)
    for number, target in zip(range(arguments.kills), itertools.cycle(TARGETS)):
        disturb([*command, "--out", str(rough), "--workers", "2", "--executor", TARGETS[target]], target, rough, rng)
        print(f"kill {number + 1}: {target} after {count(rough)} records", flush=True)
    subprocess.run([*command, "--out", str(rough), "--workers", "2"], check=True)
    report(calm, rough)


def disturb(command: list[str], target: str, folder: Path, rng: random.Random) -> None:
    """Run the study until a random moment, kill the target, and end the study soon after, if it has not ended."""
    before = count(folder)
    with subprocess.Popen(command) as process:
        # Some kills come while models are loaded, before there is anything new, others in the middle of runs.
        wanted = before + rng.randrange(3)
        moment = time.monotonic() + rng.uniform(0, 3)
        while process.poll() is None and (count(folder) < wanted or time.monotonic() < moment):
            time.sleep(0.05)
        if target == "main":
            process.send_signal(signal.SIGKILL)
            return
        workers = [child for child in descendants(process.pid) if "spawn_main" in command_of(child)]
        if workers:
            os.kill(rng.choice(workers), signal.SIGKILL)
        # It goes on without the worker; a record later the next kill can come.
        enough = count(folder) + 1
        while process.poll() is None and count(folder) < enough:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)


def count(folder: Path) -> int:
    """Return how many records there are."""
    if not Store.exists(folder):
        return 0
    with Store.open(folder) as store:
        return len(store.done())


def descendants(process: int) -> Iterator[int]:
    """Yield the processes that `process` has started, and theirs."""
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield child
            yield from descendants(child)


def command_of(process: int) -> str:
    """Return the command line of a process, or nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def report(calm: Path, rough: Path) -> None:
    """Print whether the two studies agree, and leave with 1 if they do not."""
    with Store.open(calm) as first, Store.open(rough) as second:
        keys = list(first.spec.keys())
        ours, theirs = ([record.timeless() for record in store.records()] for store in (first, second))
    (rows,) = sqlite3.connect(rough / FILE).execute("SELECT COUNT(*) FROM records").fetchone()
    once = rows == len(keys) == len(theirs)
    print(f"{rows} rows for {len(keys)} runs: {'each exactly once' if once else 'NOT each exactly once'}")
    print(f"the records {'equal' if ours == theirs else 'DIFFER FROM'} those of the undisturbed study")
    if not (once and ours == theirs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
