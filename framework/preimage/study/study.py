"""A study: pictures x recipes x seeds, each run once, whatever happens on the way."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from preimage.api.pictures import Picture
from preimage.errors import InputError
from preimage.executors import build_executor
from preimage.pipeline import Pipeline
from preimage.study.equal_cost import equalised, total_of
from preimage.study.images import collect, find, require_distinct, slug
from preimage.study.record import Key, Record
from preimage.study.spec import Spec
from preimage.study.store import Store, writing
from preimage.study.work import Outcome, Unit, load_models, run_unit

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue
    from preimage.api import Executor

__all__ = ["Listener", "Progress", "Study", "go_on"]

_AT_ONCE = 1000
"""Units handed to an executor at a time; more would only wait elsewhere."""

_LOOK = 0.02
"""Seconds between two looks at what has ended."""


@attrs.frozen
class Progress:
    """How far a study is: told when it begins and after each run."""

    done: int
    failed: int
    total: int
    record: Record | None = None
    """Of the run that has just ended; None at the beginning."""


Listener = Callable[[Progress], object]


class Study:
    """Methods compared on the same pictures at the same cost.

    Arguments:
        images: a folder of pictures, a dataset on disk, ``plugin:name``, or a list of pictures.
        recipes: files (named by their stems), or name to `Pipeline`, plain data or file.
        seeds: how many seeds, from 0, or which.
        measures: options of `preimage.study.measures.MeasureOptions`, beside those that suit the pictures by the word
            of the plugin that offers them; None measures nothing.
        equalise: give every recipe the same total of ``"candidates"``, ``"passes"`` or ``"seconds"``.
        budget: that total; what the most frugal recipe allows itself without it.
        limit: pictures at most.
        threads: that a run may use; more do not change what is found, but the last digits of sums.

    Raises:
        PreimageError: pictures or recipes that cannot be used, before anything is run.
    """

    def __init__(
        self,
        images: str | os.PathLike[str] | Sequence[Any],
        recipes: Sequence[str | os.PathLike[str]] | Mapping[str, Any],
        *,
        seeds: int | Sequence[int] = 1,
        measures: Mapping[str, Any] | None = MappingProxyType({}),
        equalise: str | None = None,
        budget: float | None = None,
        limit: int | None = None,
        threads: int = 1,
    ) -> None:
        self._pictures, suggested = _pictures(images, limit)
        pipelines = _pipelines(recipes)
        self._equalised = ""
        if equalise is not None:
            total = total_of(equalise, budget, pipelines)
            pipelines = {name: equalised(pipeline, total) for name, pipeline in pipelines.items()}
            self._equalised = total.describe()
        elif budget is not None:
            message = f"A budget of {budget:g} is given, but not of what: say equalise='candidates', for example."
            raise InputError(message)
        self.pipelines: Mapping[str, Pipeline] = pipelines
        self.seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
        self.measures = None if measures is None else _set({**suggested, **measures})
        self.threads = threads
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or threads < 1:
            message = f"The study has the seeds {self.seeds} and {threads} threads: give distinct seeds and a thread."
            raise InputError(message)

    def run(
        self,
        folder: str | os.PathLike[str],
        *,
        executor: str | Executor = "",
        workers: int | None = None,
        listener: Listener | None = None,
        retry_failed: bool = False,
        catalogue: Catalogue | None = None,
    ) -> list[Record]:
        """Carry out all runs that have no record in `folder` yet, write report and tables, and return all records.

        Whatever ends it, a kill included, the records of the runs that had ended are there; the same call again does
        the rest.

        Arguments:
            folder: where records, pictures and report are kept.
            executor: ``"here"``, ``"processes"``, that of a plugin such as ``"dask:tcp://10.0.0.7:8786"``, or an
                executor; here without it, in processes where there are several workers.
            workers: how many processes.
            listener: told how far it is.
            retry_failed: run again what failed; until then its records stay.
            catalogue: where names are checked before anything runs; the installed plugins without it.

        Raises:
            InputError: the folder holds another study, of which something has been run; the message names what differs.
            PreimageError: a model that is named cannot be loaded; nothing has been run.
            StorageError: there is no room for more records.
        """
        from preimage.assembly import check
        from preimage.study import measures

        installed = _installed(catalogue)
        for pipeline in self.pipelines.values():
            check(pipeline, installed)
        if self.measures is not None:
            measures.check(measures.as_options(self.measures), installed)
        with self._store(Path(folder), installed) as store:
            return _carry_out(store, executor, workers, listener, installed, retry_failed=retry_failed)

    def _store(self, folder: Path, catalogue: Catalogue) -> Store:
        """Return the study in `folder`: the one that is there, if it is this one, or a new one."""
        if not Store.exists(folder):
            with writing(folder):
                return Store.create(folder, self._spec(folder / "images", catalogue))
        # The pictures are read anew, because the folder they come from may hold others by now.
        store = Store.open(folder, readonly=False)
        try:
            with writing(folder):
                now = self._spec(folder / ".images", catalogue)
            differences = store.spec.differences(now)
            if differences and not store.done():
                # A name that was mistyped need not cost the folder.
                store.begin_anew(self._spec(folder / "images", catalogue))
                return store
        except BaseException:
            store.close()
            raise
        finally:
            _remove(folder / ".images")
        if differences:
            store.close()
            message = (
                f"{folder} holds another study ({'; '.join(differences)}): name another folder, or go on with that "
                f"study as it was begun: preimage compare --resume {folder}"
            )
            raise InputError(message)
        return store

    def _spec(self, images: Path, catalogue: Catalogue) -> Spec:
        return Spec(
            images=tuple(collect(self._pictures, images)),
            recipes={name: pipeline.to_dict() for name, pipeline in self.pipelines.items()},
            seeds=self.seeds,
            measures=self.measures,
            threads=self.threads,
            equalised=self._equalised,
            versions=_versions(catalogue),
        )


def go_on(
    folder: str | os.PathLike[str],
    *,
    executor: str | Executor = "",
    workers: int | None = None,
    listener: Listener | None = None,
    retry_failed: bool = False,
    catalogue: Catalogue | None = None,
) -> list[Record]:
    """Carry out what is missing of the study in `folder`, as it was begun; arguments as for `Study.run`.

    Raises:
        InputError: there is no study.
        PreimageError: a model that is named cannot be loaded; nothing has been run.
        StorageError: there is no room for more records.
    """
    with Store.open(folder, readonly=False) as store:
        return _carry_out(store, executor, workers, listener, _installed(catalogue), retry_failed=retry_failed)


def _carry_out(
    store: Store,
    executor: str | Executor,
    workers: int | None,
    listener: Listener | None,
    catalogue: Catalogue,
    *,
    retry_failed: bool,
) -> list[Record]:
    from preimage.study import report, tables

    units = _missing(store, store.done(failed=not retry_failed))
    if units:
        with _running(executor, workers, catalogue) as pool:
            _run_all(store, units, pool, listener)
    elif listener is not None:
        listener(_progress(store, units))
    with writing(store.folder):
        tables.write(store)
        report.write(store)
    return store.records()


def _run_all(store: Store, units: Sequence[Unit], executor: Executor, listener: Listener | None) -> None:
    """Hand all units to the executor and keep what comes back, as it comes."""
    progress = _progress(store, units)
    if listener is not None:
        listener(progress)
    # Of a model that is not to be had all runs would fail, those of the measures only after their searches.
    pipelines = {unit.recipe: unit.pipeline for unit in units}
    executor.submit(load_models, list(pipelines.values()), store.spec.measures).result()
    waiting = deque(units)
    running: list[tuple[Any, Unit]] = []
    try:
        while waiting or running:
            if waiting and len(running) < _AT_ONCE:
                unit = waiting.popleft()
                running.append((executor.submit(run_unit, unit), unit))
            looked = [(future, unit, future.done()) for future, unit in running]
            running = [(future, unit) for future, unit, done in looked if not done]
            ended = [(future, unit) for future, unit, done in looked if done]
            for future, unit in ended:
                record = _keep(store, unit, future)
                failed = progress.failed + (record.status == "failed")
                progress = Progress(progress.done + 1, failed, progress.total, record)
                if listener is not None:
                    listener(progress)
            if not ended and (not waiting or len(running) >= _AT_ONCE):
                time.sleep(_LOOK)
    finally:
        for future, _ in running:
            future.cancel()


def _keep(store: Store, unit: Unit, future: Any) -> Record:
    """Store what a unit came to and return its record."""
    try:
        outcome: Outcome = future.result()
    except Exception:  # of the executor, each in its own words: `run_unit` raises none
        outcome = Outcome(unit.failed(traceback.format_exc()))
    store.add(outcome.record, outcome.files)
    return outcome.record


def _missing(store: Store, done: Collection[Key]) -> list[Unit]:
    """Return the units of the runs that are not among those that are done."""
    spec = store.spec
    taken: set[str] = set()
    slugs = {name: slug(name, taken) for name in spec.recipes}
    units = []
    for key in spec.keys():  # noqa: SIM118
        if key not in done:
            image = spec.image(key.image)
            unit = Unit(
                recipe=key.recipe,
                pipeline=spec.recipes[key.recipe],
                image=image,
                seed=key.seed,
                measures=spec.measures,
                threads=spec.threads,
                folder=f"pictures/{slugs[key.recipe]}/{image.slug}/{key.seed}",
            )
            units.append(unit)
    return units


def _progress(store: Store, units: Sequence[Unit]) -> Progress:
    """Return how far a study is that has these units before it, those that are run again included."""
    ahead = {unit.key for unit in units}
    records = [record for record in store.records() if record.key not in ahead]
    total = len(list(store.spec.keys()))
    return Progress(len(records), sum(record.status == "failed" for record in records), total)


@contextmanager
def _running(executor: str | Executor, workers: int | None, catalogue: Catalogue) -> Iterator[Executor]:
    """Yield the executor; one that was started here is shut down in the end."""
    if not isinstance(executor, str):
        yield executor
        return
    default = catalogue.settings.defaults.get("executor", "here" if workers in (None, 1) else "processes")
    pool = build_executor(executor or default, catalogue, workers=workers)
    try:
        yield pool
    finally:
        shutdown = getattr(pool, "shutdown", None)
        if shutdown is not None:
            shutdown()


def _pictures(images: Any, limit: int | None) -> tuple[tuple[Picture, ...], Mapping[str, Any]]:
    """Return the pictures, and which measures suit them."""
    if limit is not None and limit < 1:
        message = f"The study is limited to {limit} pictures: allow at least 1."
        raise InputError(message)
    if isinstance(images, str | os.PathLike):
        found = find(images, limit=limit)
        return found.pictures, found.measures
    pictures: list[Picture] = []
    for number, image in enumerate(images):
        if isinstance(image, Picture):
            pictures.append(image)
        elif isinstance(image, str | os.PathLike):
            pictures.extend(find(image).pictures)
        else:
            pictures.append(Picture(f"{number:04d}", image))
    require_distinct(pictures[:limit], "The list of pictures")
    return tuple(pictures[:limit]), {}


def _pipelines(recipes: Sequence[str | os.PathLike[str]] | Mapping[str, Any]) -> dict[str, Pipeline]:
    """Return the pipelines by the names of their recipes."""
    if not isinstance(recipes, Mapping):
        stems = [Path(path).stem for path in recipes]
        repeated = [stem for stem in stems if stems.count(stem) > 1]
        if repeated:
            message = f"Two recipes are named {repeated[0]!r}: rename one of the files."
            raise InputError(message)
        recipes = dict(zip(stems, recipes, strict=True))
    if not recipes:
        message = "The study has no recipe: give at least one."
        raise InputError(message)
    pipelines = {}
    for name, recipe in recipes.items():
        if isinstance(recipe, Pipeline):
            pipelines[name] = recipe
        elif isinstance(recipe, Mapping):
            pipelines[name] = Pipeline.from_dict(recipe)
        else:
            pipelines[name] = Pipeline.load(recipe)
    return pipelines


def _set(measures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not as they are by default, as plain data, after checking them all."""
    from preimage.study.measures import MeasureOptions, as_options

    options = attrs.asdict(as_options(measures))
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    default = attrs.asdict(MeasureOptions())
    return {name: value for name, value in plain.items() if options[name] != default[name]}


def _installed(catalogue: Catalogue | None) -> Catalogue:
    if catalogue is not None:
        return catalogue
    from preimage._catalogue import catalogue as installed

    return installed()


def _versions(catalogue: Catalogue) -> dict[str, str]:
    import preimage

    plugins = {plugin.distribution: plugin.version for plugin in catalogue.plugins if plugin.state == "ok"}
    return {"python": platform.python_version(), "preimage": preimage.__version__, **plugins}


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
