"""Where the numbers come from: failed runs, versions and models, and how to run the study again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage.study import tables
from preimage.study.report.numbers import key
from preimage.study.summary import Summary

if TYPE_CHECKING:
    from preimage.study.store import Store

__all__ = ["failures", "origin"]

_MOST = 200


def failures(summary: Summary) -> str:
    """Return the runs that failed, each with its traceback; nothing where all came to something."""
    if not summary.failed:
        return ""
    order = list(summary.spec.recipes)
    items = "".join(
        f"<details><summary>{key(record.key.recipe, order.index(record.key.recipe))} on {escape(record.key.image)}, "
        f"seed {record.key.seed}: <code>{escape(record.error)}</code></summary>"
        f"<pre>{escape(record.traceback)}</pre></details>"
        for record in summary.failed[:_MOST]
    )
    left = len(summary.failed) - _MOST
    more = f"<p>{left:,} more are in the table of runs.</p>" if left > 0 else ""
    return f'<div class="failures">{items}{more}</div>'


def origin(store: Store, summary: Summary) -> str:
    """Return how to run the study again, its options, versions and models, and where the tables are."""
    spec = summary.spec
    recipes = "".join(
        f"<details><summary>{escape(name)}.yaml</summary><pre>{escape(_yaml(pipeline))}</pre></details>"
        for name, pipeline in spec.recipes.items()
    )
    measures = "".join(
        f"<li>{escape(name)} <code>{escape(_plain_text(value))}</code></li>"
        for name, value in (spec.measures or {}).items()
    )
    versions: dict[str, set[str]] = {name: {version} for name, version in spec.versions.items()}
    models: dict[str, set[str]] = {}
    for record in summary.records:
        for name, version in record.versions.items():
            versions.setdefault(name, set()).add(version)
        for name, fingerprint in record.models.items():
            models.setdefault(name, set()).add(fingerprint)
    made = "".join(f"<li>{escape(name)} {escape(' and '.join(sorted(v)))}</li>" for name, v in sorted(versions.items()))
    weights = "".join(
        f"<li>{escape(name)} {' '.join(f'<code>{escape(each[:12])}</code>' for each in sorted(found))}</li>"
        for name, found in sorted(models.items())
    )
    parquet = "" if list((Path(store.folder) / tables.FOLDER).glob("*.parquet")) else f" {tables.NO_PARQUET}"
    return (
        "<h3>To run it again</h3><p>Save the recipes below under their names in the study's folder, and in that folder "
        f"give the command.</p><pre>{escape(_command(summary))}</pre>{recipes}"
        f'<h3>Measured with</h3><ul class="versions">{measures or "<li>nothing but loss and cost</li>"}</ul>'
        f'<h3>Versions</h3><ul class="versions">{made}</ul>'
        + (f'<h3>Models that searched, and their weights</h3><ul class="versions">{weights}</ul>' if weights else "")
        + "<h3>Tables</h3><p>Every run and every number of this page is in the folder <code>tables</code> beside it, "
        f"as CSV: runs, methods, predictors.{escape(parquet)}</p>"
    )


def _command(summary: Summary) -> str:
    spec = summary.spec
    words = ["preimage", "compare", "images", "--recipes", *(f"{name}.yaml" for name in spec.recipes)]
    words += ["--seeds", str(len(spec.seeds)), "--threads", str(spec.threads), "--out", "again"]
    if spec.measures is None:
        words.append("--no-measures")
    for name, value in (spec.measures or {}).items():
        words += [f"--measure-{name.replace('_', '-')}", _plain_text(value)]
    command = shlex.join(words)
    if spec.seeds != tuple(range(len(spec.seeds))):
        command += f"\n# with the seeds {', '.join(map(str, spec.seeds))}, which only preimage.Study takes"
    return command


def _plain_text(value: Any) -> str:
    if value is None or value == []:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _yaml(pipeline: Mapping[str, Any]) -> str:
    import json

    import yaml

    # Records and tuples become what a file can hold.
    return yaml.safe_dump(json.loads(json.dumps(pipeline, default=str)), sort_keys=False, allow_unicode=True)
