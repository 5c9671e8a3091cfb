"""Spearman's rank correlation, ties at their mean rank, of items that may count several times.

    spearman([1, 2, 2, 5], [0.1, 0.3, 0.2, 0.9])

Pearson's correlation of midranks (Spearman, 1904; Kendall & Gibbons, 1990, chapter 3). Where one side does not vary
there is nothing to correlate, and it is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairwright.components.finite import require_finite


def midranks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The rank of each value among all, each counted `weight` times, from 1; of equal ones the mean."""
    distinct, place = np.unique(values, return_inverse=True)
    each = np.bincount(place.reshape(-1), weight, minlength=len(distinct))
    ranks: np.ndarray = (np.cumsum(each) - (each - 1) / 2)[place.reshape(-1)]
    return ranks


def spearman(x: Any, y: Any, weight: np.ndarray | None = None) -> float:
    """The correlation; `weight` (n,) says how often each item counts.

    Raises:
        NotFinite: a value is not.
    """
    made = parts(x, y, weight)
    weight = np.ones(len(made)) if weight is None else weight
    return float((made * weight).sum() / weight.sum())


def parts(x: Any, y: Any, weight: np.ndarray | None = None) -> np.ndarray:
    """Each item's part (n,), whose weighed mean the correlation is: the product of both standardised midranks."""
    sides = []
    for values, name in ((x, "first"), (y, "second")):
        values = np.asarray(values, np.float64)
        require_finite(values, f"the {name} values to be correlated")
        counts = np.ones(len(values)) if weight is None else np.asarray(weight, np.float64)
        ranks = midranks(values, counts)
        ranks = ranks - (ranks * counts).sum() / counts.sum()
        spread = np.sqrt((ranks**2 * counts).sum() / counts.sum())
        sides.append(ranks / spread if spread > 1e-9 else np.zeros(len(ranks)))
    return sides[0] * sides[1]
