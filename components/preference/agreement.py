"""Krippendorff's alpha: how far labellers agree beyond what chance would give.

    alpha([{"ann": 1, "bob": 1}, {"ann": 2, "bob": 3}], ordinal)

alpha = 1 - D_o / D_e over any number of labellers, with answers missing (Krippendorff, "Computing
Krippendorff's Alpha-Reliability", 2011). 1 is perfect, 0 is chance, below 0 is systematic disagreement;
Krippendorff asks for 0.8, and 0.667 for tentative conclusions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

Metric = Callable[[Sequence[Any], np.ndarray], np.ndarray]


def nominal(values: Sequence[Any], counts: np.ndarray) -> np.ndarray:
    """(v, v) squared differences: 0 if the same, 1 if not."""
    return 1.0 - np.eye(len(values))


def ordinal(values: Sequence[Any], counts: np.ndarray) -> np.ndarray:
    """(v, v): (sum of n_g for g from c to k, less half of n_c and n_k) squared; `values` ascend."""
    middle = np.cumsum(counts) - counts / 2
    return np.asarray((middle[:, None] - middle[None, :]) ** 2)


def interval(values: Sequence[Any], counts: np.ndarray) -> np.ndarray:
    """(v, v): (c - k) squared."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.asarray((numbers[:, None] - numbers[None, :]) ** 2)


def alpha(units: Sequence[Mapping[Any, Any]], metric: Metric) -> float:
    """Agreement over units, each labeller -> value; a labeller who did not answer is absent.

    NaN when no unit was answered twice, or when every paired value is the same (there was nothing to
    agree about: D_e is 0).
    """
    paired = [list(unit.values()) for unit in units if len(unit) > 1]
    values = sorted({value for unit in paired for value in unit})
    index = {value: i for i, value in enumerate(values)}
    coincidences = np.zeros((len(values), len(values)))
    for unit in paired:
        for a, b in combinations(unit, 2):
            share = 1.0 / (len(unit) - 1)
            coincidences[index[a], index[b]] += share
            coincidences[index[b], index[a]] += share
    counts = coincidences.sum(axis=1)
    n = counts.sum()
    difference = metric(values, counts)
    expected = (np.outer(counts, counts) * difference).sum()
    if expected == 0:
        return math.nan
    return float(1.0 - (n - 1) * (coincidences * difference).sum() / expected)
