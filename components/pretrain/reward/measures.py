"""What a fitted reward is worth: held-out accuracy beside that of its evidence, calibration, a learning curve.

Everything is of judgements that neither the judge nor its heads saw. Ties are left out of accuracies: they
say nothing of which caption is better. An interval is a bootstrap over groups of pictures, 95%.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
BINS = 8
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Accuracy:
    """Share of judgements in which the better caption scores higher (equal scores count half)."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Bin:
    """Predictions of like confidence: their mean, the share that was right, how many."""

    confidence: float
    accuracy: float
    n: int


def right(better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    """(n,) 1 where the better caption scores higher, 0 where lower, 0.5 where equal."""
    return np.where(better == worse, 0.5, (better > worse).astype(float))


def accuracy(hits: np.ndarray, groups: np.ndarray, seed: int = 0) -> Accuracy:
    """Mean of `hits` (n,), or of differences of two, with an interval over the groups (n,); NaN of nothing."""
    if not len(hits):
        return Accuracy(float("nan"), float("nan"), float("nan"), 0)
    _, index = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(index, hits), np.bincount(index)
    drawn = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), RESAMPLES)
    means = (drawn @ sums) / np.maximum(drawn @ sizes, 1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Accuracy(float(hits.mean()), float(low), float(high), len(hits))


def calibration(difference: np.ndarray) -> tuple[list[Bin], float]:
    """Reliability of P(preferred) = sigmoid(difference), and its expected calibration error (Guo et al., 2017).

    A prediction is the caption that scores higher, its confidence in [0.5, 1]; BINS bins of equal width.
    """
    probability = 1 / (1 + np.exp(-np.abs(difference)))
    hit = right(difference, np.zeros_like(difference))
    place = np.minimum(((probability - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins = [
        Bin(float(probability[place == b].mean()), float(hit[place == b].mean()), int((place == b).sum()))
        for b in range(BINS)
        if (place == b).any()
    ]
    total = max(len(difference), 1)
    return bins, sum(one.n / total * abs(one.accuracy - one.confidence) for one in bins)


def log_loss(difference: np.ndarray) -> float:
    """Mean of -log sigmoid(difference), nats; log 2 is knowing nothing."""
    return float(np.logaddexp(0.0, -difference).mean()) if len(difference) else float("nan")


def by_kind(
    kinds: np.ndarray, scores: Mapping[str, Sequence[np.ndarray] | np.ndarray], groups: np.ndarray
) -> dict[str, dict[str, Accuracy]]:
    """kind -> scorer -> accuracy; scores are (2, n), of the better and the worse captions."""
    found: dict[str, dict[str, Accuracy]] = {}
    for kind in sorted(set(kinds.tolist())):
        mine = kinds == kind
        found[kind] = {
            name: accuracy(right(each[0][mine], each[1][mine]), groups[mine]) for name, each in scores.items()
        }
    return found
