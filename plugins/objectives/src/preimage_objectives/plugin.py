"""What the plugin provides; imports no torch."""

from __future__ import annotations

from preimage.api.component import Component
from preimage.api.hooks import hookimpl

__all__ = ["provide_objectives"]


@hookimpl
def provide_objectives() -> tuple[Component, ...]:
    """Return the objectives."""
    return (
        Component(
            name="clip-similarity",
            target="preimage_objectives.similarity:ClipSimilarity",
            config="preimage_objectives.config:ClipSimilarityConfig",
            api="1.0",
            summary="One less the cosine between the prompt and pictures (or texts) in a CLIP's space.",
            traits=(
                "space:text",
                "offers:gradient",
                "role:image-text-encoder",
                "target:image",
                "target:text",
            ),
            needs=("torch", "PIL"),
            cite="arXiv:2103.00020",
        ),
        Component(
            name="text-similarity",
            target="preimage_objectives.similarity:TextSimilarity",
            config="preimage_objectives.config:TextSimilarityConfig",
            api="1.0",
            summary="One less the cosine between the prompt and texts in a text encoder's space.",
            traits=("space:text", "offers:gradient", "role:text-encoder", "target:text"),
            needs=("torch",),
        ),
        Component(
            name="fluency",
            target="preimage_objectives.likelihood:Fluency",
            config="preimage_objectives.config:FluencyConfig",
            api="1.0",
            summary="The mean negative log-likelihood of a text's tokens under a language model.",
            traits=("space:text", "offers:gradient", "offers:next-token", "role:language-model"),
            needs=("torch",),
        ),
        Component(
            name="target-likelihood",
            target="preimage_objectives.likelihood:TargetLikelihood",
            config="preimage_objectives.config:TargetLikelihoodConfig",
            api="1.0",
            summary="How unlikely a language model finds a given text behind the prompt.",
            traits=("space:text", "offers:gradient", "role:language-model", "target:text"),
            needs=("tokenizers", "torch"),
            cite="arXiv:2307.15043",
        ),
        Component(
            name="class-likelihood",
            target="preimage_objectives.classification:ClassLikelihood",
            config="preimage_objectives.config:ClassLikelihoodConfig",
            api="1.0",
            summary="The negative log-probability of a wanted class under a classifier of texts.",
            traits=("space:text", "offers:gradient", "role:classifier", "target:label"),
            needs=("torch",),
        ),
        Component(
            name="text-distance",
            target="preimage_objectives.distance:TextDistance",
            config="preimage_objectives.config:TextDistanceConfig",
            api="1.0",
            summary="How far a text is from a given one, under any distance between texts.",
            traits=("space:text", "offers:gradient", "role:text-encoder", "target:text"),
            needs=("torch",),
        ),
        Component(
            name="denoising",
            target="preimage_objectives.denoising:Denoising",
            config="preimage_objectives.config:DenoisingConfig",
            api="1.0",
            summary="How well a diffusion model tells the noise in pictures when it is told the prompt.",
            traits=("space:text", "offers:gradient", "role:denoiser", "target:image"),
            needs=("torch", "PIL"),
            cite="arXiv:2303.16203",
        ),
        Component(
            name="regeneration",
            target="preimage_objectives.regeneration:Regeneration",
            config="preimage_objectives.config:RegenerationConfig",
            api="1.0",
            summary="How like the target the pictures are that an image generator makes of the prompt.",
            traits=("space:text", "role:image-text-encoder", "target:image", "target:text"),
            needs=("torch", "PIL"),
        ),
    )
