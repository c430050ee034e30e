"""What is checked, how it went, and the report of it: the data that all doors of the conformance kit share."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from preimage.errors import OptionError, PluginError, nearest

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue

__all__ = [
    "Check",
    "CheckList",
    "ConformanceError",
    "Level",
    "NotApplicable",
    "Outcome",
    "Report",
    "Status",
    "Violation",
    "examine",
    "report_given",
    "report_on",
]

Level = Literal["required", "optional"]
Status = Literal["passed", "failed", "skipped", "expected"]


class Violation(AssertionError):  # noqa: N818 - it is what the rule calls it
    """A check has found something wrong; the message says what, with the values."""


class NotApplicable(Exception):  # noqa: N818 - it is no error: the check is skipped
    """A check has nothing to look at; the message says why."""


class ConformanceError(PluginError, AssertionError):
    """A component does not keep its contract.

    Attributes:
        report: all outcomes.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(f"{report.to_text(only_failures=True)}")
        self.report = report


@attrs.frozen
class Check:
    """One rule that a component has to keep."""

    id: str
    """Words joined by hyphens, unique within the kind."""
    kind: str
    """``"component"`` for what holds for all kinds, otherwise the kind."""
    level: Level
    """A component passes if no required check fails."""
    text: str
    """The rule, in a sentence."""
    remedy: str
    """What to do about a failure."""
    run: Callable[[Any], None] = attrs.field(repr=False)
    """Raises `Violation` or `NotApplicable`."""


@attrs.frozen
class Outcome:
    """How one check went."""

    check: Check
    status: Status
    """``"expected"`` is a failure that was announced with a reason."""
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether this outcome lets the component pass."""
        return self.status != "failed" or self.check.level == "optional"

    def to_dict(self) -> dict[str, str]:
        """Return plain data that JSON can hold."""
        check = self.check
        return {
            "kind": check.kind,
            "id": check.id,
            "level": check.level,
            "text": check.text,
            "status": self.status,
            "message": self.message,
            "remedy": check.remedy if self.status == "failed" else "",
        }


@attrs.frozen
class Report:
    """What the kit has to say about one component."""

    subject: str
    """For people: ``"optimizer 'gcg' of preimage-gcg 0.1.0"``."""
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        """Whether no required check failed."""
        return all(outcome.ok for outcome in self.outcomes)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The checks that failed unexpectedly, optional ones included."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")

    def require(self) -> Report:
        """Return the report itself.

        Raises:
            ConformanceError: a required check failed.
        """
        if not self.ok:
            raise ConformanceError(self)
        return self

    def summary(self) -> str:
        """Return the counts in words.

        >>> Report("nothing", ()).summary()
        'nothing checked'
        """
        counts = {
            status: sum(o.status == status for o in self.outcomes)
            for status in ("passed", "failed", "expected", "skipped")
        }
        words = {"expected": "failed as expected"}
        return (
            ", ".join(f"{count} {words.get(status, status)}" for status, count in counts.items() if count)
            or "nothing checked"
        )

    def to_text(self, *, only_failures: bool = False) -> str:
        """Return a table, one line a check, with message and remedy below those that failed."""
        shown = self.failures if only_failures else self.outcomes
        width = max((len(outcome.check.id) for outcome in shown), default=0)
        return "\n".join([f"{self.subject}: {self.summary()}", *_lines(shown, width)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return {
            "subject": self.subject,
            "ok": self.ok,
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def __str__(self) -> str:
        return self.to_text()


def _lines(outcomes: Iterable[Outcome], width: int) -> Iterator[str]:
    for outcome in outcomes:
        check = outcome.check
        level = "" if check.level == "required" else " (optional)"
        yield f"  {outcome.status:<8}  {check.id:<{width}}  {check.text}{level}"
        if outcome.message:
            yield f"            {outcome.message}"
        if outcome.status == "failed":
            yield f"            To mend it: {check.remedy}"


class CheckList:
    """The checks of one kind, in the order in which they are carried out.

    A check is a function of the subject. Its name is the check's id and its docstring the rule.

    >>> checks = CheckList("coin")
    >>> @checks.required(remedy="Use a fair coin.")
    ... def _lands_on_both_sides(coin):
    ...     '''Heads and tails both occur.'''
    >>> checks["lands-on-both-sides"].text
    'Heads and tails both occur.'

    Arguments:
        kind: what is checked.
        title: what the list is called where a kind has several.
    """

    def __init__(self, kind: str, title: str = "") -> None:
        self.kind = kind
        self.title = title or kind.capitalize()
        self._checks: dict[str, Check] = {}

    def required(self, *, remedy: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
        """Add a check that has to pass."""
        return self._adder("required", remedy)

    def optional(self, *, remedy: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
        """Add a check whose failure is reported and forgiven."""
        return self._adder("optional", remedy)

    def _adder(self, level: Level, remedy: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
        def add(function: Callable[[Any], None]) -> Callable[[Any], None]:
            name = function.__name__.strip("_").replace("_", "-")
            assert name not in self._checks
            text = " ".join((function.__doc__ or "").split())
            self._checks[name] = Check(name, self.kind, level, text, remedy, function)
            return function

        return add

    def __iter__(self) -> Iterator[Check]:
        return iter(self._checks.values())

    def __len__(self) -> int:
        return len(self._checks)

    def __getitem__(self, name: str) -> Check:
        return self._checks[name]

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all checks."""
        return tuple(self._checks)


