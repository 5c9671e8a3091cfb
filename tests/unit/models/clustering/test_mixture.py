"""Two Gaussians on a line: planted ones are found, and scikit-learn's from the same start are the same."""

from __future__ import annotations

import numpy as np
import pytest

from pairwright.components.models.clustering.mixture import min_max, two_gaussians


def planted(seed: int, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    low = draw.random(rows) < 0.7
    return np.where(low, draw.normal(0.2, 0.05, rows), draw.normal(0.6, 0.12, rows)), low


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_components_are_found_and_told_apart(seed: int) -> None:
    x, low = planted(seed)
    found = two_gaussians(x, floor=0.0)
    assert found.means == pytest.approx([0.2, 0.6], abs=0.015)
    assert np.sqrt(found.variances) == pytest.approx([0.05, 0.12], abs=0.015)
    assert found.weights == pytest.approx([0.7, 0.3], abs=0.02)
    p = found.lower(x)
    assert ((p > 0.5) == low).mean() > 0.98
    assert p.mean() == pytest.approx(0.7, abs=0.02)
    # calibrated: of those told 0.2 to 0.8, about as many are of the lower kind as is said
    doubtful = (p > 0.2) & (p < 0.8)
    assert low[doubtful].mean() == pytest.approx(p[doubtful].mean(), abs=0.15)


def test_it_is_scikit_learns_from_the_same_start() -> None:
    mixture = pytest.importorskip("sklearn.mixture")
    for seed in range(3):
        x, _ = planted(seed, 800)
        ours = two_gaussians(x, tolerance=1e-12, iterations=2000)
        start = {"means_init": [[0.2], [0.6]], "weights_init": [0.5, 0.5], "precisions_init": [[[100.0]], [[100.0]]]}
        theirs = mixture.GaussianMixture(2, reg_covar=5e-4, tol=1e-12, max_iter=2000, **start).fit(x[:, None])
        order = theirs.means_[:, 0].argsort()
        assert ours.means == pytest.approx(theirs.means_[order, 0], abs=1e-5)
        assert ours.variances == pytest.approx(theirs.covariances_[order, 0, 0], abs=1e-5)
        assert ours.lower(x) == pytest.approx(theirs.predict_proba(x[:, None])[:, order[0]], abs=1e-4)


def test_order_means_nothing_and_equal_values_are_no_error() -> None:
    x, _ = planted(5, 500)
    shuffled = np.random.default_rng(0).permutation(500)
    assert two_gaussians(x[shuffled]).lower(x) == pytest.approx(two_gaussians(x).lower(x), abs=1e-9)
    assert np.isfinite(two_gaussians(np.ones(10)).lower(np.ones(10))).all()
    assert min_max(np.array([2.0, 4.0, 3.0])).tolist() == [0, 1, 0.5]
    assert min_max(np.ones(3)).tolist() == [0, 0, 0]
