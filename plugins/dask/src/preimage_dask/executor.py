"""An executor over `distributed`: the scheduler hands work to free workers, and again where a worker dies of it."""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Callable
from typing import Any

import attrs
import dask
import distributed

from preimage.errors import InputError, WorkerError
from preimage_dask.config import DaskConfig

__all__ = ["DaskExecutor", "DaskFuture"]


@attrs.frozen(eq=False)
class DaskFuture:
    """Work that a cluster has been given."""

    future: distributed.Future[Any]

    def result(self) -> Any:
        """Wait for the work and return its value, or raise its error.

        Raises:
            WorkerError: as many workers died of it as may.
        """
        try:
            return self.future.result()
        except distributed.scheduler.KilledWorker as error:
            message = (
                f"Dask workers died of the same work until it was given up ({' '.join(str(error).split())[:200]}): if "
                "memory is short, use fewer workers or smaller batches."
            )
            raise WorkerError(message) from error

    def done(self) -> bool:
        """Tell whether the work has ended."""
        return bool(self.future.done())

    def cancel(self) -> bool:
        """Let go of the work; what a worker is doing already, it finishes."""
        self.future.cancel()
        return bool(self.future.cancelled())


class DaskExecutor:
    """Hands work to a Dask cluster: a running one, or one of this machine that lives as long as the executor.

    The functions are found by their names in the workers, which therefore need the same plugins as this process, and
    the files that work reads by the same paths.

    Arguments:
        config: which cluster.

    Raises:
        InputError: no scheduler answers, or its workers have no Preimage or another one.
    """

    def __init__(self, config: DaskConfig) -> None:
        self.config = config
        self._cluster: distributed.LocalCluster | None = None
        if config.address is None:
            self._cluster = _local_cluster(config)
        address = self._cluster or config.address
        try:
            self.client = distributed.Client(address, timeout=config.timeout, set_as_default=False)
        except (OSError, ValueError) as error:
            message = (
                f"No Dask scheduler answers at {config.address} within {config.timeout:g} s ({error}): check the "
                "address, and that the scheduler is running."
            )
            raise InputError(message) from error
        if self._cluster is None:
            self._compare_versions()

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The processes of the workers."""
        # One that is just dying does not answer.
        return tuple(self.client.run(os.getpid, on_error="ignore").values())

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> DaskFuture:
        """Give ``function(*arguments)`` to the cluster."""
        # Not pure: the same work twice is done twice, and no result is taken from an earlier study.
        return DaskFuture(self.client.submit(function, *arguments, pure=False))

    def shutdown(self) -> None:
        """Let go of the cluster; one of this machine ends."""
        self.client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _compare_versions(self) -> None:
        """Raise now for what would otherwise fail in every run."""
        here = importlib.metadata.version("preimage")
        try:
            found = self.client.run(importlib.metadata.version, "preimage")
        except importlib.metadata.PackageNotFoundError as error:
            self.shutdown()
            message = (
                f"The Dask workers at {self.config.address} have no Preimage: install it there, with the same plugins "
                "as here."
            )
            raise InputError(message) from error
        others = sorted({version for version in found.values() if version != here})
        if others:
            self.shutdown()
            message = (
                f"The Dask workers at {self.config.address} have Preimage {' and '.join(others)}, and this is {here}: "
                "install the same version everywhere."
            )
            raise InputError(message)


def _local_cluster(config: DaskConfig) -> distributed.LocalCluster:
    # One thread a worker, as torch has one number of threads for the whole process. The scheduler insists on a port for
    # its dashboard: any that is free, and for this machine only. Nobody looks there for a profile, and taking one
    # makes importing torch and loading a model half as slow again.
    settings = {
        "distributed.scheduler.allowed-failures": config.attempts - 1,
        "distributed.worker.profile.enabled": False,
    }
    with dask.config.set(settings):
        return distributed.LocalCluster(
            n_workers=config.workers or os.cpu_count() or 1,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
