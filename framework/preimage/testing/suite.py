"""The same checks as pytest suites: one test a check, which shows in every report by its name.

A suite's checks cannot be lost: a class that replaces or removes one gets a test that fails in its place, unless
the check is among its expected failures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from preimage.errors import OptionError, nearest
from preimage.testing import adapter, component, distance, executor, feature_search, model, objective, optimizer, plugin
from preimage.testing.check import Check, CheckList, examine

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue

__all__ = [
    "AdapterSuite",
    "DistanceSuite",
    "ExecutorSuite",
    "FeatureSearchSuite",
    "ModelSuite",
    "ObjectiveSuite",
    "OptimizerSuite",
    "Suite",
]


class Suite:
    """What the suites share.

    Attributes:
        component: a name in the catalogue; the plugin and its records are checked, too.
        factory: instead of a name, what `preimage.testing.check_optimizer` and its like take; wrap a function or
            class in ``staticmethod``.
        options: of a component that is given by name.
        expected_failures: check id to the reason why it may fail.
    """

    component: ClassVar[str] = ""
    factory: ClassVar[Any] = None
    options: ClassVar[Mapping[str, Any]] = {}
    expected_failures: ClassVar[Mapping[str, str]] = {}

    kind: ClassVar[str]
    checks: ClassVar[CheckList]
    _plan: ClassVar[dict[tuple[str, str], list[tuple[Check, Any]]] | None] = None

    def __init_subclass__(cls) -> None:
        if not (cls.component or cls.factory):
            return
        cls._plan = None
        every = [*cls.checks] if cls.factory else [*plugin.CHECKS, *component.CHECKS, *cls.checks]
        known = [check.id for check in every]
        for check_id, reason in cls.expected_failures.items():
            if check_id not in known or not reason.strip():
                message = f"{cls.__name__} expects a failure of {check_id!r}, " + (
                    "without a reason." if check_id in known else f"no such check.{nearest(check_id, known)}"
                )
                raise OptionError(message)
        for check in every:
            name = f"test_{check.id.replace('-', '_')}"
            tampered = any(name in vars(base) for base in cls.__mro__ if not hasattr(vars(base).get(name), "_check"))
            test = _replaced(check) if tampered and check.id not in cls.expected_failures else _test(check)
            setattr(cls, name, test)

    @classmethod
    def plan(cls) -> dict[tuple[str, str], list[tuple[Check, Any]]]:
        """Return all checks by kind and id, each with everything that it looks at; made once a class."""
        if cls._plan is None:
            plan: dict[tuple[str, str], list[tuple[Check, Any]]] = {}
            for checks, subject in cls.subjects():
                for check in checks:
                    plan.setdefault((check.kind, check.id), []).append((check, subject))
            cls._plan = plan
        return cls._plan

    @classmethod
    def subjects(cls) -> list[tuple[Sequence[Check], Any]]:
        """Return checks and what they look at."""
        if cls.factory:
            return [(tuple(cls.checks), cls.subject())]
        _, plan = component.plan_for(cls.kind, cls.component, cls.options, cls.catalogue(), **cls.world())
        return plan

    @classmethod
    def subject(cls) -> Any:
        """Return what the checks look at, made by `factory`."""
        raise NotImplementedError

    @classmethod
    def world(cls) -> dict[str, Any]:
        """Return what the checks of the kind take besides the component."""
        return {}

    @classmethod
    def catalogue(cls) -> Catalogue | None:
        """Return where names are looked up; None for the installed plugins."""
        return None


_SEVERITY = ("failed", "expected", "passed", "skipped")


def _test(check: Check) -> Callable[[Suite], None]:
    def test(self: Suite) -> None:
        plan = type(self).plan()
        planned = plan.get((check.kind, check.id))
        if planned is None and any(kind == check.kind for kind, _ in plan):
            pytest.fail(
                f"{type(self).component!r} has other checks: optimizers of texts have those of OptimizerSuite, "
                "of rows those of FeatureSearchSuite.",
                pytrace=False,
            )
        if planned is None:
            pytest.skip("It was registered by hand, so there is no plugin to look at.")
        reason = type(self).expected_failures.get(check.id, "")
        outcomes = [examine(each, subject, reason) for each, subject in planned]
        # A loader may have several models; what is worst decides.
        worst = min(outcomes, key=lambda outcome: _SEVERITY.index(outcome.status))
        if worst.status == "failed":
            text = f"{check.text}\n{worst.message}\nTo mend it: {check.remedy}"
            if check.level == "required":
                pytest.fail(text, pytrace=False)
            pytest.skip(f"optional: {text}")
        if worst.status == "expected":
            pytest.xfail(worst.message)
        if worst.status == "skipped":
            pytest.skip(worst.message)

    test.__doc__ = check.text
    test._check = check  # type: ignore[attr-defined]
    return test


def _replaced(check: Check) -> Callable[[Suite], None]:
    def test(self: Suite) -> None:
        pytest.fail(
            f"{type(self).__name__} replaces the check {check.id!r} ({check.text}). Remove the method; if the rule "
            f"cannot hold, write expected_failures = {{{check.id!r}: 'the reason'}}.",
            pytrace=False,
        )

    test.__doc__ = check.text
    test._check = check  # type: ignore[attr-defined]
    return test


class OptimizerSuite(Suite):
    """The checks of an optimizer.

    ::

        class TestGCG(OptimizerSuite):
            component = "gcg"

        class TestMine(OptimizerSuite):
            factory = staticmethod(lambda: Mine(MineConfig(width=3)))
    """

    kind = "optimizer"
    checks = optimizer.CHECKS

    @classmethod
    def subject(cls) -> optimizer.OptimizerSubject:
        """Return what the checks look at."""
        return optimizer.OptimizerSubject(cls.__name__, cls.factory)


class FeatureSearchSuite(Suite):
    """The checks of an optimizer that searches rows of features.

    ::

        class TestMine(FeatureSearchSuite):
            component = "my-search"
    """

    kind = "optimizer"
    checks = feature_search.CHECKS

    @classmethod
    def subject(cls) -> feature_search.FeatureSearchSubject:
        """Return what the checks look at."""
        return feature_search.FeatureSearchSubject(cls.__name__, cls.factory, catalogue=cls.catalogue())


class AdapterSuite(Suite):
    """The checks of an embedding adapter."""

    kind = "adapter"
    checks = adapter.CHECKS

    @classmethod
    def subject(cls) -> adapter.AdapterSubject:
        """Return what the checks look at."""
        return adapter.AdapterSubject(cls.__name__, cls.factory)


class DistanceSuite(Suite):
    """The checks of a distance."""

    kind = "distance"
    checks = distance.CHECKS

    @classmethod
    def subject(cls) -> distance.DistanceSubject:
        """Return what the checks look at."""
        return distance.DistanceSubject(cls.__name__, cls.factory)


class ExecutorSuite(Suite):
    """The checks of an executor."""

    kind = "executor"
    checks = executor.CHECKS

    @classmethod
    def subject(cls) -> executor.ExecutorSubject:
        """Return what the checks look at."""
        return executor.ExecutorSubject(cls.__name__, cls.factory)


class ObjectiveSuite(Suite):
    """The checks of an objective.

    Attributes:
        model: what it is bound to, a model or a reference; without one, a small random model of its role.
        targets: three different ones; made up without.
    """

    kind = "objective"
    checks = objective.CHECKS
    model: ClassVar[Any] = None
    targets: ClassVar[Sequence[Any] | None] = None

    @classmethod
    def subject(cls) -> objective.ObjectiveSubject:
        """Return what the checks look at."""
        return objective.subject_from(cls.factory, cls.__name__, cls.model, cls.targets, cls.catalogue())

    @classmethod
    def world(cls) -> dict[str, Any]:
        """Return model and targets."""
        return {"model": cls.model, "targets": cls.targets}


class ModelSuite(Suite):
    """The checks of a model.

    Attributes:
        reference: what is loaded, such as ``"miniworld:clip"``; without one, what the loader gives as an example.
        role: what it has to play; the richest that it can without.
    """

    kind = "model"
    checks = model.CHECKS
    reference: ClassVar[str | None] = None
    role: ClassVar[str | None] = None

    @classmethod
    def subject(cls) -> model.ModelSubject:
        """Return what the checks look at."""
        return model.subject_from(cls.factory, cls.__name__, cls.role)

    @classmethod
    def world(cls) -> dict[str, Any]:
        """Return reference and role."""
        return {"model": cls.reference, "role": cls.role}
