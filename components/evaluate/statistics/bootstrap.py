"""Percentile bootstrap by group (Efron & Tibshirani, 1993, chapter 13).

What is drawn anew is groups, not items: variants of one drawing or captions that recur are not
independent, and an interval that took them for it would be too narrow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.finite import require_finite

REPLICATES = 2000
CONFIDENCE = 0.95
FEW = 8192  # groups, of which the draws (128 MiB at most) are kept for the next metric


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """a - b on the same items; `p` is two-sided, of no difference."""

    difference: float
    low: float
    high: float
    p: float


def bootstrap_mean(
    values: Any, groups: Sequence[Any] | None = None, *, seed: int = 0, confidence: float = CONFIDENCE
) -> Interval:
    """Mean of per-item values with its interval; each item its own group if None."""
    items = np.asarray(values, dtype=np.float64)
    return _interval(float(items.mean()), _replicate_means(items, groups, seed), confidence)


def bootstrap_median(
    values: Any, groups: Sequence[Any] | None = None, *, seed: int = 0, confidence: float = CONFIDENCE
) -> Interval:
    """Median of per-item values with its interval (the lower of two middle values in a replicate)."""
    items = np.asarray(values, dtype=np.float64)
    require_finite(items, "the values whose median is taken")  # NaN would be sorted last
    order = np.argsort(items, kind="stable")
    codes = _codes(groups, len(items))
    drawn, sorted_codes = _draws(codes, seed), codes[order]
    medians = np.empty(len(drawn))
    for replicate, counts in enumerate(drawn):
        below = np.cumsum(counts[sorted_codes])
        medians[replicate] = items[order][np.searchsorted(below, below[-1] / 2)]
    return _interval(float(np.median(items)), medians, confidence)


def bootstrap_statistic(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[Any],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Any statistic of items with its interval, e.g. a correlation.

    Args:
        statistic: how often each item counts (n,) -> the statistic; of all once it is the value.
    """
    codes = _codes(groups, len(groups))
    drawn = [statistic(counts[codes].astype(np.float64)) for counts in _draws(codes, seed)]
    value = statistic(np.ones(len(codes)))
    require_finite([value, *drawn], "the statistic that is drawn anew")
    return _interval(value, np.asarray(drawn), confidence)


def paired_bootstrap(
    a: Any, b: Any, groups: Sequence[Any] | None = None, *, seed: int = 0, confidence: float = CONFIDENCE
) -> Difference:
    """Mean of a - b over the same items, its interval and p-value.

    p is twice the share of replicates on the far side of 0, none counted as half a replicate; equal
    inputs give 1.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    means = _replicate_means(difference, groups, seed)
    value = float(difference.mean())
    tail = min((means <= 0).mean(), (means >= 0).mean())
    p = 1.0 if not difference.any() else min(1.0, 2 * max(float(tail), 0.5 / len(means)))
    bounds = _interval(value, means, confidence)
    return Difference(value, bounds.low, bounds.high, p)


def paired_bootstrap_median(
    a: Any, b: Any, groups: Sequence[Any] | None = None, *, seed: int = 0, confidence: float = CONFIDENCE
) -> Difference:
    """Median of a less median of b over the same items, both of the groups that a replicate draws; p as above."""
    both = np.asarray(a, np.float64), np.asarray(b, np.float64)
    codes = _codes(groups, len(both[0]))
    orders = []
    for one in both:
        require_finite(one, "the values whose median is taken")
        orders.append(np.argsort(one, kind="stable"))
    drawn = _draws(codes, seed)
    found = np.empty(len(drawn))
    for replicate, counts in enumerate(drawn):
        weights = counts[codes]
        medians = []
        for one, order in zip(both, orders, strict=True):
            below = np.cumsum(weights[order])
            medians.append(one[order][np.searchsorted(below, below[-1] / 2)])
        found[replicate] = medians[0] - medians[1]
    value = float(np.median(both[0]) - np.median(both[1]))
    tail = min((found <= 0).mean(), (found >= 0).mean())
    bounds = _interval(value, found, confidence)
    p = 1.0 if np.array_equal(*both) else min(1.0, 2 * max(float(tail), 0.5 / len(found)))
    return Difference(value, bounds.low, bounds.high, p)


def _replicate_means(items: np.ndarray, groups: Sequence[Any] | None, seed: int) -> np.ndarray:
    """Mean of each replicate: its groups' sums over its groups' sizes."""
    require_finite(items, "the values whose mean is taken")
    codes = _codes(groups, len(items))
    sums, sizes = np.bincount(codes, items), np.bincount(codes)
    drawn = _draws(codes, seed)
    means: np.ndarray = (drawn @ sums) / (drawn @ sizes)
    return means


def _codes(groups: Sequence[Any] | None, items: int) -> np.ndarray:
    """Groups numbered from 0; int64 (items,)."""
    if groups is None:
        return np.arange(items)
    assert len(groups) == items, f"{len(groups)} groups for {items} items"
    return np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)


def _draws(codes: np.ndarray, seed: int) -> np.ndarray:
    """How often each group is drawn in each replicate: int64 (replicates, groups)."""
    count = int(codes.max()) + 1
    return (_few_draws if count <= FEW else _counts)(count, seed)


def _counts(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=REPLICATES)


@functools.lru_cache(2)
def _few_draws(count: int, seed: int) -> np.ndarray:
    """Drawn once for all metrics of a benchmark, which have the same groups: drawing takes longer than ranking."""
    drawn = _counts(count, seed)
    drawn.flags.writeable = False
    return drawn


def _interval(value: float, replicates: np.ndarray, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
