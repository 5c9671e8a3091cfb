"""The table of arms."""

from __future__ import annotations

import math

import numpy as np

from components.evaluate.ablation import ablation_table, plot_points, t_interval

METRICS = {
    "curated": {0: {"r1": 0.30}, 1: {"r1": 0.34}, 2: {"r1": 0.32}},
    "raw": {0: {"r1": 0.28}, 1: {"r1": 0.32}, 2: {"r1": 0.30}},
}


def test_a_difference_is_paired_by_seed() -> None:
    rows = {row.arm: row for row in ablation_table(METRICS)}
    curated = rows["curated"]
    assert np.isclose(curated.mean, 0.32)
    assert np.isclose(curated.difference, 0.02)
    # Every seed differs by the same 0.02, though the arms' own intervals overlap widely.
    assert np.isclose(curated.difference_low, 0.02)
    assert curated.low < rows["raw"].mean < curated.high
    assert rows["raw"].difference is None


def test_the_interval_over_seeds_is_students() -> None:
    mean, low, high = t_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert np.isclose(high - mean, 4.303 / math.sqrt(3), atol=1e-3)
    assert t_interval([5.0])[1:] == (None, None)
    assert np.isclose(low, 4.0 - high)


def test_items_give_an_interval_over_the_split() -> None:
    random = np.random.default_rng(0)
    raw = (random.random(200) < 0.3).astype(float)
    curated = np.maximum(raw, random.random(200) < 0.1)
    items = {"curated": {s: {"r1": curated} for s in range(3)}, "raw": {s: {"r1": raw} for s in range(3)}}
    row = next(row for row in ablation_table(METRICS, items=items) if row.arm == "curated")
    assert 0 < row.item_low < row.item_high
    assert row.p < 0.05


def test_the_plot_has_a_dot_a_seed() -> None:
    points = plot_points(ablation_table(METRICS), METRICS)
    assert [len(point["seeds"]) for point in points] == [3, 3]
