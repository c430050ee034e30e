"""What the models must reach, set beside what they reach."""

from collections.abc import Mapping

__all__ = ["AT_LEAST", "AT_MOST", "missed", "table"]

AT_LEAST: Mapping[str, float] = {
    "clip: right caption first among 256, of 100": 85,
    "clip-judge: right caption first among 256, of 100": 85,
    "mood: right on held-out captions": 98,
    "blip2: whole scene right": 85,
    **{f"blip2: {kind}": 95 for kind in ("colour", "shape", "texture", "size", "mood", "background", "relation")},
    "sd: one object: colour": 95,
    "sd: one object: background": 95,
    "sd: one object: shape": 90,
    "sd: one object: size": 85,
    "sd: one object: texture": 85,
}
"""Percentages by figure."""

AT_MOST: Mapping[str, float] = {
    "gpt2: above the grammar's own, %": 15,
    "llama: above the grammar's own, %": 15,
    "sd: seconds a picture": 1.5,
    "all models: megabytes": 40,
    "all models: seconds to load": 6,
    "all models: hours of this command": 4,
}
"""Percentages, seconds, megabytes and hours by figure."""


def missed(figures: Mapping[str, float]) -> list[str]:
    """Return the figures that are not what they must be.

    >>> missed({"blip2: colour": 94.9, "blip2: shape": 95.0, "blip2: one object": 0.0, "sd: seconds a picture": 1.6})
    ['blip2: colour', 'sd: seconds a picture']
    """
    return [
        name for name, value in figures.items() if value < AT_LEAST.get(name, value) or value > AT_MOST.get(name, value)
    ]


def table(figures: Mapping[str, float]) -> str:
    """Lay figures out as lines of name, number and goal; what misses its goal is marked.

    >>> print(table({"sd: one object: size": 84.0, "sd: one object: mood": 81.0, "sd: seconds a picture": 0.6}))
    sd: one object: size     84.0  at least 85 MISSED
    sd: one object: mood     81.0
    sd: seconds a picture     0.6  at most 1.5
    """
    width = max(map(len, figures))
    failed = missed(figures)
    lines = []
    for name, value in figures.items():
        goal = f"  at least {AT_LEAST[name]:g}" if name in AT_LEAST else ""
        goal = f"  at most {AT_MOST[name]:g}" if name in AT_MOST else goal
        lines.append(f"{name:<{width}}  {value:6.1f}{goal}{' MISSED' if name in failed else ''}")
    return "\n".join(lines)
