"""The report of a study: one HTML file that needs nothing else.

::

    __init__.py    what stands where                    ranges.py     intervals as bars
    numbers.py     methods in tables                    gallery.py    targets, prompts and what they make
    curves.py      loss against what has been spent     origin.py     failures, versions, how to run it again
    gap.py         the objective against the pictures

Prompts, captions, names and tracebacks are untrusted: every text is escaped where it is put into an element.
"""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from preimage.errors import InputError, StorageError
from preimage.html import document, write_document
from preimage.study.findings import findings_of
from preimage.study.report.curves import curves
from preimage.study.report.gallery import gallery
from preimage.study.report.gap import proxy_gap
from preimage.study.report.numbers import against_captioner, methods, sets
from preimage.study.report.origin import failures, origin
from preimage.study.report.ranges import range_rows
from preimage.study.set_distances import set_distances
from preimage.study.statistics import N_RESAMPLES, SIGNIFICANT
from preimage.study.summary import Summary, summarise

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue
    from preimage.study.findings import Finding
    from preimage.study.store import Store

__all__ = ["FILE", "write"]

FILE = "report.html"
"""Its name in the study's folder."""


_FEW = 10
"""Drawn from fewer pictures, 95% intervals hold the truth noticeably less often."""


def write(
    store: Store,
    summary: Summary | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    catalogue: Catalogue | None = None,
) -> Path:
    """Write the report of a study, as far as the study has come, and return its file.

    Arguments:
        store: the study.
        summary: its numbers; made anew without it.
        path: where to write; ``report.html`` in the study's folder without it.
        catalogue: where distances and encoders are looked up; the installed plugins without it.

    Raises:
        StorageError: there is no room, or the folder cannot be written to.
        UnknownNameError: a distance that was measured is not installed.
    """
    summary = summarise(store, catalogue) if summary is None else summary
    file = Path(store.folder) / FILE if path is None else Path(path)
    parts = {
        "Findings": _findings(summary),
        "Methods": methods(summary) + sets(summary, set_distances(store, catalogue)) + against_captioner(summary),
        "Loss and budget": curves(summary),
        "Proxy gap": proxy_gap(summary),
        "Gallery": gallery(store, summary),
        "Failures": failures(summary),
        "Origin": origin(store, summary),
    }
    there = {title: body for title, body in parts.items() if body}
    body = _contents(list(there)) + "".join(
        f'<article id="{_anchor(title)}"><h2>{escape(title)}</h2>{part}</article>' for title, part in there.items()
    )
    page = document(_title(summary), _lead(summary), body, styles=[Path(__file__).with_name("report.css")])
    try:
        write_document(page, file)
    except InputError as error:
        message = (
            f"The report cannot be written ({error.__cause__}): make room for it, then run the same command again."
        )
        raise StorageError(message) from error
    return file


def _contents(titles: list[str]) -> str:
    links = "".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title in titles)
    return f'<nav aria-label="Contents">{links}</nav>'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _title(summary: Summary) -> str:
    return f"{len(summary.spec.recipes)} methods on {_count(len(summary.spec.images), 'picture')}"


def _lead(summary: Summary) -> str:
    spec = summary.spec
    total = len(spec.images) * len(spec.recipes) * len(spec.seeds)
    ran = len(summary.records) + len(summary.failed)
    so_far = "" if ran == total else f", of which {ran:,} have ended"
    failed = f"{len(summary.failed):,} failed" if summary.failed else "none failed"
    equal = f" Budgets: {spec.equalised}." if spec.equalised else ""
    return (
        f"{', '.join(spec.recipes)}: {_count(len(spec.seeds), 'seed')} each, {_count(total, 'run')}{so_far}, {failed}."
        f"{equal} Numbers are means over pictures; brackets hold 95% intervals from drawing the pictures again "
        f"{N_RESAMPLES:,} times, each with all its runs."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _findings(summary: Summary) -> str:
    findings = findings_of(summary)
    told = "".join(_finding(finding) for finding in findings if finding.verdict != "cannot be told")
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        if finding.verdict == "cannot be told":
            reasons.setdefault(" ".join(finding.sentences), []).append(finding.claim)
    untold = "".join(f"<li>{escape('; '.join(claims))}. {escape(reason)}</li>" for reason, claims in reasons.items())
    pictures = len(summary.spec.images)
    if told:
        told += (
            '<p class="note">A difference is beyond chance where its whole interval is on one side of zero and a '
            f"paired test over pictures (signs flipped, two-sided, {SIGNIFICANT:.0%}) tells it from zero, too.</p>"
        )
    if told and pictures < _FEW:
        told += (
            f'<p class="note">Intervals from {_count(pictures, "picture")} are narrower than they '
            f"should be: take these findings for hints.{_never(pictures)}</p>"
        )
    return told + (f'<h3>Cannot be told here</h3><ul class="note">{untold}</ul>' if untold else "")


def _never(pictures: int) -> str:
    """Return a warning where there are so few pictures that the test finds every difference to be chance."""
    # Of all choices of signs, that all differences point one way has a share of two in 2^n.
    if 2.0 ** (1 - pictures) < SIGNIFICANT:
        return ""
    return f" With {_count(pictures, 'picture')} no difference is beyond chance, however large it is."


def _finding(finding: Finding) -> str:
    verdict = escape(finding.verdict)
    kind = {"holds": "yes", "does not hold": "no"}.get(finding.verdict, "open")
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in finding.sentences)
    rows = range_rows([(name, interval, None) for name, interval in finding.differences])
    return (
        f'<div class="finding"><h3>{escape(finding.claim)} <span class="verdict {kind}">{verdict}</span></h3>'
        f"{sentences}{rows}</div>"
    )
