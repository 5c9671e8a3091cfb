"""Two Gaussians on one line, by expectation-maximisation: which of many losses are of the lower kind.

    found = two_gaussians(losses)           # (n,), scaled to [0, 1] by `min_max`
    clean = found.lower(losses)             # (n,), P(of the component with the lower mean)

DivideMix (Li et al., 2020) and what follows it split clean pairs from noisy ones so. It starts from two means by
Lloyd's algorithm between the extremes, so the same values give the same mixture; variances have `floor` added, as
scikit-learn's `reg_covar` (5e-4 in the papers' code).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = 5e-4
ITERATIONS = 100
TOLERANCE = 1e-6  # of the mean log likelihood


@dataclass(frozen=True)
class TwoGaussians:
    """Means ascending, variances and weights of both components, (2,) each."""

    means: np.ndarray
    variances: np.ndarray
    weights: np.ndarray

    def lower(self, x: np.ndarray) -> np.ndarray:
        """P(lower component) of each value, float64 (n,)."""
        log_joint = _log_joint(np.asarray(x, np.float64), self)
        found: np.ndarray = np.exp(log_joint[0] - np.logaddexp(*log_joint))
        return found


def two_gaussians(
    x: np.ndarray, *, floor: float = FLOOR, iterations: int = ITERATIONS, tolerance: float = TOLERANCE
) -> TwoGaussians:
    """The mixture of n values, n at least 2."""
    x = np.asarray(x, np.float64)
    lower = _two_means(x)
    found = _maximised(x, lower.astype(np.float64), floor)
    before = -np.inf
    for _ in range(iterations):
        log_joint = _log_joint(x, found)
        each = np.logaddexp(*log_joint)
        likelihood = float(each.mean())
        if abs(likelihood - before) < tolerance:
            break
        before = likelihood
        found = _maximised(x, np.exp(log_joint[0] - each), floor)
    order = np.argsort(found.means, kind="stable")
    return TwoGaussians(found.means[order], found.variances[order], found.weights[order])


def min_max(x: np.ndarray) -> np.ndarray:
    """Scaled to [0, 1]; all 0 where all are equal."""
    x = np.asarray(x, np.float64)
    spread = x.max() - x.min()
    return (x - x.min()) / spread if spread > 0 else np.zeros_like(x)


def _two_means(x: np.ndarray) -> np.ndarray:
    """bool (n,): nearer to the lower of two means."""
    low, high = float(x.min()), float(x.max())
    lower = x <= (low + high) / 2
    for _ in range(ITERATIONS):
        if lower.all():
            break
        again = x <= (x[lower].mean() + x[~lower].mean()) / 2
        if (again == lower).all():
            break
        lower = again
    found: np.ndarray = lower
    return found


def _maximised(x: np.ndarray, lower: np.ndarray, floor: float) -> TwoGaussians:
    """The M step, from P(lower component) of each value."""
    share = np.stack([lower, 1 - lower])
    mass = share.sum(1) + 10 * np.finfo(np.float64).eps
    means = share @ x / mass
    variances = (share * (x - means[:, None]) ** 2).sum(1) / mass + floor
    return TwoGaussians(means, variances, mass / mass.sum())


def _log_joint(x: np.ndarray, of: TwoGaussians) -> np.ndarray:
    """log(weight x density) of each value under each component (2, n)."""
    far = (x - of.means[:, None]) ** 2 / of.variances[:, None]
    found: np.ndarray = np.log(of.weights)[:, None] - 0.5 * (far + np.log(2 * np.pi * of.variances)[:, None])
    return found
