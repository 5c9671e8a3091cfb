"""Semantic duplicates equal brute force inside each cluster, name a kept pair, and find what was planted."""

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
from vectors import around_centres, near_copies, unit, vector_column

from pairwright.components.filter.selections.clusters import Clusters, ClustersSettings
from pairwright.components.filter.selections.duplicates import semantic_duplicates
from pairwright.components.filter.selections.duplicates.semantic_duplicates import (
    SemanticDuplicates,
    SemanticDuplicatesSettings,
    greedy,
    prune,
    prune_again,
)


def brute_force(values: np.ndarray, cluster: np.ndarray, order: np.ndarray, least: float) -> list[int]:
    """The definition, a row at a time."""
    table = values @ values.T
    kept: list[int] = []
    of = [-1] * len(values)
    for row in order.tolist():
        rivals = [other for other in kept if cluster[other] == cluster[row] and table[row, other] >= least]
        if rivals:
            of[row] = max(rivals, key=lambda other: table[row, other])
        else:
            kept.append(row)
    return of


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 16, 1024]), st.sampled_from([0.5, 0.8, 0.95]))
def test_pruning_equals_brute_force(seed: int, block: int, least: float) -> None:
    values, _ = around_centres(seed, 12, 150, width=8, spread=0.6)
    random = np.random.default_rng(seed)
    cluster, order = random.integers(0, 3, 150).astype(np.int32), random.permutation(150)
    semantic_duplicates.QUERIES, semantic_duplicates.MEMBERS = block, 2 * block
    try:
        original, similarity = prune(values, cluster, order, least)
    finally:
        semantic_duplicates.QUERIES, semantic_duplicates.MEMBERS = 1024, 8192
    assert original.tolist() == brute_force(values, cluster, order, least)
    dropped = original >= 0
    cosines = (values[dropped] * values[original[dropped]]).sum(1)
    assert np.allclose(similarity[dropped], cosines, atol=1e-5)


def test_no_two_kept_rows_are_alike_and_each_dropped_one_is_like_a_kept_one() -> None:
    values = torch.from_numpy(around_centres(1, 30, 3000, width=16, spread=0.5)[0])
    nearest, cosine = greedy(values, 0.9)
    kept = np.flatnonzero(nearest < 0)
    alike = (values[kept] @ values[kept].T).fill_diagonal_(0)
    assert 0 < len(kept) < 3000
    assert float(alike.max()) < 0.9
    assert (cosine[nearest >= 0] >= 0.9 - 1e-6).all()
    assert np.isin(nearest[nearest >= 0], kept).all()


def population(root: Path, values: np.ndarray, quality: Any = None, **options: Any) -> Any:
    quality = np.arange(len(values), 0, -1) if quality is None else quality
    columns = {
        "image_features.vector": vector_column(values, options.pop("absent", ())),
        "caption_text.quality": pa.array(quality, pa.float32()),
        **options.pop("columns", {}),
    }
    return view_of(root, columns, **options)


def select(view: Any, **options: Any) -> dict[str, list[Any]]:
    columns = SemanticDuplicates(SemanticDuplicatesSettings(**options)).select(view)
    return {name: array.to_pylist() for name, array in columns.items()}


def test_planted_duplicates_are_dropped_and_name_the_pair_they_repeat(tmp_path: Path) -> None:
    originals, _ = around_centres(0, 40, 400)
    copies = near_copies(1, originals[:100], 0.99)
    found = select(population(tmp_path, np.concatenate([originals, copies]), shards=3), epsilon=0.02, clusters=10)
    named = [(found["of"][400 + i] == str(i)) for i in range(100)]
    assert np.mean(found["drop"][400:]) >= 0.97
    assert np.mean(named) >= 0.97
    assert min(s for s in found["similarity"] if s is not None) >= 0.979
    assert found["cluster"][400:].count(None) == 0


def test_the_better_caption_stays_or_the_farthest_from_the_centroid(tmp_path: Path) -> None:
    values = unit(np.array([[1, 0, 0], [1, 0.05, 0], [1, 0.3, 0], [0, 0, 1]], float))
    view = population(tmp_path, values, [0.1, 0.9, 0.5, 0.5])
    better = select(view, epsilon=0.05, clusters=1)
    assert better["drop"] == [True, False, True, False]
    assert better["of"] == ["1", None, "1", None]
    farthest = select(view, epsilon=0.05, clusters=1, prefer="farthest")
    assert farthest["drop"] == [True, True, False, False]
    names = SemanticDuplicates(SemanticDuplicatesSettings(prefer="farthest")).column_names()
    assert names == ("image_features.vector",)


