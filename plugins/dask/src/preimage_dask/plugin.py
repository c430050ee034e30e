"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_executors"]


@hookimpl
def provide_executors() -> tuple[Component, ...]:
    """Return the record of the executor."""
    return (
        Component(
            name="dask",
            target="preimage_dask.executor:DaskExecutor",
            config="preimage_dask.config:DaskConfig",
            api="1.0",
            summary="A Dask cluster: one of this machine, or a running one (dask:tcp://host:8786).",
            needs=("dask", "distributed"),
        ),
    )
