"""The sample has its share, represents every cluster, and spreads more than chance does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import view_of
from vectors import around_centres, vector_column

from pairwright.components.filter.selections.cluster_sample import (
    ClusterSample,
    ClusterSampleSettings,
    farthest_first,
    quotas,
)
from pairwright.components.filter.selections.clusters import Clusters, ClustersSettings


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=30), st.floats(0.01, 1))
def test_quotas_sum_to_the_share_and_no_cluster_is_left_out(sizes: list[int], share: float) -> None:
    size = np.array(sizes)
    taken = quotas(size, share)
    assert (taken <= size).all()
    assert (taken[size > 0] >= 1).all()
    assert taken.sum() == max(round(share * size.sum()), (size > 0).sum())
    slack = np.abs(taken - size * share)
    if share * size[size > 0].min(initial=1000) >= 1:  # nobody's minimum is in the way
        assert slack.max(initial=0) <= 1.5


def test_farthest_first_takes_the_farthest_each_time() -> None:
    values = around_centres(0, 5, 80, width=6)[0]
    taken = farthest_first(torch.from_numpy(values), 20)
    assert taken[0] == 0
    for turn in range(1, 20):
        gaps = np.linalg.norm(values[:, None] - values[taken[:turn]][None], axis=2).min(1)
        assert gaps[taken[turn]] == pytest.approx(gaps.max(), abs=1e-5)
    assert sorted(farthest_first(torch.ones(6, 3), 6).tolist()) == list(range(6))


def population(root: Path, seed: int, rows: int = 800, **options: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    values, _ = around_centres(seed, 12, rows, spread=0.8)
    column = {"image_features.vector": vector_column(values, kind=pa.float32())} | options.pop("columns", {})
    plain = view_of(root / "plain", column, **options)
    made = Clusters(ClustersSettings(clusters=20, seed=seed)).select(plain)
    columns = {**column, **{f"clusters.{name}": array for name, array in made.items()}}
    return view_of(root / "clustered", columns, shards=3, **options), values, made["cluster"].to_numpy(False)


def select(view: Any, **options: Any) -> dict[str, list[Any]]:
    made = ClusterSample(ClusterSampleSettings(**options)).select(view)
    return {name: array.to_pylist() for name, array in made.items()}


def neighbour_distance(values: np.ndarray) -> float:
    """Mean over the rows of 1 - cosine to the nearest other row."""
    cosines = values @ values.T
    np.fill_diagonal(cosines, -1)
    return float((1 - cosines.max(axis=1)).mean())


@pytest.mark.parametrize("seed", range(3))
def test_a_quarter_is_kept_every_cluster_is_represented_and_it_spreads_more_than_chance(
    tmp_path: Path, seed: int
) -> None:
    view, values, cluster = population(tmp_path, seed)
    found = select(view)
    kept = np.array(found["keep"])
    assert abs(kept.mean() - 0.25) <= 0.01
    assert set(cluster[kept]) == set(cluster)
    random = np.random.default_rng(seed)
    chance = [neighbour_distance(values[random.choice(800, kept.sum(), replace=False)]) for _ in range(20)]
    assert neighbour_distance(values[kept]) > max(chance)


@pytest.mark.parametrize("by", ["even", "farthest", "nearest"])
def test_the_other_orders_take_what_they_say(tmp_path: Path, by: str) -> None:
    view, _, cluster = population(tmp_path, 0, 300)
    kept, distance = np.array(select(view, by=by)["keep"]), view.numpy("clusters.distance")
    assert kept.sum() == 75
    for label in set(cluster):
        mine = np.sort(distance[cluster == label])
        taken = np.sort(distance[(cluster == label) & kept])
        if by == "nearest":
            assert taken.tolist() == mine[: len(taken)].tolist()
        elif by == "farthest":
            assert taken.tolist() == mine[-len(taken) :].tolist()
        else:  # every n-th by distance, give or take one
            gaps = np.diff(np.searchsorted(mine, taken))
            assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_a_smaller_share_is_a_prefix_of_a_larger_one_in_each_cluster(tmp_path: Path) -> None:
    view, _, _ = population(tmp_path, 1, 300)
    small, large = select(view, share=0.1), select(view, share=0.5)
    assert all(big for some, big in zip(small["keep"], large["keep"], strict=True) if some)
    ranks = [(r, s) for r, s in zip(small["rank"], large["rank"], strict=True) if r is not None]
    assert all(r == s for r, s in ranks)


def test_the_order_of_the_shards_changes_nothing(tmp_path: Path) -> None:
    values, truth = around_centres(0, 4, 60, spread=0.7)
    distance = np.random.default_rng(0).integers(0, 5, 60) / 5
    results = []
    for name, order in (("a", np.arange(60)), ("b", np.random.default_rng(1).permutation(60))):
        columns = {
            "image_features.vector": vector_column(values[order], kind=pa.float32()),
            "clusters.cluster": pa.array(truth[order]),
            "clusters.distance": pa.array(distance[order]),
        }
        view = view_of(tmp_path / name, columns, keys=[f"k{i:02d}" for i in order])
        results.append(dict(zip(order.tolist(), select(view)["keep"], strict=True)))
    assert results[0] == results[1]


def test_only_pairs_that_pass_the_rules_are_sampled_and_codes_may_be_words(tmp_path: Path) -> None:
    columns = {
        "codes.code": pa.array(["a", "a", "b", "b", None]),
        "codes.distance": pa.array([0.1, 0.2, 0.1, 0.2, 0.3]),
        "image.width": pa.array([10, 100, 100, 100, 100]),
    }
    names = {"cluster": "codes.code", "distance": "codes.distance", "by": "nearest", "share": 0.5}
    found = select(view_of(tmp_path, columns), among={"large": "image.width > 64"}, **names)
    assert found["keep"] == [False, True, True, False, None]
    assert found["cluster_size"] == [1, 1, 2, 2, None]
    assert found["cluster_kept"] == [1, 1, 1, 1, None]
    assert "image_features.vector" not in ClusterSample(ClusterSampleSettings(**names)).column_names()