def test_a_pair_like_only_a_dropped_one_stays(tmp_path: Path) -> None:
    """a - b - c in a chain: b is like both, a and c are not alike; b goes, both ends stay."""
    angle = np.arccos(0.95)
    values = np.array([[np.cos(i * angle), np.sin(i * angle)] for i in range(3)])
    found = select(population(tmp_path, values, [0.9, 0.5, 0.1]), epsilon=0.055, clusters=1)
    assert found["drop"] == [False, True, False]


def test_no_embedding_is_null_and_rules_say_who_takes_part(tmp_path: Path) -> None:
    values = np.ones((4, 3))
    view = population(
        tmp_path, values, [0.9, 0.5, 0.1, 0.05], absent=[3], columns={"image.width": pa.array([10, 100, 100, 100])}
    )
    assert select(view)["drop"] == [False, True, True, None]
    found = select(view, among={"large": "image.width >= 64"})
    assert found["drop"] == [False, False, True, None]
    assert found["of"][2] == "1"
    assert (
        "image.width" in SemanticDuplicates(SemanticDuplicatesSettings(among={"l": "image.width > 1"})).column_names()
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_another_round_drops_more_and_every_dropped_row_still_names_a_kept_one(seed: int) -> None:
    values, _ = around_centres(seed, 12, 150, width=6, spread=0.6)
    random = np.random.default_rng(seed)
    order, least = random.permutation(150), 0.85
    original, similarity = prune(values, random.integers(0, 4, 150).astype(np.int32), order, least)
    first = original.copy()
    again = random.integers(0, 4, 150).astype(np.int32)
    prune_again(values, again, order, least, original, similarity)
    dropped, kept = np.flatnonzero(original >= 0), np.flatnonzero(original < 0)
    assert np.isin(original[dropped], kept).all()
    assert np.allclose((values[dropped] * values[original[dropped]]).sum(1), similarity[dropped], atol=1e-5)
    assert (similarity[dropped] >= least - 1e-5).all()
    alike = (values[kept] @ values[kept].T >= least) & (again[kept][:, None] == again[kept][None])
    assert alike.sum() == len(kept)  # each only like itself
    assert len(dropped) >= (first >= 0).sum() * 0.9


def test_a_second_round_finds_duplicates_across_the_first_ones_borders(tmp_path: Path) -> None:
    originals = unit(np.random.default_rng(0).normal(size=(1500, 8)))
    copies = near_copies(1, originals[:300], 0.985)
    view = population(tmp_path, np.concatenate([originals, copies]))
    recall = [np.mean(select(view, epsilon=0.02, clusters=60, rounds=n)["drop"][1500:]) for n in (1, 2)]
    assert recall[0] < 0.97
    assert recall[1] > 0.99


def test_a_column_that_holds_no_vectors_is_refused(tmp_path: Path) -> None:
    from pairwright.components.errors import ColumnError

    view = population(tmp_path, np.ones((4, 3)))
    with pytest.raises(ColumnError, match="name a column of embeddings"):
        select(view, embeddings="caption_text.quality")


@pytest.mark.parametrize("spherical", [True, False])
def test_clusters_are_labels_and_distances(tmp_path: Path, spherical: bool) -> None:
    values, truth = around_centres(0, 6, 300, spread=0.1)
    view = population(tmp_path, values, absent=[7], shards=2)
    made = Clusters(ClustersSettings(clusters=6, spherical=spherical)).select(view)
    label, distance = made["cluster"].to_pylist(), made["distance"].to_pylist()
    assert (label[7], distance[7]) == (None, None)
    others = [i for i in range(300) if i != 7]
    assert len({(truth[i], label[i]) for i in others}) == 6
    assert max(distance[i] for i in others) < (0.05 if spherical else 0.4)


def test_a_population_without_vectors_has_no_clusters(tmp_path: Path) -> None:
    view = population(tmp_path, np.ones((3, 2)), absent=[0, 1, 2])
    made = Clusters(ClustersSettings()).select(view)
    assert made["cluster"].null_count == 3
    assert select(view)["drop"] == [None] * 3
