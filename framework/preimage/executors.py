"""Where runs are carried out: here, in processes of this machine, or wherever a plugin's executor takes them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import connection as pipes
from typing import TYPE_CHECKING, Any

import attrs

from preimage._loading import one_line
from preimage.errors import OptionError, WorkerError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from preimage._catalogue import Catalogue
    from preimage.api import Executor

__all__ = ["InProcess", "Processes", "build_executor"]

ATTEMPTS = 5
"""How often work is given to a new process when the one it was given to dies."""

_FAREWELL = 5.0
"""Seconds in which a process that has no work any more may end by itself."""


def build_executor(reference: str, catalogue: Catalogue, *, workers: int | None = None) -> Executor:
    """Return an executor by its reference: ``here``, ``processes``, or that of a plugin, ``name`` or ``name:address``.

    Arguments:
        reference: for example ``"dask"`` or ``"dask:tcp://10.0.0.7:8786"``.
        catalogue: where plugins are looked up.
        workers: how many, where the executor starts them itself.

    Raises:
        OptionError: there cannot be so many workers, or not there.
        PreimageError: the executor is not there, or takes no such address.
    """
    if workers is not None and workers < 1:
        message = f"There cannot be {workers} workers: ask for 1 or more."
        raise OptionError(message)
    name, _, address = reference.partition(":")
    if name == "here":
        if workers not in (None, 1):
            message = (
                f"{workers} workers are asked for, and the executor 'here' is this process alone: name 'processes' "
                "instead, or leave out one of the two."
            )
            raise OptionError(message)
        return InProcess()
    if name == "processes":
        return Processes(workers or os.cpu_count() or 1)
    options: dict[str, Any] = {"address": address} if address else {}
    if workers is not None:
        options["workers"] = workers
    executor: Executor = catalogue.build("executor", name, **options)
    return executor


class InProcess:
    """Carries out work in this process, at once.

    >>> InProcess().submit(divmod, 7, 2).result()
    (3, 1)
    """

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Return a future that has ended already."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@attrs.frozen(eq=False)
class _Task:
    """Work that waits for a process."""

    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@attrs.define(eq=False)
class _Worker:
    """A process, the pipe to it, and whether it has work."""

    process: SpawnProcess
    pipe: pipes.Connection[Any, Any]
    busy: bool = False


class Processes:
    """Carries out work in processes of this machine, which keep what they have loaded.

    A process that dies is replaced and its work done again; work that has cost several their lives fails. They are
    spawned, not forked, because forking a process that has used torch is not safe: a script needs the usual
    ``if __name__ == "__main__":`` around what it does.

    Arguments:
        workers: how many processes.
        attempts: how many may die of the same work.
    """

    def __init__(self, workers: int, *, attempts: int = ATTEMPTS) -> None:
        self.workers = workers
        self._attempts = attempts
        self._context = multiprocessing.get_context("spawn")
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._alive: list[_Worker] = []
        self._lock = threading.Lock()
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Queue ``function(*arguments)`` for the next process that is free.

        `function` has to be found by its name in a new process, and the arguments have to be picklable.

        Raises:
            WorkerError: the executor was shut down.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                message = "The executor was shut down and takes no work any more: start another one."
                raise WorkerError(message)
            self._tasks.put(_Task(future, function, arguments))
        return future

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The processes that are running."""
        with self._lock:
            return tuple(worker.process.pid for worker in self._alive if worker.process.pid is not None)

    def shutdown(self) -> None:
        """End all processes, also those that are working; what waits is cancelled."""
        with self._lock:
            self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                task = self._tasks.get_nowait()
                if task is not None:
                    task.future.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        with self._lock:
            for worker in self._alive:
                if worker.busy:
                    worker.process.terminate()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        """Hand one task after the other to a process of this thread's own."""
        worker: _Worker | None = None
        while (task := self._tasks.get()) is not None:
            if task.future.set_running_or_notify_cancel():
                worker = self._carry_out(task, worker)
        self._end(worker)

    def _carry_out(self, task: _Task, worker: _Worker | None) -> _Worker | None:
        """Let a process do `task`, a new one where it dies; return the one that is left."""
        deaths: list[str] = []
        while len(deaths) < self._attempts and not self._closed:
            if worker is None or not worker.process.is_alive():
                self._end(worker)
                worker = self._spawn()
            with self._lock:
                if self._closed:
                    break
                worker.busy = True
            try:
                worker.pipe.send((task.function, task.arguments))
                good, value = worker.pipe.recv()
            except (EOFError, ConnectionError):
                deaths.append(_cause_of_death(worker))
                self._end(worker)
                worker = None
                continue
            except Exception as error:  # what cannot be pickled, on either side
                worker.busy = False
                task.future.set_exception(error)
                return worker
            worker.busy = False
            if good:
                task.future.set_result(value)
            else:
                task.future.set_exception(value)
            return worker
        if self._closed:
            message = "The work was dropped, because the executor was shut down."
        else:
            message = (
                f"{len(deaths)} processes died of the same work ({', '.join(dict.fromkeys(deaths))}): if memory is "
                "short, use fewer workers or smaller batches."
            )
        task.future.set_exception(WorkerError(message))
        return worker

    def _spawn(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs,), daemon=True)
        worker = _Worker(process, ours)
        with self._lock:
            process.start()
            self._alive.append(worker)
            if self._closed:
                process.terminate()
        # Only when nobody here holds the other end does its death end our waiting.
        theirs.close()
        return worker

    def _end(self, worker: _Worker | None) -> None:
        if worker is None:
            return
        # Without its pipe a process ends by itself, and tidies up what its libraries have left.
        worker.pipe.close()
        worker.process.join(_FAREWELL)
        worker.process.terminate()
        worker.process.join()
        with self._lock:
            self._alive.remove(worker)


def _cause_of_death(worker: _Worker) -> str:
    worker.process.join(timeout=10)
    code = worker.process.exitcode
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _work(pipe: pipes.Connection[Any, Any]) -> None:
    """Do what comes through the pipe, until it is closed; what a worker process runs."""
    # Ctrl-C reaches the whole group; the process that began the work decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        # Work may itself raise what a pipe raises when it is closed, even while it is unpickled.
        try:
            work = pipe.recv_bytes()
        except EOFError:
            return
        try:
            function, arguments = pickle.loads(work)
            answer = (True, function(*arguments))
        except Exception as error:
            answer = (False, _portable(error))
        try:
            pipe.send(answer)
        except Exception as error:  # a result that cannot be pickled
            reason = TypeError(f"What the work returned cannot be sent back ({error}): {answer[1]!r:.200}")
            pipe.send((False, reason))


def _portable(error: Exception) -> Exception:
    """Return an error that another process can read, with a note that says where it was raised.

    One whose class asks for other arguments than it passes on is written without complaint and cannot be read.
    """
    note = f"raised in a worker process:\n{traceback.format_exc()}"
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(one_line(error))
    error.add_note(note)
    return error


def _die_with_parent() -> None:
    """End this process at once when the one that started it is gone, even in the middle of its work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        pipes.wait([parent.sentinel])
        os._exit(1)
