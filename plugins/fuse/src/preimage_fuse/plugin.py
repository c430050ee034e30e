"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_adapters"]

_NEEDS = ("filelock", "numpy", "platformdirs", "safetensors", "torch")


@hookimpl
def provide_adapters() -> tuple[Component, ...]:
    """Return the records of FUSE and of its two baselines."""
    return (
        Component(
            name="fuse",
            target="preimage_fuse.fuse:Fuse",
            config="preimage_fuse.config:FuseConfig",
            api="1.0",
            summary="Words as tensors: a map for each pair of numbers of tokens, under the t-product.",
            traits=("space:text",),
            needs=_NEEDS,
            cite="arXiv:2408.04816",
        ),
        Component(
            name="linear",
            target="preimage_fuse.linear:Linear",
            config="preimage_fuse.config:LinearConfig",
            api="1.0",
            summary="One least-squares map between the mean embeddings of words.",
            traits=("space:text",),
            needs=_NEEDS,
            cite="arXiv:1309.4168",
        ),
        Component(
            name="shared-token",
            target="preimage_fuse.shared_token:SharedToken",
            config="preimage_fuse.config:SharedTokenConfig",
            api="1.0",
            summary="The identity on tokens that both models have, nothing for the others.",
            traits=("space:text",),
            needs=_NEEDS,
        ),
    )
