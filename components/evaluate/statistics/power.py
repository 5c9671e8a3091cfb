"""Power: how many groups of test items a difference needs, and what so many could have seen.

    spread = spread_of(ours - theirs, groups)          # (seeds, items), measured
    needed(spread, 0.05, seeds=3)                      # groups that show 0.05 four times in five
    seen(spread, 120, seeds=3)                         # the difference that 120 groups show four times in five

The parts of a difference's variance, of the seed, of the group and of both together, are estimated as
components/evaluate/statistics/crossed.py has them, and put together for another number of groups and seeds; what is
planned for is its own test. With few seeds the length of that test's interval varies so much that its average says too
little (a difference at half + z SE is told in some 70% of trials of three seeds, not in 80%), so the power is counted
over draws of the interval: of normal parts its three mean squares are scaled chi squares that do not depend on each
other or on the mean (Searle, Casella & McCulloch, 1992, chapter 4). A test counts it on drawn data, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.evaluate.statistics.crossed import POWER, Crossed, crossed
from pairwright.components.evaluate.statistics.student import t_quantile

CONFIDENCE = 0.95
MOST_GROUPS = 10_000_000
TRIALS = 20_000


@dataclass(frozen=True)
class Spread:
    """Variances of one item-difference's parts, as measured.

    Attributes:
        seed, group, both: of the training seed, of the group of items, of what the two have together (with a group's
            own noise); of one seed `group` holds all.
        items_a_group: how many on average.
        measured: the mean it was estimated with.
    """

    seed: float
    group: float
    both: float
    items_a_group: float
    measured: Crossed


def spread_of(values: Any, groups: Sequence[Any] | np.ndarray | None = None) -> Spread:
    """From (seeds, items) differences of two models, or of two arms on the same seeds.

    Raises:
        ValueError: a value that is not finite, or no value at all.
    """
    found = crossed(values, groups)
    both = found.shared * found.seeds * found.groups
    seed = max(found.of_seeds * found.seeds - both / found.groups, 0.0) if found.seeds > 1 else 0.0
    return Spread(seed, found.of_groups * found.groups, both, found.items / found.groups, found)


def power(
    spread: Spread, groups: int, seeds: int, difference: float, confidence: float = CONFIDENCE, seed: int = 0
) -> float:
    """The chance that the test tells a true difference from 0 with so many groups and seeds."""
    noise, half = _draws(spread, groups, seeds, confidence, seed)
    return float((np.abs(noise + difference) > half).mean())


def seen(spread: Spread, groups: int, seeds: int, confidence: float = CONFIDENCE, seed: int = 0) -> float:
    """The true difference that so many groups and seeds tell from 0 in POWER of trials."""
    noise, half = _draws(spread, groups, seeds, confidence, seed)
    low, high = 0.0, float((half + np.abs(noise)).max())
    for _ in range(40):
        middle = (low + high) / 2
        told = (np.abs(noise + middle) > half).mean() >= POWER
        low, high = (low, middle) if told else (middle, high)
    return high


def needed(spread: Spread, difference: float, seeds: int, confidence: float = CONFIDENCE) -> int | None:
    """The fewest groups that show `difference` in POWER of trials; None if the seeds alone forbid it.

    Raises:
        ValueError: the difference is not above 0.
    """
    if not difference > 0 or not math.isfinite(difference):
        raise ValueError(f"a difference to be seen is above 0, not {difference}")
    if seen(spread, MOST_GROUPS, seeds, confidence) > difference:
        return None
    low, high = 1, MOST_GROUPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(spread, middle, seeds, confidence) <= difference else (middle, high)
    return high


def _draws(spread: Spread, groups: int, seeds: int, confidence: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """TRIALS errors of the mean, and half widths of the interval; float64 each. One group decides nothing."""
    draw = np.random.default_rng(seed)
    upper = (1 + confidence) / 2
    if groups < 2:
        return np.zeros(TRIALS), np.full(TRIALS, np.inf)
    t_groups = t_quantile(upper, groups - 1)
    if seeds == 1:
        variance = (spread.group + spread.both) / groups
        noise = math.sqrt(variance) * draw.standard_normal(TRIALS)
        return noise, t_groups * np.sqrt(variance * _chi(draw, groups - 1))
    of_seeds = (spread.seed + spread.both / groups) / seeds
    of_groups = (spread.group + spread.both / seeds) / groups
    shared = spread.both / (seeds * groups)
    noise = math.sqrt(spread.seed / seeds + spread.group / groups + shared) * draw.standard_normal(TRIALS)
    squares = t_quantile(upper, seeds - 1) ** 2 * of_seeds * _chi(draw, seeds - 1)
    rest = of_groups * _chi(draw, groups - 1) - shared * _chi(draw, (seeds - 1) * (groups - 1))
    return noise, np.sqrt(squares + t_groups**2 * np.maximum(rest, 0.0))


def _chi(draw: np.random.Generator, freedom: int) -> np.ndarray:
    """Chi squares over their degrees of freedom."""
    found: np.ndarray = draw.chisquare(freedom, TRIALS) / freedom
    return found
