"""Verdicts: what arms that differ in their data show, on every metric declared, in words no stronger than the test.

    said = verdicts(items, groups, definitions, baseline="raw")
    headline(said)      # "curated against raw, 9 metrics, 3 seeds: worse in retrieval.t2i_r1 ..."

"Better" and "worse" are said where the test over seeds and groups (components/evaluate/statistics/crossed.py) still
says so among all metrics and arms (Holm, 1979), so that any of them is said wrongly in 5% at most. A
difference whose own 95% interval leaves out 0, but not among so many, is "higher" or "lower by itself".
Fewer than three seeds let nothing be said. The worst metric is always named, and so is the difference
that the test could have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from pairwright.components.evaluate.statistics.crossed import MIN_SEEDS, Crossed, crossed

CONFIDENCE = 0.95
Shows = Literal["better", "worse", "better by itself", "worse by itself", "cannot be told apart", "too few seeds"]
ArmItems = Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]  # arm -> seed -> metric -> a value an item


@dataclass(frozen=True)
class Verdict:
    """One arm against the baseline on one metric.

    Attributes:
        difference: mean over seeds and items of the arm less the baseline, in the metric's unit.
        low, high: its 95% interval, of this metric and arm alone.
        p: two-sided, corrected for all `comparisons` (Holm).
        detectable: the true difference that this interval would have told from 0 in four trials of five.
        seeds, n, groups: what it rests on.
    """

    metric: str
    arm: str
    baseline: str
    shows: Shows
    difference: float
    low: float
    high: float
    p: float
    comparisons: int
    detectable: float
    seeds: int
    n: int
    groups: int
    higher_is_better: bool = True
    definition: str = ""

    @property
    def gain(self) -> float:
        """The difference with the sign that is good for the arm."""
        return self.difference if self.higher_is_better else -self.difference

    @property
    def words(self) -> str:
        """One sentence, with the interval and what the test could have seen."""
        numbers = f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        if self.shows == "too few seeds":
            return (
                f"{self.arm} less {self.baseline} in {self.metric}: {numbers}; no verdict, "
                f"{self.seeds} seed{'s are' if self.seeds > 1 else ' is'} fewer than {MIN_SEEDS}."
            )
        if self.shows == "cannot be told apart":
            return (
                f"{self.arm} and {self.baseline} cannot be told apart in {self.metric}: {numbers}; "
                f"a difference of {self.detectable:.3f} would have been seen four times in five."
            )
        if self.shows in ("better", "worse"):
            return f"{self.arm} is {self.shows} than {self.baseline} in {self.metric}: {numbers}, p {self.p:.3f}."
        return (
            f"{self.arm} is {self.shows.replace(' ', f' than {self.baseline} in {self.metric} ', 1)}: {numbers}; "
            f"among {self.comparisons} comparisons that may be chance (p {self.p:.2f})."
        )


def verdicts(
    items: ArmItems,
    groups: Mapping[str, Sequence[Any]],
    *,
    baseline: str,
    definitions: Mapping[str, str] | None = None,
    lower_is_better: frozenset[str] = frozenset(),
    confidence: float = CONFIDENCE,
) -> list[Verdict]:
    """A verdict a metric and arm other than the baseline, on the seeds both have, metrics in the order first met.

    Args:
        items: of metrics that are means over items; a median has no test here.
        groups: metric -> the items' groups.
        lower_is_better: metrics of which less is more.
        confidence: of each interval, and of all verdicts together.
    """
    theirs = items.get(baseline, {})
    pairs = []
    for arm, seeds in items.items():
        if arm == baseline:
            continue
        for metric in dict.fromkeys(name for found in seeds.values() for name in found):
            both = [seed for seed in seeds if metric in seeds[seed] and metric in theirs.get(seed, {})]
            if both:
                pairs.append((arm, metric, np.stack([seeds[s][metric] - theirs[s][metric] for s in both])))
    means = [crossed(difference, groups.get(metric)) for _, metric, difference in pairs]
    corrected = holm([mean.p for mean in means])
    return [
        _verdict(
            mean,
            p,
            Named(metric, arm, baseline, metric not in lower_is_better, (definitions or {}).get(metric, "")),
            confidence,
            len(pairs),
        )
        for (arm, metric, _), mean, p in zip(pairs, means, corrected, strict=True)
    ]


class Named(NamedTuple):
    """What is compared."""

    metric: str
    arm: str
    baseline: str
    higher_is_better: bool
    definition: str


def _verdict(mean: Crossed, p: float, what: Named, confidence: float, comparisons: int) -> Verdict:
    low, high = mean.interval(confidence)
    good = mean.value > 0 if what.higher_is_better else mean.value < 0
    shows: Shows = "cannot be told apart"
    if not mean.decides:
        shows = "too few seeds"
    elif p < 1 - confidence:
        shows = "better" if good else "worse"
    elif low > 0 or high < 0:
        shows = "better by itself" if good else "worse by itself"
    return Verdict(
        metric=what.metric,
        arm=what.arm,
        baseline=what.baseline,
        shows=shows,
        difference=mean.value,
        low=low,
        high=high,
        p=p,
        comparisons=comparisons,
        detectable=mean.detectable(confidence),
        seeds=mean.seeds,
        n=mean.items,
        groups=mean.groups,
        higher_is_better=what.higher_is_better,
        definition=what.definition,
    )


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected so that any error among them has the chance of one (Holm, 1979): (n,) -> (n,)."""
    corrected, highest = [0.0] * len(p), 0.0
    for place, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        corrected[i] = highest
    return corrected


def headline(found: Sequence[Verdict]) -> str:
    """What all verdicts say, arm by arm: how many metrics, which are better, which worse, and the worst of all."""
    return " ".join(
        _of_arm([one for one in found if one.arm == arm]) for arm in dict.fromkeys(one.arm for one in found)
    )


def _of_arm(found: Sequence[Verdict]) -> str:
    first, worst = found[0], min(found, key=lambda one: one.gain)
    seeds = f"{first.seeds} seed{'' if first.seeds == 1 else 's'}"
    said = f"{first.arm} against {first.baseline} on {len(found)} metrics with {seeds}: "
    if first.shows == "too few seeds":
        said += f"no verdict, {MIN_SEEDS} seeds are needed"
    else:
        parts = [
            f"{shows} in {', '.join(_numbers(one) for one in found if one.shows == shows)}"
            for shows in ("better", "worse", "better by itself", "worse by itself")
            if any(one.shows == shows for one in found)
        ]
        left = sum(one.shows == "cannot be told apart" for one in found)
        if left:
            parts.append(f"cannot be told apart in {'any' if left == len(found) else f'the other {left}'}")
        said += "; ".join(parts)
    named = "" if worst.shows.startswith("worse") else f"; the worst is {_numbers(worst)}"
    return (
        f"{said}{named}. Differences of {min(one.detectable for one in found):.3f} to "
        f"{max(one.detectable for one in found):.3f}, by metric, would have been seen four times in five."
    )


def _numbers(one: Verdict) -> str:
    return f"{one.metric} ({one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}])"
