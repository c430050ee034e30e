"""How far the pictures that a method makes are, all together, from the targets: KID, FID and their kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from preimage.image import load_image
from preimage.study.measures import as_options, distances_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from preimage._catalogue import Catalogue
    from preimage.study.store import Store

__all__ = ["SetDistance", "set_distances"]

FEW = 2048
"""With fewer pictures than this a Fréchet distance is much too large."""


@attrs.frozen
class SetDistance:
    """One method's pictures against the targets."""

    name: str
    """Of the distance."""
    recipe: str
    value: float
    standard_error: float | None
    """By leaving out one target with all that was made for it at a time; None where the distance tells none."""
    targets: int
    pictures: int


@attrs.frozen(eq=False)
class _Set:
    pictures: list[Image]
    groups: list[str]
    """The target that each picture belongs to."""


def set_distances(store: Store, catalogue: Catalogue | None = None) -> tuple[SetDistance, ...]:
    """Return each distance of sets for each recipe, between the targets and what was made on the shared seeds.

    Only targets for which the recipe has pictures count. Needs the encoder; nothing where no pictures were made.

    Raises:
        UnknownNameError: a distance that was asked for is not installed.
    """
    if catalogue is None:
        from preimage._catalogue import catalogue as installed

        catalogue = installed()
    if store.spec.measures is None:
        return ()
    options = as_options(store.spec.measures)
    wanted = distances_of("image-set", options, catalogue)
    made = _made(store) if wanted else {}
    targets = {image.name: load_image(image.path) for image in store.spec.images if made}
    found = []
    for name, reference in wanted.items():
        distance = catalogue.build("distance", name, _parts(name, reference, options.device, catalogue))
        for recipe, right in made.items():
            names = list(dict.fromkeys(right.groups))
            if len(names) < 3:
                continue
            left = _Set([targets[each] for each in names], names)
            value, error = _between(distance, left, right)
            found.append(SetDistance(name, recipe, value, error, len(left.pictures), len(right.pictures)))
    return tuple(found)


def _made(store: Store) -> dict[str, _Set]:
    """Return the pictures that each recipe made on the shared seeds."""
    found: dict[str, _Set] = {}
    for record in store.records():
        for file in record.pictures.get("shared", ()):
            made = found.setdefault(record.key.recipe, _Set([], []))
            made.pictures.append(load_image(Path(store.folder) / file))
            made.groups.append(record.key.image)
    return found


def _parts(name: str, reference: str | None, device: str | None, catalogue: Catalogue) -> Mapping[str, Any]:
    if reference is None:
        return {}
    from preimage.device import resolve_device

    (role,) = catalogue.describe("distance", name).component.trait("role")[:1]
    return {"model": catalogue.load_model(reference, role, device=resolve_device(device))}


def _between(distance: Any, left: _Set, right: _Set) -> tuple[float, float | None]:
    """Return the distance of two sets and, where it can tell, its standard error."""
    estimate = getattr(distance, "estimate", None)
    if estimate is None:
        return float(distance([left.pictures], [right.pictures])[0]), None
    groups: tuple[Sequence[str], Sequence[str]] = (left.groups, right.groups)
    found = estimate(left.pictures, right.pictures, groups)
    return float(found.value), float(found.standard_error)
