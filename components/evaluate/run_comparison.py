"""Two runs or more on the same items: every declared metric, each run against the first.

    found = compare_runs([first, second])
    found.rows, found.worst["second"].words

What is said of *these models* comes from a paired bootstrap by group of their items, seeds averaged: it draws other
items, not another training. What is said of the *runs*, as another training would show it again, is a verdict
(statistics/verdicts.py) over seeds and groups, from three shared seeds on. Both count all comparisons (Holm, 1979).
A metric that is a mean over items is tested as one, a median as a median; what is neither is listed and not tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.statistics.bootstrap import Difference, paired_bootstrap, paired_bootstrap_median
from pairwright.components.evaluate.statistics.verdicts import CONFIDENCE, Verdict, holm, verdicts

SAME = 1e-4  # a value this near the mean, or the median, of its items is that; items are float32


@dataclass(frozen=True)
class Measured:
    """One run's arm on one split.

    Attributes:
        name: it in words, unlike every other's.
        declared: metric -> what `metrics.json` says of it, of any seed.
        values, items: seed -> metric -> the figure, and a value an item.
        groups: metric -> the items' groups.
        split: the split's digest.
    """

    name: str
    declared: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, Mapping[str, float]]
    items: Mapping[str, Mapping[str, np.ndarray]]
    groups: Mapping[str, np.ndarray]
    split: str


@dataclass(frozen=True)
class Row:
    """One metric of one run against the first.

    Attributes:
        value, base: means over the seeds of each.
        difference, low, high: run less first, with the 95% interval of these models alone.
        p: of no difference between these models, corrected for all comparisons.
        gain: the difference with the sign that is good for the run.
        better, same, worse: shares of groups in which the run is ahead, even and behind; of means over items.
        verdict: over seeds and groups; None of a median, and of fewer than three shared seeds.
    """

    metric: str
    run: str
    first: str
    value: float
    base: float
    difference: float
    low: float
    high: float
    p: float
    n: int
    groups: int
    seeds: int
    higher_is_better: bool
    definition: str
    better: float | None = None
    same: float | None = None
    worse: float | None = None
    verdict: Verdict | None = None

    @property
    def gain(self) -> float:
        return self.difference if self.higher_is_better else -self.difference

    @property
    def shows(self) -> str:
        """Of these models: better, worse, or cannot be told apart, all comparisons counted."""
        if self.p >= 1 - CONFIDENCE or not self.difference:
            return "cannot be told apart"
        return "better" if self.gain > 0 else "worse"

    @property
    def over_seeds(self) -> str:
        """Of the runs: the verdict's word, "better" and "worse" only where these models show it, too; "" of none.

        Where few seeds happen to agree to the digit, the verdict's interval has no width, and says more than is known.
        """
        if self.verdict is None:
            return ""
        decided = not self.verdict.shows.startswith(("better", "worse")) or self.shows != "cannot be told apart"
        return self.verdict.shows if decided else "cannot be told apart"

    @property
    def words(self) -> str:
        return f"{self.metric} {self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class RunComparison:
    """Rows by metric, then run; `untested` metrics have no test, and why."""

    first: str
    rows: list[Row]
    untested: dict[str, str] = field(default_factory=dict)

    @property
    def worst(self) -> dict[str, Row]:
        """Run -> where it falls shortest, in units of its own interval, so that ranks and shares compare."""
        return {
            run: min((row for row in self.rows if row.run == run), key=_in_its_own_units)
            for run in dict.fromkeys(row.run for row in self.rows)
        }

    def headline(self, run: str) -> str:
        """What the rows of one run say together, the worst named."""
        mine = [row for row in self.rows if row.run == run]
        parts = [
            f"{shows} in {', '.join(row.words for row in mine if row.shows == shows)}"
            for shows in ("better", "worse")
            if any(row.shows == shows for row in mine)
        ]
        left = sum(row.shows == "cannot be told apart" for row in mine)
        if left:
            parts.append(f"cannot be told apart in {'any' if left == len(mine) else f'the other {left}'}")
        return (
            f"{run} against {self.first}, these models on {len(mine)} metrics: {'; '.join(parts)}. "
            f"The worst is {self.worst[run].words}."
        )


def compare_runs(runs: Sequence[Measured], *, seed: int = 0) -> RunComparison:
    """Every run against the first.

    Raises:
        DatasetError: fewer than two, two of one name, another split, or items that are not the same.
    """
    if len(runs) < 2 or len({run.name for run in runs}) < len(runs):
        raise DatasetError("a comparison is of two different runs or arms at least, each named once")
    first = runs[0]
    for run in runs[1:]:
        if run.split != first.split:
            raise DatasetError(
                f"{first.name} was measured on the split {first.split[:12]} and {run.name} on {run.split[:12]}; only "
                "figures on the same items compare: run one of them again with the other's --dev and --test"
            )
    untested = {name: why for run in runs for name, why in _untested(run, first).items()}
    rows = [
        _row(metric, run, first, seed)
        for metric in first.declared
        if metric not in untested
        for run in runs[1:]
        if metric in run.declared
    ]
    if not rows:
        raise DatasetError(f"{first.name} and the others share no metric with items; measure them by the same recipe")
    said = {(one.metric, one.arm): one for run in runs[1:] for one in _verdicts(run, first, rows)}
    corrected = holm([row.p for row in rows])
    return RunComparison(
        first.name,
        [replace(row, p=p, verdict=said.get((row.metric, row.run))) for row, p in zip(rows, corrected, strict=True)],
        untested,
    )


def same_items(run: Measured, first: Measured) -> list[str]:
    """Metrics of both that are means over the same items, by the same definition.

    Raises:
        DatasetError: another split, or other items.
    """
    if run.split != first.split:
        raise DatasetError(f"{run.name} and {first.name} were measured on different splits; name two of one")
    untested = _untested(run, first)
    return [name for name in first.declared if name not in untested and _kind(first, name) == "mean"]


def _untested(run: Measured, first: Measured) -> dict[str, str]:
    """Metric -> why it is not compared.

    Raises:
        DatasetError: a metric's items are others than the first's.
    """
    found: dict[str, str] = {}
    for metric in {**first.declared, **run.declared}:
        if metric not in run.declared or metric not in first.declared:
            found[metric] = f"{(first if metric in run.declared else run).name} was not measured by it"
        elif run.declared[metric]["definition"] != first.declared[metric]["definition"]:
            found[metric] = f"{run.name} was measured by another definition of it"
        elif _kind(run, metric) is None or _kind(run, metric) != _kind(first, metric):
            found[metric] = "it is neither the mean nor the median of items"
        elif not np.array_equal(run.groups[metric], first.groups[metric]):
            raise DatasetError(
                f"{metric}: {run.name} was measured on other items than {first.name}; run one of them again with the "
                "other's benchmarks"
            )
    return found


def _kind(run: Measured, metric: str) -> str | None:
    """Whether every seed's figure is the mean of its items, else their median, else neither."""
    for kind, of in (("mean", np.mean), ("median", np.median)):
        if all(
            metric in items and abs(float(of(items[metric])) - run.values[seed][metric]) <= SAME
            for seed, items in run.items.items()
        ):
            return kind
    return None


