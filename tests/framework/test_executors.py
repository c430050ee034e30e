"""Where work is carried out, and what becomes of it when a process dies."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from preimage import Catalogue
from preimage.errors import OptionError, UnknownNameError, WorkerError
from preimage.executors import InProcess, Processes, build_executor
from preimage.settings import Settings
from preimage.testing import check_executor

# Work is found by its name in a new process, which a module of tests cannot be: hence functions of Python itself.


@pytest.fixture
def two():
    executor = Processes(2)
    yield executor
    executor.shutdown()


@pytest.mark.parametrize("build", [InProcess, lambda: Processes(2, attempts=2)], ids=["here", "processes"])
def test_executors_keep_their_contract(build):
    """The same checks as for those of plugins."""
    check_executor(build)


def test_processes_are_kept(two):
    """What a process has loaded serves the next work, too."""
    assert len({two.submit(os.getpid).result() for _ in range(6)}) <= 2


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_process_that_is_killed_is_replaced_and_its_work_done_again(busy):
    """Whoever waits for the work notices nothing."""
    executor = Processes(1)
    first = executor.submit(os.getpid).result()
    waiting = executor.submit(time.sleep, 0.5) if busy else None
    time.sleep(0.1)
    os.kill(first, signal.SIGKILL)

    second = executor.submit(os.getpid).result()
    executor.shutdown()

    assert second != first
    assert waiting is None or waiting.result() is None


def test_work_that_kills_is_given_up(two):
    """Otherwise it would be tried for ever; other work goes on."""
    deadly = two.submit(os._exit, 3)
    other = two.submit(divmod, 7, 2)

    assert other.result() == (3, 1)
    with pytest.raises(WorkerError, match=r"5 processes died of the same work \(exit code 3\)"):
        deadly.result()


def test_what_cannot_be_sent_is_said(two):
    """In both directions; the processes go on."""
    with pytest.raises(Exception, match="pickle"):
        two.submit(lambda: None).result()
    with pytest.raises(TypeError, match="cannot be sent back"):
        two.submit(threading.Lock).result()
    assert two.submit(divmod, 7, 2).result() == (3, 1)


def test_an_error_tells_where_it_comes_from(two):
    """The traceback of the other process is a note on the error."""
    with pytest.raises(ValueError, match="invalid literal") as caught:
        two.submit(int, "x").result()
    assert "raised in a worker process:\nTraceback" in caught.value.__notes__[0]


def test_work_may_raise_what_a_closed_pipe_raises(two):
    """A file that ends early is its own error, and costs no process its life."""
    before = two.submit(os.getpid).result()
    with pytest.raises(EOFError, match="the weights end early"):
        two.submit(exec, "raise EOFError('the weights end early')").result()
    assert before in two.process_ids


def test_an_error_that_cannot_be_read_again_arrives_as_its_text(tmp_path, monkeypatch):
    """Its class asks for other arguments than it hands on."""
    source = (
        "class Odd(Exception):\n    def __init__(self, place, cause):\n        super().__init__(f'{place}: {cause}')\n"
        "\ndef fail():\n    raise Odd('line 3', 'no number')\n"
    )
    (tmp_path / "odd_work.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    executor = Processes(1)
    try:
        with pytest.raises(RuntimeError, match="Odd: line 3: no number") as caught:
            executor.submit(importlib.import_module("odd_work").fail).result()
    finally:
        executor.shutdown()
    assert "in fail" in caught.value.__notes__[0]


def test_work_after_the_end_is_refused():
    """Nobody would ever do it, and whoever waited would wait for ever."""
    executor = Processes(1)
    executor.shutdown()
    with pytest.raises(WorkerError, match="was shut down and takes no work any more"):
        executor.submit(os.getpid)


def test_shutting_down_ends_what_is_under_way():
    """Nobody waits for work that nobody wants."""
    executor = Processes(1)
    running, waiting = executor.submit(time.sleep, 60), executor.submit(time.sleep, 60)
    while not executor.process_ids:
        time.sleep(0.01)
    (process,) = executor.process_ids
    started = time.monotonic()
    executor.shutdown()

    assert time.monotonic() - started < 10
    assert waiting.cancelled()
    with pytest.raises(WorkerError, match="shut down"):
        running.result()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_processes_do_not_outlive_the_one_that_started_them():
    """Not even in the middle of their work, and not even if it was killed."""
    script = (
        "import time\n"
        "from preimage.executors import Processes\n"
        "if __name__ == '__main__':\n"
        "    executor = Processes(1)\n"
        "    executor.submit(time.sleep, 0).result()\n"
        "    executor.submit(time.sleep, 60)\n"
        "    print(*executor.process_ids, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    for _ in range(500):
        if not _alive(child):
            break
        time.sleep(0.02)
    assert not _alive(child)


def test_processes_tidy_up_before_they_end():
    """A lock of a progress bar is no leak that Python complains of when the program ends."""
    script = (
        "from preimage.executors import Processes\n"
        "if __name__ == '__main__':\n"
        "    executor = Processes(1)\n"
        "    executor.submit(eval, '__import__(\"tqdm\").tqdm.get_lock() and None').result()\n"
        "    executor.shutdown()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stderr == ""


def _alive(process):
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            # Whoever adopts orphans may be slow to bury them.
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_executors_are_found_by_name():
    """The host's own, and those of plugins with what the reference says."""
    catalogue = Catalogue(Settings(), path=())

    assert isinstance(build_executor("here", catalogue), InProcess)
    processes = build_executor("processes", catalogue, workers=3)
    assert processes.workers == 3
    processes.shutdown()
    with pytest.raises(UnknownNameError, match="There is no executor 'dask'.*preimage\\[dask\\]"):
        build_executor("dask:tcp://localhost:1", catalogue)
    with pytest.raises(OptionError, match="There cannot be 0 workers"):
        build_executor("processes", catalogue, workers=0)
    with pytest.raises(OptionError, match="2 workers are asked for, and the executor 'here' is this process alone"):
        build_executor("here", catalogue, workers=2)
    assert isinstance(build_executor("here", catalogue, workers=1), InProcess)
