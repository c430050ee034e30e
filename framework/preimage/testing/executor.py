"""The checks of executors: whatever happens to the work, whoever waits for it hears of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from preimage._loading import missing_members
from preimage.api import Executor, SupportsResult
from preimage.testing.check import CheckList, NotApplicable, Report, Violation, report_given

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue

__all__ = ["CHECKS", "ExecutorSubject", "check_executor"]

CHECKS = CheckList("executor")


@attrs.frozen(eq=False)
class ExecutorSubject:
    """What the checks look at.

    Attributes:
        name: for people.
        build: returns a new executor.
        patience: how many seconds any work may take.
    """

    name: str
    build: Callable[[], Any]
    patience: float = 60.0

    @contextmanager
    def running(self) -> Iterator[Any]:
        """Build an executor and shut it down in the end, where it can be."""
        executor = self.build()
        try:
            yield executor
        finally:
            shutdown = getattr(executor, "shutdown", None)
            if callable(shutdown):
                shutdown()

    def result(self, future: Any) -> Any:
        """Wait for a future and return its result, or raise its error.

        Raises:
            Violation: it does not end in time.
        """
        end = time.monotonic() + self.patience
        while not future.done():
            if time.monotonic() > end:
                raise Violation(f"After {self.patience:g} s the work is still not done.")
            time.sleep(0.005)
        return future.result()


def check_executor(
    executor: str | Callable[[], Any],
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    strict: bool = True,
    catalogue: Catalogue | None = None,
) -> Report:
    """Check an executor; one that is given by name is checked as a component, too.

    Arguments:
        executor: its name in the catalogue, or a function that returns a new one.
        options: its options, where it is given by name.
        expected_failures: check id to the reason why it may fail.
        strict: raise where a required check fails, instead of only reporting it.
        catalogue: where the name is looked up; the installed plugins without it.

    Raises:
        ConformanceError: a required check failed.
        UnknownNameError: the catalogue has no such executor.
    """
    return report_given(
        "executor",
        executor,
        CHECKS,
        ExecutorSubject,
        options=options,
        expected_failures=expected_failures,
        strict=strict,
        catalogue=catalogue,
    )


def subject_of(name: str, options: Mapping[str, Any], catalogue: Catalogue) -> ExecutorSubject:
    """Return what the checks look at, for an executor of the catalogue."""
    return ExecutorSubject(
        str(catalogue.describe("executor", name)), lambda: catalogue.build("executor", name, **options)
    )


# Work has to be found by name in other processes, so it stands at the top of the module.


def _slow_square(number: int) -> int:
    # The first to begin are the last to end, so that order of completion is not order of submission.
    time.sleep(0.02 * (8 - number) / 8)
    return number * number


def _fail(text: str) -> None:
    raise KeyError(text)


def _process() -> int:
    return os.getpid()


def _die() -> None:
    os._exit(3)


@CHECKS.required(remedy="Return from submit what has result, done and cancel; see preimage.api.Executor.")
def _follows_the_protocol(subject: ExecutorSubject) -> None:
    """It has submit, and what submit returns has result, done and cancel."""
    with subject.running() as executor:
        for built, protocol in ((executor, Executor), (executor.submit(_slow_square, 1), SupportsResult)):
            missing = missing_members(built, protocol)
            if missing:
                raise Violation(f"{type(built).__name__} has no {' and no '.join(missing)}.")


@CHECKS.required(remedy="Tie each result to its own future.")
def _order_does_not_matter(subject: ExecutorSubject) -> None:
    """Each future has its own result, whichever ends first and whichever is asked first."""
    with subject.running() as executor:
        futures = [executor.submit(_slow_square, number) for number in range(8)]
        results = [subject.result(future) for future in reversed(futures)][::-1]
        if results != [number * number for number in range(8)]:
            raise Violation(f"The squares of 0 to 7 come back as {results}.")


@CHECKS.required(remedy="Raise from result what the work raised, and go on.")
def _errors_arrive(subject: ExecutorSubject) -> None:
    """What work raises is raised by result, with type and message, and the executor goes on."""
    with subject.running() as executor:
        try:
            value = subject.result(executor.submit(_fail, "the reason"))
        except KeyError as error:
            if "the reason" not in str(error):
                raise Violation(f"KeyError('the reason') arrives as {error!r}.") from error
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"KeyError('the reason') arrives as {error!r}.") from error
        else:
            raise Violation(f"Work that raised KeyError('the reason') has the result {value!r}.")
        if subject.result(executor.submit(_slow_square, 7)) != 49:
            raise Violation("After an error it does not work any more.")


@CHECKS.required(remedy="Watch the workers, and raise from result when one has died.")
def _the_death_of_a_worker_is_noticed(subject: ExecutorSubject) -> None:
    """Where a worker dies, result raises in time instead of waiting for ever."""
    with subject.running() as executor:
        if subject.result(executor.submit(_process)) == os.getpid():
            raise NotApplicable("It works in this process.")
        try:
            value = subject.result(executor.submit(_die))
        except Violation:
            raise
        except Exception:
            return
        raise Violation(f"Work whose process died has the result {value!r}.")
