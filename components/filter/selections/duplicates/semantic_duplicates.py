"""Semantic duplicates: pictures that show the same, though no pixel agrees (SemDeDup).

    select: {semantic: {uses: semantic_duplicates, with: {embeddings: image_features.vector, epsilon: 0.05}}}
    keep:   {not_repeated: "NOT semantic.drop"}

Abbas et al., 2023: k-means on the embeddings, then cosines within each cluster only; of pairs more alike
than 1 - epsilon one stays. The paper keeps the one farthest from the centroid (`prefer: farthest`); by
default the better caption stays. Unlike the paper's code, a pair is dropped only if it resembles a pair
that is *kept*, and names it: chains of likeness do not take whole neighbourhoods away.

Duplicates on two sides of a cluster's border are not compared. Of a million vectors that loses about one
in ten (benchmarks/semantic_duplicates.py); `rounds: 2` clusters what is left afresh, from another seed, and
finds most of those for twice the time. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Columns
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.shards.matrix import read_matrix
from pairwright.components.filter.selections.duplicates.duplicates import (
    DuplicateSelection,
    DuplicateSettings,
    participants,
    quality_order,
)
from pairwright.components.registry import selection

if TYPE_CHECKING:
    from torch import Tensor

QUERIES, MEMBERS = 1024, 8192  # rows and kept rows of one matrix product


class SemanticDuplicatesSettings(DuplicateSettings):
    embeddings: str = Field("image_features.vector", description="step.column of vectors; only their direction counts")
    epsilon: float = Field(0.05, ge=0, le=2, description="two pairs are duplicates from a cosine of 1 - epsilon")
    clusters: int | None = Field(None, ge=1, description="k of k-means; None: the square root of the pairs")
    prefer: Literal["quality", "farthest"] = Field(
        "quality", description="who stays: the higher `quality` columns, or the pair farthest from its centroid"
    )
    rounds: int = Field(1, ge=1, le=8, description="clusterings, each with a seed of its own; the paper has one")
    iterations: int = Field(20, ge=1, description="of k-means, at most")
    seed: int = Field(0, ge=0)


@selection("semantic_duplicates")
class SemanticDuplicates(DuplicateSelection[SemanticDuplicatesSettings]):
    """Columns over every pair; null where it has no embedding.

    Columns:
        drop: a kept pair of its cluster, preferred to it, has a cosine of at least 1 - epsilon.
        of: key of the most similar such pair; null for a kept one.
        similarity: their cosine.
        cluster: 0..k-1, of the first round's k-means.
    """

    requires = Columns("embeddings", "quality")
    libraries = ("torch",)
    columns = {"drop": pa.bool_(), "of": pa.string(), "similarity": pa.float32(), "cluster": pa.int32()}

    def column_names(self) -> tuple[str, ...]:
        names = super().column_names()
        unread = set(self.settings.quality) if self.settings.prefer == "farthest" else set()
        return tuple(name for name in names if name not in unread)

    _device = "cpu"

    def setup(self, device: str) -> None:
        self._device = device

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish = self.settings
        matrix, known = read_matrix(view, wish.embeddings)
        rows, every = np.flatnonzero(known & participants(view, wish.among)), np.flatnonzero(known)
        cluster, distance = np.full(view.rows, -1, np.int32), np.zeros(view.rows, np.float32)
        keys = view.sidecar(["key"])["key"]
        original, similarity = np.full(view.rows, -1, np.int64), np.zeros(view.rows, np.float32)
        if len(rows):
            cluster[every], distance[every] = self._clusters(matrix, rows, every, wish.seed)
            order = self._order(view, keys, distance)
            order = order[np.isin(order, rows)]
            original, similarity = prune(matrix, cluster, order, 1 - wish.epsilon, self._device)
            for number in range(1, wish.rounds):
                again = np.full(view.rows, -1, np.int32)
                again[rows], _ = self._clusters(matrix, order[original[order] < 0], rows, wish.seed + number)
                prune_again(matrix, again, order, 1 - wish.epsilon, original, similarity, self._device)
        dropped = original >= 0
        return {
            "drop": pa.array(dropped, pa.bool_(), mask=~known),
            "of": keys.take(pa.array(original, pa.int64(), mask=~dropped)).combine_chunks(),
            "similarity": pa.array(similarity, pa.float32(), mask=~dropped),
            "cluster": pa.array(cluster, pa.int32(), mask=cluster < 0),
        }

    def _clusters(
        self, matrix: np.ndarray, rows: np.ndarray, every: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Label and distance of `every` row by a k-means of `rows`."""
        from pairwright.components.models.clustering.kmeans import assign, default_clusters, fit_kmeans

        wish = self.settings
        k = min(wish.clusters or default_clusters(len(rows)), len(rows))
        clustering = fit_kmeans(
            matrix, k, rows=np.sort(rows), seed=seed, iterations=wish.iterations, device=self._device
        )
        return assign(matrix, clustering, every, self._device)

    def _order(self, view: ColumnsView, keys: pa.ChunkedArray, distance: np.ndarray) -> np.ndarray:
        """Row numbers, those preferred first; equals by key."""
        by_quality = quality_order(view, self.settings.quality if self.settings.prefer == "quality" else [], keys)
        if self.settings.prefer == "quality":
            return by_quality
        return by_quality[np.argsort(-distance[by_quality], kind="stable")]


