"""The mean of values crossed by seeds and groups of items, with an interval that has both for samples.

    found = crossed(ours - theirs, groups)          # (seeds, items), the same seeds and items
    found.value, found.interval(0.95), found.p, found.detectable(0.95)

Another training seed and another item would each give another difference, so both are drawn from
populations: d_si = mean + seed_s + group_g(i) + rest_si. With S seeds and G groups, S_a the variance
of the seeds' means over S and S_b that of the groups' over G, the two share the rest, which is taken
off the second; the half-width is

    sqrt(t(S-1)^2 S_a + t(G-1)^2 max(S_b - S_e, 0)),

the modified-large-sample form of Graybill & Wang (1980; Burdick & Graybill, 1992, chapter 3): each source
has the quantile of its own degrees of freedom. Satterthwaite's single one errs where the few seeds happen to
agree, and the pigeonhole bootstrap (Owen, 2007), which had stood here, calls a difference of nothing real in up
to a quarter of trials of three seeds at a nominal 5%. `python -m benchmarks.verdict_error` simulates all of
them; this one stays at its level from three seeds on, whichever source prevails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from pairwright.components.evaluate.statistics.student import t_quantile

MIN_SEEDS = 3  # fewer let no verdict be said
POWER = 0.8  # at which a difference counts as one that the test could have seen


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds and items.

    Attributes:
        value: the mean.
        seeds, groups, items: how many of each.
        of_seeds: variance of `value` from the seeds and from what seeds and groups share; 0 of one seed.
        of_groups: that from the groups alone.
        shared: what a seed and a group have together, within `of_seeds`; 0 of one seed.
    """

    value: float
    seeds: int
    groups: int
    items: int
    of_seeds: float
    of_groups: float
    shared: float = 0.0

    @property
    def decides(self) -> bool:
        """Whether a verdict may be said: enough seeds, and two groups at least."""
        return self.seeds >= MIN_SEEDS and self.groups >= 2

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.of_seeds + self.of_groups)

    def half(self, confidence: float) -> float:
        """Half the width of the two-sided interval; of one seed it is over its items alone."""
        upper = (1 + confidence) / 2
        seeds = t_quantile(upper, self.seeds - 1) ** 2 * self.of_seeds if self.seeds > 1 else 0.0
        groups = t_quantile(upper, self.groups - 1) ** 2 * self.of_groups if self.groups > 1 else math.inf
        return math.sqrt(seeds + groups)

    def interval(self, confidence: float) -> tuple[float, float]:
        half = self.half(confidence)
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Two-sided p-value of no difference: one less the confidence at which the interval touches 0."""
        if self.value == 0 or self.groups < 2:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half(middle) < abs(self.value) else (low, middle)
        return 1 - low

    def detectable(self, confidence: float) -> float:
        """The true difference that this test would have told from 0 in POWER of trials, from its own spread."""
        return self.half(confidence) + NormalDist().inv_cdf(POWER) * self.standard_error


def crossed(values: Any, groups: Sequence[Any] | np.ndarray | None = None) -> Crossed:
    """The mean of (seeds, items) values; items of one group are not independent; each its own if None.

    Groups of several items weigh by their size, so the mean is over items, and a group's share in the
    variance is that of its sum (a ratio estimate).

    Raises:
        ValueError: a value that is not finite, or no value at all.
    """
    table = np.atleast_2d(np.asarray(values, np.float64))
    if not table.size or not np.isfinite(table).all():
        raise ValueError("a mean over seeds and items needs values, and all of them finite")
    seeds, items = table.shape
    codes = np.arange(items) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    if len(codes) != items:
        raise ValueError(f"{len(codes)} groups for {items} items")
    count, mean = int(codes.max()) + 1, float(table.mean())
    sums = np.stack([np.bincount(codes, row, minlength=count) for row in table - mean])
    influence = sums * count / items  # (seeds, groups), of mean 0
    by_seed, by_group = influence.mean(axis=1), influence.mean(axis=0)
    of_seeds = float(by_seed.var(ddof=1)) / seeds if seeds > 1 else 0.0
    of_groups = float(by_group.var(ddof=1)) / count if count > 1 else 0.0
    shared = 0.0
    if seeds > 1 and count > 1:
        rest = influence - by_seed[:, None] - by_group[None, :]
        shared = float((rest**2).sum()) / ((seeds - 1) * (count - 1)) / (seeds * count)
        of_groups = max(of_groups - shared, 0.0)
    return Crossed(mean, seeds, count, items, of_seeds, of_groups, shared)
