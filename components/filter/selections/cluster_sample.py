"""Cluster sample: a share of every cluster, spread over it by distance (TL;DR, second stage).

    select:
      clusters: {uses: clusters, with: {embeddings: codes.vector, clusters: 300}}
      sample:   {uses: cluster_sample, with: {embeddings: codes.vector, share: 0.25}}
    keep: {representative: sample.keep}

Wang et al., 2023, "Too Large; Data Reduction": cluster the pictures by their codes, then take a share of
each cluster by distance. `spread` (the default) is farthest-first traversal (Gonzalez, 1985): from the
pair nearest the centroid on, always the pair farthest from all taken, so that a kept pair's nearest kept
neighbour is farther than in a random subset. `even` takes every n-th by distance from the centroid,
`farthest` and `nearest` its ends. No cluster goes unrepresented. Beware: spreading also takes the odd ones
out, so rule out broken pairs first (`among`). Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pairwright.components.component import Columns, Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.shards.matrix import read_matrix
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.registry import selection
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class ClusterSampleSettings(Settings):
    cluster: str = Field("clusters.cluster", description="step.column of labels, numbers or words")
    distance: str = Field("clusters.distance", description="step.column of distances to the cluster's centroid")
    embeddings: str = Field("image_features.vector", description="step.column of vectors, read by `spread` alone")
    share: float = Field(0.25, gt=0, le=1, description="of the pairs that take part")
    by: Literal["spread", "even", "farthest", "nearest"] = "spread"
    spherical: bool = Field(True, description="spread by the angle between vectors")
    among: dict[str, str] = Field({}, description="keep-rules; only pairs that pass them are sampled")


@selection("cluster_sample")
class ClusterSample(Selection[ClusterSampleSettings]):
    """Columns over every pair; null where it has no cluster; a pair that does not take part is not kept.

    Columns:
        keep: it is in the sample.
        rank: 0 for the cluster's first pair taken, 1 for the next, ...; null for one not taken.
        cluster_size, cluster_kept: pairs of its cluster that take part, and that are kept.
    """

    libraries = ("torch",)
    requires = Columns("cluster", "distance")
    columns = {"keep": pa.bool_(), "rank": pa.int32(), "cluster_size": pa.int32(), "cluster_kept": pa.int32()}

    def column_names(self) -> tuple[str, ...]:
        vectors = [self.settings.embeddings] if self.settings.by == "spread" else []
        return tuple(dict.fromkeys([*super().column_names(), *vectors, *among_columns(self.settings.among)]))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish = self.settings
        labels = view.column(wish.cluster).cast(pa.string()).combine_chunks().dictionary_encode()
        cluster = pc.fill_null(labels.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        distance = view.column(wish.distance).cast(pa.float64()).to_numpy()
        known = (cluster >= 0) & np.isfinite(distance)
        matrix = None
        if wish.by == "spread":
            matrix, has_vector = read_matrix(view, wish.embeddings)
            known &= has_vector
        sampled = known & participants(view, wish.among)
        size = np.bincount(cluster[sampled], minlength=len(labels.dictionary) or 1)
        kept = quotas(size, wish.share)
        order = _by_distance(view, cluster, distance, sampled)
        rank = self._ranks(cluster, order, kept, matrix)
        return {
            "keep": pa.array(rank >= 0, pa.bool_(), mask=~known),
            "rank": pa.array(rank, pa.int32(), mask=rank < 0),
            "cluster_size": pa.array(size[cluster], pa.int32(), mask=~known),
            "cluster_kept": pa.array(kept[cluster], pa.int32(), mask=~known),
        }

    def _ranks(self, cluster: np.ndarray, order: np.ndarray, kept: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
        """(rows,) the turn at which each row is taken, -1 if it is not. `order`: by cluster, nearest first."""
        rank = np.full(len(cluster), -1, np.int64)
        for rows in _groups(cluster, order):
            count = int(kept[cluster[rows[0]]])
            if matrix is None:
                taken = rows[_places(len(rows), count, self.settings.by)]
            else:
                from pairwright.components.models.clustering.kmeans import read_rows

                taken = rows[farthest_first(read_rows(matrix, rows, self.settings.spherical), count)]
            rank[taken] = np.arange(count)
        return rank


def quotas(size: np.ndarray, share: float) -> np.ndarray:
    """How many of each cluster to take: at least one of each that has any, `round(share * n)` in all.

    Shares are rounded by largest remainder. Where there are more clusters than pairs to take, each gives one.
    """
    filled = size > 0
    total = max(round(share * int(size.sum())), int(filled.sum()))
    exact = size * (total / max(int(size.sum()), 1))
    taken = np.where(filled, np.maximum(np.floor(exact), 1), 0).astype(np.int64)
    while (gap := total - int(taken.sum())) != 0:
        step = 1 if gap > 0 else -1
        open_to = np.flatnonzero((taken < size) if step > 0 else (taken > 1))
        order = open_to[np.argsort(-step * (exact - taken)[open_to], kind="stable")]
        taken[order[: abs(gap)]] += step
    return taken


def farthest_first(values: Tensor, count: int) -> np.ndarray:
    """Positions of `count` rows of (m, d): the first row, then always the one farthest from all taken."""
    import torch

    norms = values.square().sum(1)
    gap = torch.full((len(values),), torch.inf)
    taken = [0]
    while len(taken) < count:
        last = taken[-1]
        gap = torch.minimum(gap, norms - 2 * (values @ values[last]) + norms[last])
        gap[last] = -torch.inf  # never twice, though its copies may follow when nothing else is left
        taken.append(int(gap.argmax()))
    return np.asarray(taken, np.int64)


def _places(size: int, count: int, by: str) -> np.ndarray:
    """Which of `size` places, nearest first, are taken."""
    if by == "even":
        return (np.arange(count) * size + size // 2) // count if count < size else np.arange(size)
    return np.arange(count) if by == "nearest" else np.arange(size - 1, size - 1 - count, -1)


def _by_distance(view: ColumnsView, cluster: np.ndarray, distance: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    """Rows that take part, cluster by cluster, nearest to the centroid first; equals by key."""
    rows = pa.array(np.flatnonzero(sampled))
    keys = view.sidecar(["key"])["key"].take(rows)
    table = pa.table({"cluster": cluster[sampled], "distance": distance[sampled], "key": keys, "row": rows})
    order = [("cluster", "ascending"), ("distance", "ascending"), ("key", "ascending")]
    ordered: np.ndarray = table["row"].take(pc.sort_indices(table, order)).to_numpy()
    return ordered


def _groups(cluster: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)
