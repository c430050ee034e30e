"""Stages, terms and constraints put together: what a person means by one search."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from preimage.api.template import Template
from preimage.budget import Budget
from preimage.configuration import convert
from preimage.errors import AssemblyError, BudgetError, InputError

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue
    from preimage.api import EmbeddingAdapter, Model, Objective, Optimizer
    from preimage.loop import Listener
    from preimage.result import Result
    from preimage.search_space import Constraints

__all__ = ["Pipeline", "Stage", "Term"]


def _template(value: str | Template) -> Template:
    return value if isinstance(value, Template) else Template(value)


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    # `dict` itself would do, but type checkers would then refuse every dictionary that is given.
    return dict(options)


def _weight(value: Any) -> float:
    try:
        weight = float(convert(value, float))
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        message = f"A term has the weight {value!r}, which is not a number to multiply by: give one such as 0.5."
        raise InputError(message)
    return weight


def _targets(targets: Any) -> list[Any] | None:
    if targets is None:
        return None
    if isinstance(targets, Sequence) and not isinstance(targets, str | bytes):
        # A recipe has lists only; what stands in place of one target is a group of several.
        return [tuple(target) if isinstance(target, list) else target for target in targets]
    message = f"A term has the targets {targets!r}, which are not a list: give a list, also for a single one."
    raise InputError(message)


def _tuple(items: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(items)


@attrs.frozen(kw_only=True)
class Stage:
    """One optimizer with its budget; the next stage starts from the best prompt it found.

    Arguments:
        optimizer: a name from the catalogue, or an optimizer.
        budget: when the stage ends.
        options: of an optimizer given by name.
        preset: a name for more options of it, ``"paper"``; those that are given come on top.
    """

    optimizer: str | Optimizer[Any]
    budget: Budget
    options: Mapping[str, Any] = attrs.field(factory=dict, converter=_options)
    preset: str | None = None


@attrs.frozen(kw_only=True)
class Term:
    """One objective with its model, weight and template.

    Arguments:
        objective: a name from the catalogue, or an objective that is bound to its model and targets already.
        model: a reference such as ``"miniworld:clip"``, or a model.
        weight: of the term in the sum.
        template: where the prompt stands, ``"an image of {optim_str}"``.
        adapter: carries the gradient into the first term's space: a name, or an adapter.
        targets: what this term compares with, where that is not what the pipeline is run on.
        options: of an objective given by name.
        adapter_options: of an adapter given by name.

    Raises:
        InputError: the weight is no number, or the targets are no list.
    """

    objective: str | Objective
    model: str | Model | None = None
    weight: float = attrs.field(default=1.0, converter=_weight)
    template: Template = attrs.field(factory=Template, converter=_template)
    adapter: str | EmbeddingAdapter | None = None
    targets: Sequence[Any] | None = attrs.field(default=None, converter=_targets)
    options: Mapping[str, Any] = attrs.field(factory=dict, converter=_options)
    adapter_options: Mapping[str, Any] = attrs.field(factory=dict, converter=_options)

    @property
    def name(self) -> str:
        """What messages and result tables call the term."""
        kind = self.objective if isinstance(self.objective, str) else type(self.objective).__name__
        return f"{kind}({self.model})" if isinstance(self.model, str) else kind


@attrs.frozen(kw_only=True)
class Pipeline:
    """A search, put together from objects, from names and options, or from a recipe.

    The first term's model decides which tokens are searched.

    Arguments:
        stages: the optimizers, one after the other.
        terms: the objectives, added up.
        constraints: which words a prompt may hold.
        budget: of all stages together; each has its own besides.
        device: where models are loaded; the machine's accelerator, or the CPU, without it.
        dtype: the models' precision, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        batch_size: candidates in one forward pass at most; found by trying without it.

    Raises:
        AssemblyError: there is no stage or no term.
        BudgetError: the budget of all stages has a limit that belongs to one.

    >>> pipeline = Pipeline(
    ...     stages=[Stage(optimizer="random-search", budget=Budget(num_steps=5))],
    ...     terms=[Term(objective="clip-similarity", model="miniworld:clip")],
    ... )
    >>> pipeline == Pipeline.from_dict(pipeline.to_dict())
    True
    """

    stages: Sequence[Stage] = attrs.field(converter=_tuple)
    terms: Sequence[Term] = attrs.field(converter=_tuple)
    constraints: Constraints | None = None
    budget: Budget | None = None
    device: str | None = None
    dtype: str = "float32"
    batch_size: int | None = None

    def __attrs_post_init__(self) -> None:
        if not self.stages or not self.terms:
            message = (
                f"The pipeline has {len(self.stages)} stages and {len(self.terms)} terms: "
                "it needs at least one optimizer and one objective."
            )
            raise AssemblyError(message)
        if self.budget is not None and (self.budget.patience or self.budget.target_loss is not None):
            message = (
                f"The budget of all stages is {self.budget.describe()}, but patience and target_loss end a stage: "
                "give them to the budget of a stage."
            )
            raise BudgetError(message)

    def run(
        self,
        targets: Sequence[Any],
        *,
        seed: int = 0,
        listeners: Sequence[Listener] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 50,
        resume: bool = False,
        catalogue: Catalogue | None = None,
    ) -> list[Result]:
        """Search for all targets in lockstep and return one result each.

        Ctrl-C ends the search; what has been found by then is returned, with the stop reason ``"interrupted"``.

        Arguments:
            targets: pictures (paths or PIL images) or texts, as the objectives take them.
            seed: of all randomness.
            listeners: called with a `StepEvent` after each step.
            checkpoint: a file that the run is saved to, every `checkpoint_every` steps and at the end.
            checkpoint_every: steps between two savings.
            resume: go on from the checkpoint, if there is one.
            catalogue: where names are looked up; the installed plugins without it.

        Raises:
            PreimageError: see `preimage.errors`.
        """
        from preimage.assembly import assemble, check

        if catalogue is None:
            from preimage._catalogue import catalogue as installed

            catalogue = installed()
        check(self, catalogue, targets)
        # Only now, because it imports torch, and what does not fit is to be said at once.
        from preimage.execution import execute

        assembly = assemble(self, targets, catalogue)
        return execute(
            assembly,
            seed=seed,
            listeners=listeners,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the pipeline by names and options: what a recipe file holds.

        Raises:
            AssemblyError: it holds live objects, which have no name to be found again by.
        """
        from preimage.recipe import to_dict

        return to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Pipeline:
        """Return the pipeline that a recipe describes.

        Raises:
            InputError: a key is unknown or missing.
        """
        from preimage.recipe import from_dict

        return from_dict(data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Pipeline:
        """Read a recipe from a YAML or TOML file.

        Raises:
            InputError: the file cannot be read, or does not describe a pipeline.
        """
        from preimage.recipe import read

        return cls.from_dict(read(path))
