"""Class labels of a scene, for the classifiers that help the towers to learn.

Objects are labelled by where they stand, left or upper one first, so that pictures and texts
have the same labels whatever the order in which a caption names the objects.
"""

from preimage_miniworld.scene import (
    BACKGROUNDS,
    COLOURS,
    MOODS,
    RELATIONS,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
)

__all__ = ["CLASSES", "labels_of"]

# For each label the number of classes; the second object has one more, for its absence.
CLASSES = (
    len(COLOURS), len(SHAPES), len(TEXTURES), len(SIZES), len(MOODS),
    len(COLOURS) + 1, len(SHAPES) + 1, len(TEXTURES) + 1, len(SIZES) + 1, len(MOODS),
    3, len(BACKGROUNDS),
)  # fmt: skip


def labels_of(scene: Scene) -> tuple[int, ...]:
    """Give one class number for each entry of ``CLASSES``."""
    moods = [MOODS.index(scene.mood), 0]
    entries = list(scene.objects)
    if scene.relation in ("right of", "below"):
        entries.reverse()
        moods.reverse()
    found: list[int] = []
    for entry, mood in zip(entries, moods, strict=False):
        found += [COLOURS.index(entry.colour), SHAPES.index(entry.shape)]
        found += [TEXTURES.index(entry.texture), SIZES.index(entry.size), mood]
    if len(entries) == 1:
        found += [len(COLOURS), len(SHAPES), len(TEXTURES), len(SIZES), 0]
    axis = 0 if scene.relation is None else 1 + RELATIONS.index(scene.relation) // 2
    return (*found, axis, BACKGROUNDS.index(scene.background))
