"""What the plugin provides; imports no torch."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_distances"]


@hookimpl
def provide_distances() -> tuple[Component, ...]:
    """Return the records of the distances."""
    return (
        Component(
            name="token-f1",
            target="preimage_distances.words:TokenF1",
            config="preimage_distances.config:WordsConfig",
            api="1.0",
            summary="One less the F1 of the words that two texts share.",
            traits=("domain:text", "complement:token F1"),
            needs=("torch", "rapidfuzz"),
        ),
        Component(
            name="exact-match",
            target="preimage_distances.words:ExactMatch",
            config="preimage_distances.config:WordsConfig",
            api="1.0",
            summary="Whether two texts have the same words in the same order.",
            traits=("domain:text", "complement:exact match"),
            needs=("torch", "rapidfuzz"),
        ),
        Component(
            name="edit-distance",
            target="preimage_distances.words:EditDistance",
            config="preimage_distances.config:EditDistanceConfig",
            api="1.0",
            summary="How many words (or characters) have to be edited between two texts.",
            traits=("domain:text",),
            needs=("torch", "rapidfuzz"),
        ),
        Component(
            name="text-similarity",
            target="preimage_distances.vectors:TextSimilarity",
            config="preimage_distances.config:TextSimilarityConfig",
            api="1.0",
            summary="One less the cosine between two texts in a text encoder's space.",
            traits=("domain:text", "role:text-encoder", "complement:text similarity"),
            needs=("torch",),
        ),
        Component(
            name="ssim",
            target="preimage_distances.pixels:StructuralSimilarity",
            config="preimage_distances.config:StructuralSimilarityConfig",
            api="1.0",
            summary="One less the structural similarity of two pictures.",
            traits=("domain:image", "complement:SSIM"),
            needs=("torch", "PIL", "skimage"),
            cite="doi:10.1109/TIP.2003.819861",
        ),
        Component(
            name="mean-squared-error",
            target="preimage_distances.pixels:MeanSquaredError",
            config="preimage_distances.config:MeanSquaredErrorConfig",
            api="1.0",
            summary="The mean squared difference of two pictures' pixels.",
            traits=("domain:image",),
            needs=("torch", "PIL", "skimage"),
        ),
        Component(
            name="image-similarity",
            target="preimage_distances.vectors:ImageSimilarity",
            config="preimage_distances.config:ImageSimilarityConfig",
            api="1.0",
            summary="One less the cosine between two pictures in an image encoder's space.",
            traits=("domain:image", "role:image-text-encoder", "complement:image similarity"),
            needs=("torch",),
        ),
        Component(
            name="kid",
            target="preimage_distances.kernel:KernelDistance",
            config="preimage_distances.config:KernelDistanceConfig",
            api="1.0",
            summary="KID: the kernel distance of sets of pictures, unbiased and with a standard error.",
            traits=("domain:image-set", "role:image-text-encoder"),
            needs=("torch",),
            cite="arXiv:1801.01401",
        ),
        Component(
            name="fid",
            target="preimage_distances.frechet:FrechetDistance",
            config="preimage_distances.config:FrechetDistanceConfig",
            api="1.0",
            summary="FID: the Fréchet distance of sets of pictures; wants thousands of them.",
            traits=("domain:image-set", "role:image-text-encoder"),
            needs=("torch",),
            cite="arXiv:1706.08500",
        ),
    )
