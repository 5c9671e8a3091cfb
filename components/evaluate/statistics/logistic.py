"""Multinomial logistic regression with an L2 penalty, by L-BFGS on all items at once: convex, so one answer.

    weights, bias = fit_logistic(x, y, classes=10, c=1.0)

    min  1/2 |W|^2 + C sum_i -log softmax(W x_i + b)_{y_i}

as scikit-learn writes it (C the inverse of the penalty, the intercept free). L-BFGS as Nocedal & Wright (2006,
algorithms 7.4 and 7.5), with a backtracking search that asks for sufficient decrease (3.1); curvature pairs that are
not positive are left out, so the direction always descends. No randomness, and float64 throughout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from pairwright.components.finite import require_finite

MEMORY = 10
DECREASE = 1e-4
STEPS = 500
TOLERANCE = 1e-6  # of the gradient's largest entry, over the number of items
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def fit_logistic(
    x: np.ndarray, y: np.ndarray, classes: int, c: float = 1.0, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (classes, d) and intercepts (classes,) for features (n, d) and class numbers (n,).

    Args:
        start: (classes, d + 1) to begin from, the last column the intercepts; zeros by default.

    Raises:
        NotFinite: a feature is not.
    """
    require_finite(x, "the features a probe is fitted on")
    x = np.asarray(x, np.float64)
    told = np.zeros((len(x), classes))
    told[np.arange(len(x)), y] = 1

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = flat.reshape(classes, -1)
        logits = x @ both[:, :-1].T + both[:, -1]
        logits -= logits.max(axis=1, keepdims=True)
        total = np.exp(logits).sum(axis=1, keepdims=True)
        wrong = np.exp(logits) / total - told
        value = (np.log(total).sum() - (logits * told).sum()) * c + (both[:, :-1] ** 2).sum() / 2
        slope = np.concatenate([c * wrong.T @ x + both[:, :-1], c * wrong.sum(axis=0)[:, None]], axis=1)
        return float(value), slope.reshape(-1)

    first = np.zeros((classes, x.shape[1] + 1)) if start is None else start
    found = minimise(loss, first.reshape(-1), TOLERANCE * c * len(x)).reshape(classes, -1)
    return found[:, :-1], found[:, -1]


def minimise(objective: Objective, start: np.ndarray, tolerance: float, steps: int = STEPS) -> np.ndarray:
    """Where a smooth convex function is least, to a gradient whose entries are at most `tolerance`."""
    at = start.astype(np.float64)
    value, slope = objective(at)
    pairs: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=MEMORY)
    for _ in range(steps):
        if np.abs(slope).max() <= tolerance:
            break
        direction = -_times_inverse_curvature(slope, pairs)
        descent, step = float(direction @ slope), 1.0 if pairs else min(1.0, 1 / np.abs(slope).sum())
        while True:
            there = at + step * direction
            new, new_slope = objective(there)
            if new <= value + DECREASE * step * descent:
                break
            step /= 2
            if step < 1e-16:
                return at  # as low as float64 tells
        moved, turned = there - at, new_slope - slope
        if moved @ turned > 1e-12 * (turned @ turned):
            pairs.append((moved, turned))
        at, value, slope = there, new, new_slope
    return at


def _times_inverse_curvature(slope: np.ndarray, pairs: deque[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """H g by the two-loop recursion."""
    left = slope.copy()
    shares = []
    for moved, turned in reversed(pairs):
        share = (moved @ left) / (moved @ turned)
        shares.append(share)
        left -= share * turned
    if pairs:
        moved, turned = pairs[-1]
        left *= (moved @ turned) / (turned @ turned)
    for (moved, turned), share in zip(pairs, reversed(shares), strict=True):
        left += (share - (turned @ left) / (moved @ turned)) * moved
    return left
