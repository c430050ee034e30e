"""Running clusters, and what keeps one from being used."""

from __future__ import annotations

import importlib.metadata
import os

import dask
import distributed
import pytest

from preimage import catalogue
from preimage.errors import InputError, OptionError, WorkerError
from preimage.executors import build_executor
from preimage_dask import DaskConfig, DaskExecutor


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def local():
    """An executor with a cluster of this machine, which gives work up at once."""
    executor = DaskExecutor(DaskConfig(workers=1, attempts=1))
    yield executor
    executor.shutdown()


def test_a_running_cluster_is_used_and_left_running(cluster):
    """Its workers do the work, also for whoever comes next."""
    workers = set()
    for _ in range(2):
        executor = build_executor(f"dask:{cluster.scheduler_address}", catalogue())
        workers.add(executor.submit(os.getpid).result())
        assert set(executor.process_ids) == workers
        executor.shutdown()

    assert os.getpid() not in workers


def test_workers_with_another_preimage_are_refused(cluster, monkeypatch):
    """Otherwise every run would fail, or find something else."""
    here = os.getpid()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99" if os.getpid() == here else "0.1")
    with pytest.raises(InputError, match=r"have Preimage 0.1, and this is 99: install the same version"):
        DaskExecutor(DaskConfig(address=cluster.scheduler_address))


def test_nobody_answers():
    """The message says where."""
    with pytest.raises(InputError, match=r"No Dask scheduler answers at tcp://127.0.0.1:9 within 0.5 s"):
        DaskExecutor(DaskConfig(address="tcp://127.0.0.1:9", timeout=0.5))


def test_a_running_cluster_has_its_own_workers():
    """Asking for more is a misunderstanding."""
    with pytest.raises(OptionError, match="has workers of its own: leave out one of the two"):
        build_executor("dask:tcp://10.0.0.7:8786", catalogue(), workers=3)


def test_workers_of_this_machine_are_not_profiled(local):
    """The profiler of Dask costs a third of the time in which a worker is started; no one reads what it finds."""
    assert local.submit(dask.config.get, "distributed.worker.profile.enabled").result() is False


def test_work_that_kills_is_given_up(local):
    """With the error that a study writes into the record."""
    with pytest.raises(WorkerError, match="Dask workers died of the same work"):
        local.submit(os._exit, 3).result()