def examine(check: Check, subject: Any, expected: str = "") -> Outcome:
    """Carry out one check.

    Arguments:
        check: the rule.
        subject: what the check looks at.
        expected: why a failure is expected; empty where none is.
    """
    try:
        check.run(subject)
    except NotApplicable as reason:
        return Outcome(check, "skipped", str(reason))
    except Violation as violation:
        message = str(violation)
    except (Exception, SystemExit) as error:
        message = f"It raised {_described(error)}"
    else:
        if not expected:
            return Outcome(check, "passed")
        message = f"It passes, although it was expected to fail ({expected}): remove it from the expected failures."
        return Outcome(check, "failed", message)
    if expected:
        return Outcome(check, "expected", f"{expected} ({message})")
    return Outcome(check, "failed", message)


def _described(error: BaseException) -> str:
    """Return type, message and the place where an exception was raised."""
    text = " ".join(str(error).split())[:300]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{': ' + text if text else ''}{place}"


def report_given(
    kind: str,
    given: str | Callable[..., Any],
    checks: Iterable[Check],
    subject: Callable[[str, Callable[..., Any]], Any],
    *,
    options: Mapping[str, Any] | None,
    expected_failures: Mapping[str, str] | None,
    strict: bool,
    catalogue: Catalogue | None,
) -> Report:
    """Check what somebody hands over: the name of a component, or a function that builds one anew.

    Arguments:
        kind: of the component.
        given: its name in the catalogue, or the function.
        checks: of the kind.
        subject: makes what the checks look at from a name for people and the function.
        options: of a component given by name, which is checked as a component, too.
        expected_failures: check id to the reason why it may fail.
        strict: raise where a required check fails, instead of only reporting it.
        catalogue: where the name is looked up; the installed plugins without it.

    Raises:
        ConformanceError: a required check failed.
        UnknownNameError: the catalogue has no such component.
    """
    plan: list[tuple[Iterable[Check], Any]]
    if isinstance(given, str):
        from preimage.testing.component import plan_for

        name, found = plan_for(kind, given, options, catalogue)
        plan = [*found]
    else:
        name = getattr(given, "__name__", type(given).__name__)
        plan = [(tuple(checks), subject(name, given))]
    report = report_on(name, plan, expected_failures)
    return report.require() if strict else report


def report_on(
    name: str,
    plan: Iterable[tuple[Iterable[Check], Any]],
    expected_failures: Mapping[str, str] | None = None,
) -> Report:
    """Carry out checks and return how they went.

    Arguments:
        name: the subject, for people.
        plan: checks and what each of them looks at.
        expected_failures: check id to the reason why its failure is acceptable.

    Raises:
        OptionError: an expected failure names no check, or gives no reason.
    """
    planned = [(check, subject) for checks, subject in plan for check in checks]
    expected = dict(expected_failures or {})
    known = [check.id for check, _ in planned]
    for check_id, reason in expected.items():
        if check_id not in known:
            message = f"There is no check {check_id!r} to expect a failure of.{nearest(check_id, known)}"
            raise OptionError(message)
        if not reason.strip():
            message = f"The expected failure of {check_id!r} has no reason: say why it is acceptable."
            raise OptionError(message)
    return Report(name, tuple(examine(check, subject, expected.get(check.id, "")) for check, subject in planned))
