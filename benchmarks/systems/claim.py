"""A claim, declared before it is run, and what was found of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from benchmarks.systems.place import Place
from pairwright.components.evaluate.statistics.crossed import Crossed, crossed

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sides:
    """Both sides of one seed, item by item.

    Attributes:
        ours: (items,) the metric of each item (a hit as 0 or 1, a rank, a cosine); one value if it is of the whole.
        baseline: (items,) of the same items.
        groups: (items,) names; items of one group are not independent. None: each is its own.
        also: figures worth reading beside the verdict, which nothing is decided on.
    """

    ours: np.ndarray
    baseline: np.ndarray
    groups: Sequence[Any] | np.ndarray | None = None
    also: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What is claimed and how it is tried.

    Attributes:
        system: the recipe's name.
        paper: what the paper claims, with its own figure where it has one; one sentence.
        here: what of it is tried here; one sentence.
        data: on what, and how many.
        baseline: what it is held against.
        metric: name and definition in a few words.
        measure: both sides of one seed.
        seeds: of training, or of whatever is drawn; at least three.
        higher_is_better: whether more of the metric is better.
        says: "better", or "not worse" by no more than `margin`.
        margin: in the metric's unit; of "better" the least difference that counts.
        picture: SVG of what was found, from the sides of all seeds; None where a picture would say no more.
    """

    system: str
    paper: str
    here: str
    data: str
    baseline: str
    metric: str
    measure: Callable[[Place, int], Sides]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    higher_is_better: bool = True
    says: Literal["better", "not worse"] = "better"
    margin: float = 0.0
    picture: Callable[[list[Sides]], str] | None = None

    def declared(self) -> dict[str, Any]:
        """All that is said before the run, as JSON."""
        names = ("system", "paper", "here", "data", "baseline", "metric", "higher_is_better", "says", "margin")
        return {name: getattr(self, name) for name in names} | {"seeds": list(self.seeds)}


def difference(sides: Sequence[Sides]) -> Crossed:
    """The mean of ours - baseline over seeds and groups.

    A metric that is one value a seed has seeds alone for its sample.

    Raises:
        ValueError: seeds differ in their items, or a value is not finite.
    """
    table = np.stack([np.asarray(one.ours, np.float64) - np.asarray(one.baseline, np.float64) for one in sides])
    return crossed(table.T if table.shape[1] == 1 else table, None if table.shape[1] == 1 else sides[0].groups)


def found_of(claim: Claim, sides: Sequence[Sides]) -> dict[str, Any]:
    """Figures and verdict, as JSON."""
    what = difference(sides)
    low, high = what.interval(CONFIDENCE)
    also = {name: float(np.mean([one.also[name] for one in sides])) for name in sides[0].also}
    return {
        "ours": float(np.mean([np.mean(one.ours) for one in sides])),
        "baseline": float(np.mean([np.mean(one.baseline) for one in sides])),
        "difference": what.value,
        "low": low,
        "high": high,
        "could_have_seen": what.detectable(CONFIDENCE),
        "seeds": len(sides),
        "items": int(np.size(sides[0].ours)),
        "groups": what.groups if np.size(sides[0].ours) > 1 else 1,
        "verdict": verdict(claim, low, high),
        "also": also,
    }


def verdict(claim: Claim, low: float, high: float) -> str:
    """better, worse, not worse, or like its baseline, by the interval of ours - baseline."""
    if not math.isfinite(low) or not math.isfinite(high):
        return "nothing can be said"
    if not claim.higher_is_better:
        low, high = -high, -low
    if claim.says == "not worse":
        return "not worse" if low > -claim.margin else "worse" if high < -claim.margin else "not shown"
    return "better" if low > claim.margin else "worse" if high < 0 else "like its baseline"