def _row(metric: str, run: Measured, first: Measured, seed: int) -> Row:
    mine, theirs = _averaged(run, metric), _averaged(first, metric)
    groups = first.groups[metric]
    median = _kind(first, metric) == "median"
    test = paired_bootstrap_median if median else paired_bootstrap
    found: Difference = test(mine, theirs, groups.tolist(), seed=seed)
    declared = first.declared[metric]
    higher = bool(declared["higher_is_better"])
    shared = [one for one in run.items if one in first.items]
    ahead = _ahead(mine - theirs, groups, higher)
    return Row(
        metric,
        run.name,
        first.name,
        _mean_value(run, metric),
        _mean_value(first, metric),
        found.difference,
        found.low,
        found.high,
        found.p,
        len(mine),
        len(np.unique(groups)),
        len(shared),
        higher,
        str(declared["definition"]),
        *((None, None, None) if median else ahead),
    )


def _averaged(run: Measured, metric: str) -> np.ndarray:
    """A value an item, over the run's seeds."""
    return np.stack([items[metric] for items in run.items.values()]).astype(np.float64).mean(axis=0)


def _mean_value(run: Measured, metric: str) -> float:
    return float(np.mean([values[metric] for values in run.values.values()]))


def _ahead(difference: np.ndarray, groups: np.ndarray, higher: bool) -> tuple[float, float, float]:
    codes = np.unique(groups, return_inverse=True)[1].reshape(-1)
    sums = np.bincount(codes, difference if higher else -difference)
    near = 1e-9 * max(1.0, float(np.abs(sums).max()))
    ahead, behind = float((sums > near).mean()), float((sums < -near).mean())
    return ahead, 1.0 - ahead - behind, behind


def _verdicts(run: Measured, first: Measured, rows: Sequence[Row]) -> list[Verdict]:
    tested = [row.metric for row in rows if row.run == run.name and row.better is not None]
    shared = [seed for seed in run.items if seed in first.items]
    arms = {one.name: {n: {m: one.items[s][m] for m in tested} for n, s in enumerate(shared)} for one in (first, run)}
    lower = frozenset(row.metric for row in rows if not row.higher_is_better)
    groups = {metric: first.groups[metric].tolist() for metric in tested}
    said = verdicts(arms, groups, baseline=first.name, lower_is_better=lower) if shared else []
    return [one for one in said if one.shows != "too few seeds"]


def _in_its_own_units(row: Row) -> float:
    half = (row.high - row.low) / 2
    return row.gain / half if half > 0 else row.gain
