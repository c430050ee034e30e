"""``preimage new-plugin``: a distribution with one component, whose tests pass as it is written."""

from __future__ import annotations

import argparse
from pathlib import Path

from preimage.api.component import KINDS

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("name", metavar="NAME", help="what users will type, such as tabu-search")
    parser.add_argument("--kind", required=True, choices=KINDS, help="what the plugin brings")
    parser.add_argument(
        "--space", choices=("text", "features"), default="text", help="what an optimizer searches: prompts, or rows"
    )
    parser.add_argument(
        "--into", type=Path, default=Path(), metavar="FOLDER", help="where the plugin's folder goes; here unless given"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the files, and say what they are and what comes next."""
    from preimage.scaffold import plan_for, write

    plan = plan_for(arguments.name, arguments.kind, space=arguments.space)
    home = write(plan, arguments.into)
    print(f"{home}\n" + "\n".join(f"  {name}" for name in plan.files))
    print(
        f"\nIts tests pass as it is; what is yours to write stands in {arguments.kind}.py:\n\n"
        f"  cd {home}\n  pip install -e . --group test\n  pytest\n  preimage check {plan.distribution}"
    )
    return 0
