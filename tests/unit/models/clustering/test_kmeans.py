"""k-means finds planted clusters, is deterministic, never rises in inertia, and reads a memory map in blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.models.clustering import kmeans
from pairwright.components.models.clustering.kmeans import KMeans, assign, fit_kmeans


def planted(seed: int, clusters: int, each: int, width: int = 16, spread: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Rows around well separated centres, shuffled, and the centre of each."""
    random = np.random.default_rng(seed)
    centres = np.linalg.qr(random.normal(size=(max(width, clusters), max(width, clusters))))[0][:clusters, :width]
    truth = random.permutation(np.repeat(np.arange(clusters), each))
    return (centres[truth] + spread * random.normal(size=(len(truth), width))).astype(np.float32), truth


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two labellings join the same rows."""
    pairs = np.unique(np.stack([a, b]), axis=1).shape[1]
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_well_separated_clusters_are_found(seed: int, spherical: bool) -> None:
    rows, truth = planted(seed, 8, 60, spread=0.02)
    label, distance = assign(rows, fit_kmeans(rows, 8, spherical=spherical, seed=seed))
    assert same_partition(label, truth)
    assert distance.dtype == np.float32
    assert label.dtype == np.int32


@pytest.mark.parametrize("spherical", [True, False])
def test_assignment_is_the_nearest_centroid_by_the_definition(spherical: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmeans, "BLOCK", 37)
    rows, _ = planted(0, 5, 80, spread=0.5)
    found = fit_kmeans(rows, 9, spherical=spherical, seed=1)
    label, distance = assign(rows, found)
    points = rows / np.linalg.norm(rows, axis=1, keepdims=True) if spherical else rows
    table = np.linalg.norm(points[:, None] - found.centroids.numpy()[None], axis=2)
    assert (label == table.argmin(1)).all()
    expected = table.min(1) ** 2 / 2 if spherical else table.min(1)  # 1 - cosine is half the squared chord
    assert np.allclose(distance, expected, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.booleans())
def test_inertia_never_rises_and_every_cluster_is_used(seed: int, k: int, spherical: bool) -> None:
    rows = np.random.default_rng(seed).normal(size=(200, 6)).astype(np.float32)
    found = fit_kmeans(rows, k, spherical=spherical, seed=seed, tolerance=0, iterations=12)
    gains = np.diff(found.inertia)
    assert (gains <= 1e-4 * found.inertia[0]).all()
    assert len(np.unique(assign(rows, found)[0])) == k


def test_an_empty_cluster_takes_the_farthest_row() -> None:
    rows = np.array([[0.0, 0], [0.1, 0], [0.2, 0], [9, 9]], np.float32)
    old = KMeans(torch.tensor([[0.1, 0.0], [500.0, 500.0]]), spherical=False)
    moved, _ = kmeans._lloyd(rows, np.arange(4), old, "cpu")
    assert moved[1].tolist() == [9, 9]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    rows, _ = planted(3, 20, 50, spread=0.6)
    once, again, other = (fit_kmeans(rows, 12, seed=seed).centroids for seed in (5, 5, 6))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_a_memory_mapped_half_precision_matrix_gives_what_the_matrix_gives(tmp_path: Path) -> None:
    rows, _ = planted(2, 6, 100)
    half = rows.astype(np.float16)
    np.save(tmp_path / "rows.npy", half)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    which = np.arange(0, len(rows), 3)
    a, b = (fit_kmeans(m, 6, rows=which, seed=0) for m in (half, mapped))
    assert torch.equal(a.centroids, b.centroids)
    assert (assign(half, a, which)[0] == assign(mapped, b, which)[0]).all()


def test_the_sample_bounds_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, truth = planted(4, 4, 2000, spread=0.05)
    seen: list[int] = []
    read = kmeans.read_rows
    monkeypatch.setattr(kmeans, "read_rows", lambda m, r, unit: (seen.append(len(r)), read(m, r, unit))[1])
    found = fit_kmeans(rows, 4, rows_per_cluster=50, iterations=3, seed=0)
    assert sum(seen) <= 4 * 32 + 3 * 200
    assert same_partition(assign(rows, found)[0], truth)


def test_rows_that_all_repeat_are_one_cluster() -> None:
    rows = np.ones((10, 3), np.float32)
    label, distance = assign(rows, fit_kmeans(rows, 4, seed=0))
    assert len(set(label)) == 1
    assert distance.max() < 1e-6


@pytest.mark.parametrize("k", [0, 11])
def test_more_clusters_than_rows_is_an_error(k: int) -> None:
    with pytest.raises(ValueError, match=r"k must be in 1\.\.10"):
        fit_kmeans(np.ones((10, 3), np.float32), k)
