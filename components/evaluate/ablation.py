"""Arms side by side: the same steps and seeds on other data, their means and what their differences show.

    found = compare(metrics, items, groups, baseline="raw", definitions=definitions)
    found.rows, found.verdicts, headline(found.verdicts)

Where a metric is a mean over items, its interval resamples seeds and groups of items together
(components/evaluate/statistics/crossed.py). Of a median there are values by seed alone: its interval is
Student's over them, and no verdict is said of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.evaluate.statistics.crossed import crossed
from pairwright.components.evaluate.statistics.student import t_quantile
from pairwright.components.evaluate.statistics.verdicts import CONFIDENCE, ArmItems, Verdict, verdicts

SAME = 1e-4  # a metric this near the mean of its items is that mean; items are float32
ArmMetrics = Mapping[str, Mapping[int, Mapping[str, float]]]  # arm -> seed -> metric -> value


@dataclass(frozen=True)
class AblationRow:
    """One metric of one arm: mean over seeds, and the difference to the baseline on equal seeds.

    Attributes:
        seeds, n: how many models, and items each.
        low, high: 95% interval of the mean; None of a median of one seed.
        difference: of this arm less the baseline; None for the baseline itself and for a median.
        difference_low, difference_high: 95% interval of this difference alone. p: corrected for all of them.
        shows: the verdict's word (components/evaluate/statistics/verdicts.py); "" without a difference.
    """

    metric: str
    arm: str
    seeds: int
    mean: float
    low: float | None
    high: float | None
    n: int | None = None
    baseline: str | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    shows: str = ""
    definition: str = ""


@dataclass(frozen=True)
class Comparison:
    """A row a metric and arm; a verdict a metric and arm but the baseline; metrics that have no test."""

    rows: list[AblationRow]
    verdicts: list[Verdict]
    untested: list[str]


def compare(
    metrics: ArmMetrics,
    items: ArmItems,
    groups: Mapping[str, Sequence[Any]],
    *,
    baseline: str = "raw",
    definitions: Mapping[str, str] | None = None,
    lower_is_better: frozenset[str] = frozenset(),
) -> Comparison:
    """Every metric of every arm, metrics in the order first met.

    Args:
        items: a value an item, of the metrics that have items.
        groups: metric -> the items' groups.
        baseline: the arm that others are compared with, on the seeds both have.
    """
    names = list(dict.fromkeys(m for seeds in metrics.values() for values in seeds.values() for m in values))
    tested = {name for name in names if _is_mean(name, metrics, items)}
    means = {
        arm: {seed: {m: v for m, v in found.items() if m in tested} for seed, found in seeds.items()}
        for arm, seeds in items.items()
    }
    said = verdicts(means, groups, baseline=baseline, definitions=definitions, lower_is_better=lower_is_better)
    by_place = {(one.metric, one.arm): one for one in said}
    rows = []
    for name in names:
        for arm, seeds in metrics.items():
            values = {seed: found[name] for seed, found in seeds.items() if name in found}
            if values:
                table = [means[arm][seed][name] for seed in values] if name in tested else None
                text = (definitions or {}).get(name, "")
                rows.append(_row(name, arm, values, table, groups.get(name), by_place.get((name, arm)), text))
    return Comparison(rows, said, [name for name in names if name not in tested])


def _is_mean(name: str, metrics: ArmMetrics, items: ArmItems) -> bool:
    """Whether every model's value of this metric is the mean of its items."""
    for arm, seeds in metrics.items():
        for seed, values in seeds.items():
            found = items.get(arm, {}).get(seed, {}).get(name)
            if name in values and (found is None or not abs(float(np.mean(found)) - values[name]) <= SAME):
                return False
    return True


def _row(
    metric: str,
    arm: str,
    values: Mapping[int, float],
    items: list[np.ndarray] | None,
    groups: Sequence[Any] | None,
    verdict: Verdict | None,
    definition: str,
) -> AblationRow:
    if items is None:
        mean, low, high = t_interval(list(values.values()))
        return AblationRow(metric, arm, len(values), mean, low, high, definition=definition)
    found = crossed(np.stack(items), groups)
    bounds = found.interval(CONFIDENCE)
    row = AblationRow(metric, arm, found.seeds, found.value, *bounds, found.items, definition=definition)
    if verdict is None:
        return row
    compared = {
        "baseline": verdict.baseline,
        "difference": verdict.difference,
        "difference_low": verdict.low,
        "difference_high": verdict.high,
        "p": verdict.p,
        "shows": verdict.shows,
    }
    return AblationRow(**vars(row) | compared)


def t_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean with its 95% Student interval; one value says nothing of its spread, so it has none."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    half = t_quantile(0.975, len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half
