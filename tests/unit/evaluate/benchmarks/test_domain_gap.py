"""The probe on planted shifts: none is found where there is none, and a larger one is found larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import shapes_dataset

from pairwright.components.evaluate.benchmarks.domain_gap import (
    DomainGap,
    DomainGapSettings,
    auc,
    domain_gap,
    probe_scores,
)


def features(n: int, seed: int, shift: float = 0.0, width: int = 64) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, width))
    found[:, 0] += shift
    return found


@pytest.mark.slow
def test_two_samples_of_one_distribution_have_no_gap() -> None:
    covered, values = 0, []
    for seed in range(20):
        gap = domain_gap(features(120, seed), features(80, 1000 + seed), seed=seed)
        covered += gap.low <= 0.5 <= gap.high
        values.append(gap.auc)
    assert covered >= 15  # 95% of the items' intervals; the probe's own spread takes a part
    assert abs(np.mean(values) - 0.5) < 0.05


def test_the_gap_grows_with_the_planted_shift() -> None:
    found = [domain_gap(features(200, 1), features(200, 2, shift)).auc for shift in (0, 1, 2, 4)]
    assert found == sorted(found)
    assert found[1] > 0.55
    assert found[-1] > 0.95


@pytest.mark.slow
def test_a_planted_shift_has_its_known_area() -> None:
    """With one informative dimension and plenty of data the probe's area is Phi(shift / sqrt 2)."""
    from math import erf

    gaps = [domain_gap(features(400, n, width=4), features(400, 100 + n, 1.0, width=4)) for n in range(8)]
    expected = 0.5 * (1 + erf(1.0 / 2))
    assert np.mean([gap.auc for gap in gaps]) == pytest.approx(expected, abs=0.02)
    assert sum(gap.low <= expected <= gap.high for gap in gaps) >= 6


def test_sizes_may_differ_and_the_order_of_the_two_does_not_matter() -> None:
    few, many = features(40, 5), features(400, 6, 3.0)
    one, other = domain_gap(few, many), domain_gap(many, few)
    assert one.auc > 0.9
    assert one.auc == pytest.approx(other.auc, abs=0.05)
    recall = [one.correct[:40].mean(), one.correct[40:].mean()]
    assert min(recall) > 0.6  # the small one is not simply given up


def test_copies_in_one_group_do_not_leak_into_the_probe() -> None:
    """Ten copies of 12 items: by item the probe has seen each test item; by group it has not."""
    first, second = np.repeat(features(12, 7), 10, axis=0), np.repeat(features(12, 8), 10, axis=0)
    groups = np.repeat(np.arange(12), 10)
    leaking = domain_gap(first, second)
    honest = domain_gap(first, second, groups, groups)
    assert leaking.auc > 0.95
    assert honest.auc < 0.85
    assert honest.high - honest.low > 3 * (leaking.high - leaking.low)


def test_the_dual_probe_is_the_primal_ridge_solution() -> None:
    x, test = features(30, 9, width=5), features(7, 10, width=5)
    label = np.repeat([0, 1], 15)
    x[label == 1] += 1
    scale = x.std(axis=0) * np.sqrt(5)
    z, t = np.c_[(x - x.mean(0)) / scale, np.ones(30)], np.c_[(test - x.mean(0)) / scale, np.ones(7)]
    primal = np.linalg.solve(z.T @ z + 0.1 * np.eye(6), z.T @ np.where(label == 1, 1.0, -1.0))
    assert probe_scores(x, label, test) == pytest.approx(t @ primal)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_the_area_is_the_share_of_ordered_pairs(positive: list[int], negative: list[int]) -> None:
    by_pairs = np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])
    assert auc(np.array(positive), np.array(negative)) == pytest.approx(by_pairs)


def test_the_benchmark_names_both_gaps_and_its_other_dataset(tmp_path: Path) -> None:
    from pairwright.components.models.towers.untrained import new_dual_encoder

    model = new_dual_encoder("builtin:tiny-image", "builtin:tiny-text", dim=8)
    ours = shapes_dataset(tmp_path, 40, 1, name="ours")
    theirs = shapes_dataset(tmp_path, 40, 1, name="theirs", start=5000)
    probe = DomainGap(DomainGapSettings(against=theirs.root))
    assert probe.datasets() == (theirs.root,)
    metrics = {metric.name: metric for metric in probe.evaluate(model, ours)}
    assert metrics.keys() == {"image_auc", "text_auc"}
    for metric in metrics.values():
        assert metric.low <= metric.value <= metric.high
        assert metric.n == 80
        assert not metric.higher_is_better
        assert theirs.root in metric.definition
    items = probe.measure(model, ours).items
    assert {len(values) for values in items.values()} == {80}
    assert set(items) == {"groups", "image_told_apart", "text_told_apart"}
