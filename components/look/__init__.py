"""One look for every page of ours: the report, the label page, the explorer and the search page.

    LOOK["look.css"].read_text()      colours, type, the header, buttons; each page adds only what is its own
    arm_classes(["raw", "curated"])   {"raw": "arm0", "curated": "arm1"}

A colour means one thing: kept, dropped, failed, a warning, or an arm of an experiment. What can be acted on has a
hue that none of these has. An arm that recurs has its colour by name, whichever chart it stands in.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

LOOK = {name: Path(__file__).parent / name for name in ("look.css", "icon.svg")}
NAMED_ARMS = ("raw", "curated", "random")
ARM_COLOURS = 6


def arm_classes(names: Iterable[str]) -> dict[str, str]:
    """Arm -> CSS class; the arms that every run has first, then the others in the order they come in."""
    free = range(len(NAMED_ARMS), ARM_COLOURS)
    classes: dict[str, str] = {}
    others = 0
    for name in dict.fromkeys(names):
        if name in NAMED_ARMS:
            classes[name] = f"arm{NAMED_ARMS.index(name)}"
        else:
            classes[name] = f"arm{free[others % len(free)]}"
            others += 1
    return classes
