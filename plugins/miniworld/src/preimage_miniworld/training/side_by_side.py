"""Carries out jobs that need each other, as many at a time as there are workers."""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from preimage.executors import Processes

__all__ = ["carry_out"]


def carry_out(
    needs: Mapping[str, tuple[str, ...]], workers: int, function: Callable[..., Any], *arguments: Any
) -> None:
    """Call ``function(name, *arguments)`` for each name in a process, once all that it needs is done.

    A process that dies is replaced and its job begun again, so that what keeps checkpoints goes on. The first error
    ends the other jobs, too, as does Ctrl-C.

    Args:
        needs: The names, the most urgent first, and what each needs.
        workers: How many jobs at a time.
        function: Found by its name in a new process; the arguments must be picklable.
        *arguments: What each call gets besides the name.
    """
    executor = Processes(workers)
    waiting, done = dict(needs), set[str]()
    running: dict[Future[Any], str] = {}
    try:
        while waiting or running:
            ready = [name for name, needed in waiting.items() if done.issuperset(needed)]
            for name in ready[: workers - len(running)]:
                del waiting[name]
                running[executor.submit(function, name, *arguments)] = name
            if not running:
                message = f"Nothing can be begun: {', '.join(waiting)} need each other, or something unknown."
                raise ValueError(message)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                future.result()
                done.add(name)
    finally:
        executor.shutdown()
