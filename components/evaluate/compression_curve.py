"""The compression curve's verdicts: which shares are not worse than the whole, and where an order beats chance.

"Not worse" is a test of non-inferiority: the lower one-sided 95% bound of the difference to the whole
lies above -margin, a margin declared beforehand. The bound is over seeds and groups of queries together
(components/evaluate/statistics/crossed.py, whose error is simulated); fewer than three seeds let nothing be said.
Shares are tested from the largest down and the first failure ends it (fixed-sequence testing), so many
shares cost no confidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from pairwright.components.evaluate.statistics.crossed import MIN_SEEDS, Crossed, crossed

ONE_SIDED = 0.95


@dataclass(frozen=True)
class Judged:
    """One point of the curve against the whole.

    Attributes:
        mean: of the metric over seeds and queries.
        difference: to the whole. low, high: its two-sided 90% interval over seeds and groups, so that `low`
            is the one-sided 95% bound the test reads.
        not_worse: `low` > -margin, and there are seeds enough to say so.
        power: chance that an equally good model would have passed, given the interval's width.
        decides: whether there are seeds enough for any verdict.
    """

    mean: float
    difference: float
    low: float
    high: float
    not_worse: bool
    power: float
    decides: bool = True

    @property
    def better(self) -> bool:
        return self.decides and self.low > 0

    @property
    def worse(self) -> bool:
        return self.decides and self.high < 0


def judge(
    items: np.ndarray, whole: np.ndarray, groups: np.ndarray, margin: float, confidence: float = ONE_SIDED
) -> Judged:
    """A share's model against the whole's.

    Args:
        items, whole: (seeds, queries), the same seeds in the same order.
        groups: (queries,) what belongs together.
        confidence: of each of the two one-sided bounds.
    """
    found = crossed(np.asarray(items, np.float64) - np.asarray(whole, np.float64), groups)
    low, high = found.interval(2 * confidence - 1)
    return Judged(
        mean=float(np.mean(items)),
        difference=found.value,
        low=low,
        high=high,
        not_worse=bool(found.decides and low > -margin),
        power=power_of(found, margin, confidence),
        decides=found.decides,
    )


def power_of(found: Crossed, margin: float, confidence: float = ONE_SIDED) -> float:
    """Chance that a model equal to the whole passes: Phi((margin - half) / se); 0 of too few seeds."""
    if not found.decides:
        return 0.0
    if found.standard_error == 0:
        return float(margin > 0)
    return NormalDist().cdf((margin - found.half(2 * confidence - 1)) / found.standard_error)


def smallest_not_worse(judged: Mapping[float, Judged]) -> float | None:
    """The smallest share that passes, where every larger one passes too; None if the largest fails."""
    found = None
    for share in sorted(judged, reverse=True):
        if not judged[share].not_worse:
            break
        found = share
    return found


def against_chance(
    items: Mapping[float, np.ndarray], random: Mapping[float, np.ndarray], groups: np.ndarray, margin: float
) -> dict[float, Judged]:
    """Each share's model against that of as many random pairs.

    Bounds are Bonferroni's over the shares, so that "better than chance" is wrong at any of them in 5% at most.
    """
    confidence = 1 - (1 - ONE_SIDED) / len(items)
    return {share: judge(found, random[share], groups, margin, confidence=confidence) for share, found in items.items()}


def in_words(
    order: str,
    judged: Mapping[float, Judged],
    random: Mapping[float, Judged],
    chance: Mapping[float, Judged],
    margin: float,
    baseline: str = "random pairs",
) -> str:
    """What the curve shows: the order and the baseline against the whole, then the one against the other.

    Args:
        random: the baseline's shares against the whole. chance: the order's against the baseline's.
        baseline: what chance draws.
    """
    if not all(one.decides for one in judged.values()):
        return f"{order}: no verdict, a curve needs {MIN_SEEDS} seeds."
    ours, theirs = smallest_not_worse(judged), smallest_not_worse(random)
    points = f"{100 * margin:g} points of mean recall"
    if ours is None:
        said = f"No share kept by {order} is shown to be within {points} of training on everything"
    else:
        said = f"The best {ours:.0%} by {order} train a model that is not worse than everything by {points}"
    said += f"; {baseline} do at {'no share tested' if theirs is None else format(theirs, '.0%')}"
    better = [f"{share:.0%}" for share in sorted(chance, reverse=True) if chance[share].better]
    worse = [f"{share:.0%}" for share in sorted(chance, reverse=True) if chance[share].worse]
    said += f". At equal size it beats them {'at ' + ', '.join(better) if better else 'nowhere'}"
    said += f" and is worse at {', '.join(worse)}." if worse else "."
    failed = next((share for share in sorted(judged, reverse=True) if not judged[share].not_worse), None)
    if failed is not None:
        said += f" An equally good model would have passed at {failed:.0%} in {judged[failed].power:.0%} of trials."
    return said


def curve_rows(points: Mapping[str, Mapping[float, Judged]], kept: Mapping[float, int]) -> list[Any]:
    """The curve as rows of a table, each order's shares from the largest down."""
    return [
        {"order": order, "share": share, "kept": kept[share]}
        | {name: _plain(value) for name, value in vars(judged[share]).items() if name != "decides"}
        for order, judged in points.items()
        for share in sorted(judged, reverse=True)
    ]


def _plain(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value
