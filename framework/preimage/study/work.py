"""One unit of a study's work, as a worker carries it out: names, options and seeds in, records out."""

from __future__ import annotations

import io
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from preimage.study.images import StudyImage
from preimage.study.record import Key, Mark, Record, thinned

if TYPE_CHECKING:
    from PIL.Image import Image

    from preimage._catalogue import Catalogue
    from preimage.api import TextSpace
    from preimage.result import Result

__all__ = ["TRUTH", "Outcome", "Unit", "load_models", "run_unit"]

TRUTH = "pictures/truth"
"""Where the pictures are that the true prompts make on the shared seeds, a folder for each picture of the study."""

# A worker of somebody's cluster may have several threads, and torch has one number of threads for all of them.
_ONE_AT_A_TIME = threading.Lock()


@attrs.frozen(kw_only=True)
class Unit:
    """One run: a recipe on a picture with a seed, and how it is to be measured."""

    recipe: str
    pipeline: Mapping[str, Any]
    image: StudyImage
    seed: int
    measures: Mapping[str, Any] | None
    threads: int
    folder: str
    """Where the run's pictures will be, relative to the study's folder."""

    @property
    def key(self) -> Key:
        """Which run of the study it is."""
        return Key(self.recipe, self.image.name, self.seed)

    def failed(self, text: str) -> Record:
        """Return the record of this run where it came to nothing."""
        return Record(key=self.key, status="failed", traceback=text)


@attrs.frozen
class Outcome:
    """A record and the encoded pictures that belong to it, by their paths."""

    record: Record
    files: Mapping[str, bytes] = attrs.field(factory=dict)


def load_models(pipelines: Sequence[Mapping[str, Any]], measures: Mapping[str, Any] | None) -> None:
    """Load what the recipes and measures of a study name, where `run_unit` will look for it.

    A model or device that is not there is told of before any search; measuring comes after.

    Raises:
        PreimageError: the first of them that cannot be had.
    """
    from preimage import assembly
    from preimage._catalogue import catalogue
    from preimage.pipeline import Pipeline
    from preimage.study import measuring
    from preimage.study.measures import as_options

    with _ONE_AT_A_TIME:
        for pipeline in pipelines:
            assembly.load_models(Pipeline.from_dict(pipeline), catalogue())
        if measures is not None:
            measuring.load_models(as_options(measures), catalogue())


def run_unit(unit: Unit) -> Outcome:
    """Search, measure, and return the record; whatever goes wrong is written into it.

    Models come from the catalogue of the process, so that each worker loads them once.
    """
    with _ONE_AT_A_TIME, _threads(unit.threads):
        try:
            return _run(unit)
        except (Exception, SystemExit):
            return Outcome(unit.failed(traceback.format_exc()))


def _run(unit: Unit) -> Outcome:
    from preimage._catalogue import catalogue
    from preimage.assembly import assemble, check
    from preimage.execution import execute
    from preimage.pipeline import Pipeline

    installed = catalogue()
    pipeline = Pipeline.from_dict(unit.pipeline)
    check(pipeline, installed)
    assembly = assemble(pipeline, [unit.image.path], installed)
    (result,) = execute(assembly, seed=unit.seed)
    found = _record(unit, result, assembly.problem.space.tokens)
    try:
        return _measured(unit, found, installed)
    except Exception:
        # What the search found is worth keeping, even if nobody can say what it is worth.
        return Outcome(attrs.evolve(found, status="failed", traceback=traceback.format_exc()))


def _record(unit: Unit, result: Result, space: TextSpace) -> Record:
    import torch

    (again,) = space.encode([result.text])
    marks = tuple(
        Mark(point.spent.candidates, point.spent.forward + point.spent.backward, point.spent.seconds, point.best_loss)
        for point in result.trajectory
    )
    return Record(
        key=unit.key,
        status="ok",
        text=result.text,
        ids=result.ids,
        tokens=tuple(space.decode(torch.tensor(result.ids)[:, None])),
        unstable=_changed(result.ids, tuple(again)),
        loss=result.loss,
        terms=dict(result.terms),
        spent=result.spent,
        trajectory=thinned(marks),
        stop_reason=result.stop_reason,
        versions=dict(result.provenance.versions),
        models=dict(result.provenance.models),
    )


def _changed(ids: tuple[int, ...], again: tuple[int, ...]) -> tuple[int, ...]:
    """Return the places in `ids` that are not the same in `again`.

    >>> _changed((5, 6, 7), (5, 8))
    (1, 2)
    """
    return tuple(place for place, token in enumerate(ids) if place >= len(again) or again[place] != token)


def _measured(unit: Unit, record: Record, catalogue: Catalogue) -> Outcome:
    """Return the record with what its text is worth."""
    if unit.measures is None:
        return Outcome(record)
    from preimage.study.measures import as_options, measure
    from preimage.study.measuring import reference_pictures

    started = time.perf_counter()
    options = as_options(unit.measures)
    measured = measure(record.text, unit.image, options, catalogue, seed=unit.seed)
    files = {
        name: {f"{unit.folder}/{name}-{number}.png": picture for number, picture in enumerate(pictures)}
        for name, pictures in measured.pictures.items()
    }
    record = attrs.evolve(
        record,
        measures=dict(measured.values),
        pictures={name: tuple(paths) for name, paths in files.items()},
        measuring_seconds=time.perf_counter() - started,
    )
    # The same for every run on the picture, and so written by whichever ends first.
    references = enumerate(reference_pictures(unit.image, options, catalogue))
    files["truth"] = {f"{TRUTH}/{unit.image.slug}/shared-{number}.png": picture for number, picture in references}
    return Outcome(record, {path: _encoded(picture) for group in files.values() for path, picture in group.items()})


def _encoded(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads in the block: sums depend on how they are split."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
