"""Arms side by side: the same steps and seeds on other data, their means and paired differences.

An interval over seeds is Student's t: with three seeds it is wide, and honest. Where items are
given too, the paired difference over items (averaged over seeds) has a bootstrap interval, which
says how far the split, not the seed, decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components.evaluate.bootstrap import paired_bootstrap

# Two-sided 95% quantiles of Student's t by degrees of freedom 1..30; 1.96 beyond.
T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
ArmMetrics = Mapping[str, Mapping[int, Mapping[str, float]]]  # arm -> seed -> metric -> value
ArmItems = Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]  # arm -> seed -> metric -> a value an item


@dataclass(frozen=True)
class AblationRow:
    """One metric of one arm: mean over seeds, and the difference to the baseline on equal seeds.

    Attributes:
        low, high: 95% Student interval of the mean over seeds; None of one seed.
        difference: mean over seeds of this arm less the baseline; None for the baseline itself.
        item_low, item_high, p: 95% bootstrap interval and p-value over items, seeds averaged.
    """

    metric: str
    arm: str
    seeds: int
    mean: float
    low: float | None
    high: float | None
    baseline: str | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    item_low: float | None = None
    item_high: float | None = None
    p: float | None = None


def ablation_table(
    metrics: ArmMetrics,
    *,
    baseline: str = "raw",
    items: ArmItems | None = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
) -> list[AblationRow]:
    """A row a metric and arm, metrics in the order first met.

    Args:
        baseline: the arm that others are compared with, on the seeds both have.
        items: a value an item, for the interval over items.
        groups: metric -> the items' groups.
    """
    names = list(dict.fromkeys(m for seeds in metrics.values() for values in seeds.values() for m in values))
    rows = []
    for name in names:
        for arm, seeds in metrics.items():
            values = {seed: found[name] for seed, found in seeds.items() if name in found}
            if values:
                rows.append(_row(name, arm, values, metrics, baseline, items, (groups or {}).get(name)))
    return rows


def _row(
    metric: str,
    arm: str,
    values: Mapping[int, float],
    metrics: ArmMetrics,
    baseline: str,
    items: ArmItems | None,
    groups: Sequence[Any] | None,
) -> AblationRow:
    mean, low, high = t_interval(list(values.values()))
    plain = AblationRow(metric, arm, len(values), mean, low, high)
    other = {s: v[metric] for s, v in metrics.get(baseline, {}).items() if metric in v and s in values}
    if arm == baseline or not other:
        return plain
    difference, below, above = t_interval([values[seed] - other[seed] for seed in other])
    compared = asdict(plain) | {
        "baseline": baseline,
        "difference": difference,
        "difference_low": below,
        "difference_high": above,
    }
    if items is not None:
        ours, theirs = (_over_seeds(items, which, metric, list(other)) for which in (arm, baseline))
        if ours is not None and theirs is not None:
            paired = paired_bootstrap(ours, theirs, groups)
            compared |= {"item_low": paired.low, "item_high": paired.high, "p": paired.p}
    return AblationRow(**compared)


def t_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean with its 95% Student interval; one value says nothing of its spread, so it has none."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    freedom = len(values) - 1
    quantile = T95[freedom - 1] if freedom <= len(T95) else 1.96
    half = quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def plot_points(rows: Sequence[AblationRow], metrics: ArmMetrics) -> list[dict[str, Any]]:
    """What a plot draws: an arm's mean and interval, and a dot a seed, by metric."""
    points = []
    for row in rows:
        dots = {seed: found[row.metric] for seed, found in metrics[row.arm].items() if row.metric in found}
        points.append(
            {
                "metric": row.metric,
                "arm": row.arm,
                "mean": row.mean,
                "low": row.low,
                "high": row.high,
                "seeds": [{"seed": seed, "value": value} for seed, value in dots.items()],
            }
        )
    return points


def _over_seeds(items: ArmItems, arm: str, metric: str, seeds: Sequence[int]) -> np.ndarray | None:
    found = [items[arm][s][metric] for s in seeds if metric in items.get(arm, {}).get(s, {})]
    return np.mean(found, axis=0) if found else None
