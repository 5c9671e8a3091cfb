"""Clusters: k-means over a vector column, as a label and a distance other selections can read.

    select: {clusters: {uses: clusters, with: {embeddings: image_features.vector, clusters: 100}}}

Spherical by default (1 - cosine). What a cluster's label means depends on the population it was made
of: a new shard makes new clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Columns, Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.shards.matrix import read_matrix
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.registry import selection
from pairwright.components.settings import Settings


class ClustersSettings(Settings):
    embeddings: str = Field("image_features.vector", description="step.column of vectors")
    clusters: int | None = Field(None, ge=1, description="k; None: the square root of the pairs")
    spherical: bool = Field(True, description="only the vectors' direction counts")
    among: dict[str, str] = Field({}, description="keep-rules; only pairs that pass them make clusters, all get one")
    iterations: int = Field(20, ge=1)
    rows_per_cluster: int = Field(256, ge=1, description="pairs a cluster that the iterations see, drawn at random")
    seed: int = Field(0, ge=0)


@selection("clusters")
class Clusters(Selection[ClustersSettings]):
    """Columns: `cluster` 0..k-1; `distance` to its centroid, 1 - cosine or Euclidean. Null without a vector."""

    requires = Columns("embeddings")
    libraries = ("torch",)
    columns = {"cluster": pa.int32(), "distance": pa.float32()}

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*super().column_names(), *among_columns(self.settings.among)]))

    def setup(self, device: str) -> None:
        self.device = device

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        from pairwright.components.models.clustering.kmeans import assign, default_clusters, fit_kmeans

        wish, device = self.settings, getattr(self, "device", "cpu")
        matrix, known = read_matrix(view, wish.embeddings)
        rows, every = np.flatnonzero(known & participants(view, wish.among)), np.flatnonzero(known)
        cluster, distance = np.zeros(view.rows, np.int32), np.zeros(view.rows, np.float32)
        if not len(rows):
            known = np.zeros(view.rows, bool)
        else:
            clustering = fit_kmeans(
                matrix,
                min(wish.clusters or default_clusters(len(rows)), len(rows)),
                rows=rows,
                spherical=wish.spherical,
                seed=wish.seed,
                iterations=wish.iterations,
                rows_per_cluster=wish.rows_per_cluster,
                device=device,
            )
            cluster[every], distance[every] = assign(matrix, clustering, every, device)
        return {
            "cluster": pa.array(cluster, pa.int32(), mask=~known),
            "distance": pa.array(distance, pa.float32(), mask=~known),
        }
