"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_distances", "provide_optimizers"]


@hookimpl
def provide_distances() -> tuple[Component, ...]:
    """Return the records of the distances between rows of features."""
    return (
        Component(
            name="joint",
            target="preimage_counterfactual.distances.joint:Joint",
            config="preimage_counterfactual.distances.config:JointConfig",
            api="1.0",
            summary="A row and its counterfactual as one draw from a joint law: near, plausible, columns in step.",
            traits=("domain:features",),
            needs=("torch", "sklearn"),
            cite="arXiv:2410.14522",
        ),
        Component(
            name="joint-latent",
            target="preimage_counterfactual.distances.joint_latent:JointLatent",
            config="preimage_counterfactual.distances.config:JointLatentConfig",
            api="1.0",
            summary="The joint law on the codes of an encoder: a flow or VAE that it fits, or your own.",
            traits=("domain:features",),
            needs=("torch", "sklearn"),
            cite="arXiv:2410.14522",
        ),
        Component(
            name="mahalanobis",
            target="preimage_counterfactual.distances.mahalanobis:Mahalanobis",
            config="preimage_counterfactual.distances.config:MahalanobisConfig",
            api="1.0",
            summary="The length of the step in whitened columns, so that columns may move together.",
            traits=("domain:features",),
            needs=("torch", "sklearn"),
        ),
        Component(
            name="gower",
            target="preimage_counterfactual.distances.gower:Gower",
            config="preimage_counterfactual.distances.config:GowerConfig",
            api="1.0",
            summary="The mean difference of mixed columns as shares of their ranges.",
            traits=("domain:features",),
            needs=("torch",),
        ),
        Component(
            name="mad-l1",
            target="preimage_counterfactual.distances.mad:MADL1",
            config="preimage_counterfactual.distances.config:MADConfig",
            api="1.0",
            summary="Absolute differences in units of each column's median absolute deviation.",
            traits=("domain:features",),
            needs=("torch", "sklearn"),
            cite="arXiv:1711.00399",
        ),
        Component(
            name="l2",
            target="preimage_counterfactual.distances.l2:L2",
            config="preimage_counterfactual.distances.config:L2Config",
            api="1.0",
            summary="The Euclidean distance of encoded rows.",
            traits=("domain:features",),
            needs=("torch",),
        ),
        Component(
            name="l1",
            target="preimage_counterfactual.distances.l1:L1",
            config="preimage_counterfactual.distances.config:L1Config",
            api="1.0",
            summary="The sum of absolute differences of encoded rows.",
            traits=("domain:features",),
            needs=("torch",),
        ),
        Component(
            name="l0",
            target="preimage_counterfactual.distances.l0:L0",
            config="preimage_counterfactual.distances.config:L0Config",
            api="1.0",
            summary="The number of columns that change.",
            traits=("domain:features",),
            needs=("torch",),
        ),
    )


@hookimpl
def provide_optimizers() -> tuple[Component, ...]:
    """Return the records of the searches for counterfactual rows."""
    return (
        Component(
            name="counterfactual-gradient",
            target="preimage_counterfactual.optimizers.gradient:Gradient",
            config="preimage_counterfactual.config:GradientConfig",
            api="1.0",
            summary="By gradients along the boundary to where it is nearest: torch, perceptrons, linear models.",
            traits=("space:features", "requires:gradient"),
            needs=("torch",),
        ),
        Component(
            name="counterfactual-linear",
            target="preimage_counterfactual.optimizers.linear:Linear",
            config="preimage_counterfactual.config:LinearConfig",
            api="1.0",
            summary="The closed form for linear models under quadratic distances, with bounds by an active set.",
            traits=("space:features", "requires:gradient"),
            needs=("torch",),
        ),
        Component(
            name="counterfactual-blackbox",
            target="preimage_counterfactual.optimizers.blackbox:BlackBox",
            config="preimage_counterfactual.config:BlackBoxConfig",
            api="1.0",
            summary="Rows that exist, pulled back to the query and thinned, for any model; best first for few changes.",
            traits=("space:features",),
            needs=("torch",),
        ),
        Component(
            name="counterfactual-evolution",
            target="preimage_counterfactual.optimizers.evolution:Evolution",
            config="preimage_counterfactual.config:EvolutionConfig",
            api="1.0",
            summary="Populations of rows that cross and mutate, for any model and any distance.",
            traits=("space:features",),
            needs=("torch",),
        ),
        Component(
            name="counterfactual-draw",
            target="preimage_counterfactual.optimizers.draw:Draw",
            config="preimage_counterfactual.config:DrawConfig",
            api="1.0",
            summary="Draws from the joint law until one is decided as wanted: answers that look like real rows.",
            traits=("space:features",),
            needs=("torch",),
        ),
        Component(
            name="word-edits",
            target="preimage_counterfactual.texts.word_edits:WordEdits",
            config="preimage_counterfactual.texts.config:WordEditsConfig",
            api="1.0",
            summary="Replaces, drops and puts in whole words of a text, one more with each step; needs no gradient.",
            traits=("space:text", "start:required"),
            needs=("torch",),
            cite="arXiv:1907.11932",
        ),
    )
