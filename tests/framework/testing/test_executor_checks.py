"""Each check of executors passes for sound ones and catches the one that breaks its rule."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from preimage.testing import check_executor
from preimage.testing.check import report_on
from preimage.testing.executor import CHECKS, ExecutorSubject

BROKEN = {}


def breaks(check_id):
    """Register an executor as the one that the check `check_id` is there for."""

    def register(executor):
        BROKEN[check_id] = executor
        return executor

    return register


class Here:
    """Does the work at once."""

    def submit(self, function, /, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@breaks("follows-the-protocol")
class CannotCancel(Here):
    class Ticket:
        def __init__(self, future):
            self.result, self.done = future.result, future.done

    def submit(self, function, /, *arguments):
        return self.Ticket(super().submit(function, *arguments))


@breaks("order-does-not-matter")
class HandsOutTheLatest(Here):
    def submit(self, function, /, *arguments):
        future = super().submit(function, *arguments)
        if future.exception() is None:
            future.result = lambda: self.latest
            self.latest = Future.result(future)
        return future


@breaks("errors-arrive")
class SwallowsErrors(Here):
    def submit(self, function, /, *arguments):
        future = super().submit(function, *arguments)
        if future.exception():
            future = Future()
            future.set_result(None)
        return future


@breaks("the-death-of-a-worker-is-noticed")
class WaitsForEver(Here):
    def submit(self, function, /, *arguments):
        if function.__name__ == "_die":
            return Future()
        if function.__name__ == "_process":
            return super().submit(lambda: os.getpid() + 1)
        return super().submit(function, *arguments)


def processes():
    """Return a pool of one process, forked from a clean server."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def test_sound_executors_pass():
    """Nothing is found wrong with work done here, in threads, and in processes."""
    assert check_executor(Here).ok
    assert check_executor(lambda: ThreadPoolExecutor(4)).ok
    report = check_executor(processes)
    assert {outcome.status for outcome in report.outcomes} == {"passed"}


def test_every_check_has_a_broken_executor():
    """No check is registered without an executor that it catches."""
    assert set(BROKEN) == set(CHECKS.ids())


@pytest.mark.parametrize("check_id", CHECKS.ids())
def test_catches(check_id):
    """A broken executor fails the check of the rule that it breaks, and no other."""
    subject = ExecutorSubject("it", BROKEN[check_id], patience=0.3)
    report = report_on("it", [(CHECKS, subject)])
    assert [outcome.check.id for outcome in report.failures] == [check_id], report.to_text(only_failures=True)
