"""``preimage check``: the conformance kit, run on everything that a distribution provides."""

from __future__ import annotations

import argparse
import json

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("distribution", metavar="DISTRIBUTION", help="what is installed, such as preimage-gcg")
    parser.add_argument(
        "--model",
        metavar="LOADER:NAME",
        help="bind objectives to this model instead of a small random one, and try its loader with it",
    )
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print a table for each plugin and component; return 1 if a required check failed."""
    from preimage.testing.distribution import check_distribution

    reports = check_distribution(arguments.distribution, model=arguments.model)
    passed = all(report.ok for report in reports)
    if arguments.json:
        record = {
            "distribution": arguments.distribution,
            "ok": passed,
            "reports": [report.to_dict() for report in reports],
        }
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(report.to_text() for report in reports))
        failed = sum(not outcome.ok for report in reports for outcome in report.outcomes)
        print(f"\n{arguments.distribution}: {'conforms' if passed else f'{failed} required checks failed'}")
    return 0 if passed else 1