def prune(
    matrix: np.ndarray, cluster: np.ndarray, order: np.ndarray, least: float, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Within each cluster keep a row unless one kept before it has a cosine of at least `least`.

    Args:
        matrix: (n, d) vectors of any norm; cluster: (n,) labels; order: row numbers, preferred first.

    Returns:
        (n,) int64, the most similar row kept before each dropped one (the first of equals), else -1;
        and (n,) float32, their cosine.
    """
    from pairwright.components.models.clustering.kmeans import read_rows

    original, similarity = np.full(len(matrix), -1, np.int64), np.zeros(len(matrix), np.float32)
    for rows in _by_cluster(cluster, order):
        if len(rows) > 1:
            nearest, cosine = greedy(read_rows(matrix, rows, unit=True).to(device), least)
            dropped = nearest >= 0
            original[rows[dropped]] = rows[nearest[dropped]]
            similarity[rows[dropped]] = cosine[dropped]
    return original, similarity


def prune_again(
    matrix: np.ndarray,
    cluster: np.ndarray,
    order: np.ndarray,
    least: float,
    original: np.ndarray,
    similarity: np.ndarray,
    device: str = "cpu",
) -> None:
    """Prune what another clustering left, in place; `original` and `similarity` are as `prune` gave them.

    A row whose kept row goes in this round is judged again, after all that stay, so that what it names is kept.
    """
    kept = order[original[order] < 0]
    newly, cosine = prune(matrix, cluster, kept, least, device)
    gone = newly >= 0
    original[gone], similarity[gone] = newly[gone], cosine[gone]
    dropped = order[(original[order] >= 0) & ~gone[order]]
    orphans = dropped[original[original[dropped]] >= 0]
    if len(orphans):
        original[orphans] = -1
        found, cosine = prune(matrix, cluster, np.concatenate([kept[~gone[kept]], orphans]), least, device)
        original[orphans], similarity[orphans] = found[orphans], cosine[orphans]


def greedy(values: Tensor, least: float) -> tuple[np.ndarray, np.ndarray]:
    """`prune` of one cluster: (m, d) unit vectors, preferred first; nearest is a position among them."""
    nearest, cosine = np.full(len(values), -1, np.int64), np.zeros(len(values), np.float32)
    kept = np.zeros(0, np.int64)
    for start in range(0, len(values), QUERIES):
        block = values[start : start + QUERIES]
        best, which = _most_similar(block, values, kept)
        inside = np.tril((block @ block.T).cpu().numpy() + 2, -1) - 2  # -2 for a row itself and those after it
        stays = best < least
        for row in np.flatnonzero((inside >= least).any(axis=1)):
            stays[row] = stays[row] and not (inside[row, stays] >= least).any()
        inside[:, ~stays] = -2
        closer = inside.max(axis=1) > best
        which = np.where(closer, start + inside.argmax(axis=1), which)
        gone = np.flatnonzero(~stays)
        nearest[start + gone] = which[gone]
        cosine[start + gone] = np.maximum(best, inside.max(axis=1))[gone].clip(-1, 1)
        kept = np.concatenate([kept, start + np.flatnonzero(stays)])
    return nearest, cosine


def _most_similar(block: Tensor, values: Tensor, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row of the block, the highest cosine with a kept row (-2 if there is none), and which row that is."""
    import torch

    best = torch.full((len(block),), -2.0, device=block.device)
    which = torch.full((len(block),), -1, device=block.device)
    for start in range(0, len(kept), MEMBERS):
        part = torch.from_numpy(kept[start : start + MEMBERS]).to(block.device)
        cosine, index = (block @ values[part].T).max(dim=1)
        closer = cosine > best
        best, which = torch.where(closer, cosine, best), torch.where(closer, part[index], which)
    return best.cpu().numpy(), which.cpu().numpy()


def _by_cluster(cluster: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of `order` that have a cluster, cluster by cluster, in their order."""
    order = order[cluster[order] >= 0]
    grouped = order[np.argsort(cluster[order], kind="stable")]
    yield from np.split(grouped, np.flatnonzero(np.diff(cluster[grouped])) + 1)
