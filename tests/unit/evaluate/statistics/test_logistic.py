"""The probe's logistic regression is scikit-learn's, on any data; and finds what is planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.errors import NotFinite
from pairwright.components.evaluate.statistics.logistic import fit_logistic


def planted(seed: int, n: int = 120, d: int = 6, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = random.integers(classes, size=n)
    y[:classes] = np.arange(classes)
    return random.normal(size=(classes, d))[y] + random.normal(size=(n, d)), y


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 1.0, 100.0]), st.integers(2, 5))
def test_it_is_scikit_learns(seed: int, c: float, classes: int) -> None:
    sklearn = pytest.importorskip("sklearn.linear_model")
    x, y = planted(seed, classes=classes)
    weights, bias = fit_logistic(x, y, classes, c)
    theirs = sklearn.LogisticRegression(C=c, tol=1e-10, max_iter=5000).fit(x, y)
    proba = np.exp((logits := x @ weights.T + bias) - logits.max(axis=1, keepdims=True))
    if classes > 2:  # theirs of two classes has one row of weights, and so another penalty
        assert np.allclose(proba / proba.sum(axis=1, keepdims=True), theirs.predict_proba(x), atol=2e-4)
        assert np.allclose(weights, theirs.coef_, atol=1e-3 * max(1, np.abs(theirs.coef_).max()))
    assert (proba.argmax(axis=1) == theirs.predict(x)).mean() > 0.95


def test_the_gradient_is_nothing_where_it_stops_and_twice_is_the_same_to_the_bit() -> None:
    x, y = planted(3)
    weights, bias = fit_logistic(x, y, 4, 2.0)
    logits = x @ weights.T + bias
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    share[np.arange(len(y)), y] -= 1
    assert np.abs(2.0 * share.T @ x + weights).max() <= 1e-6 * 2.0 * len(x)
    assert all(np.array_equal(a, b) for a, b in zip((weights, bias), fit_logistic(x, y, 4, 2.0), strict=True))


def test_what_does_not_vary_says_how_frequent_classes_are_and_no_more() -> None:
    weights, bias = fit_logistic(np.zeros((10, 3)), np.array([0] * 7 + [1] * 3), 2, 1.0)
    assert not weights.any()
    assert np.isclose(bias[0] - bias[1], np.log(7 / 3), atol=1e-4)
    with pytest.raises(NotFinite):
        fit_logistic(np.array([[np.nan], [1.0]]), np.array([0, 1]), 2)
