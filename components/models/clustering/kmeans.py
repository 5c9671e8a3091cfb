"""k-means over a matrix that need not fit in memory as float32: Lloyd's iterations on a sample, in blocks.

    clustering = fit_kmeans(matrix, 1000, spherical=True, seed=0)      # (n, d) float16, memory mapped or not
    label, distance = assign(matrix, clustering)

k-means++ (Arthur and Vassilvitskii, 2007) on a small sample, Lloyd's iterations on a larger one (256
rows a cluster, as faiss trains), then every row is assigned once. Spherical: rows and centroids on the
unit sphere, distance 1 - cosine (Dhillon and Modha, 2001). A cluster that loses its last row takes the
row farthest from its centroid. The same rows and seed give the same clusters on the same machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.shards.matrix import blocks
from pairwright.components.finite import require_finite

BLOCK = 8192  # rows a matrix product
SEEDING_ROWS = 32  # rows a cluster that k-means++ draws from


@dataclass(frozen=True)
class KMeans:
    """Centroids (k, d) float32, unit norm if spherical.

    Attributes:
        inertia: mean distance (spherical) or squared distance of the training rows at each iteration.
    """

    centroids: Tensor
    spherical: bool
    inertia: tuple[float, ...] = ()

    @property
    def k(self) -> int:
        return len(self.centroids)


def default_clusters(rows: int) -> int:
    """sqrt(rows): in-cluster comparison then costs about as much as assignment."""
    return max(1, round(rows**0.5))


def fit_kmeans(
    matrix: np.ndarray,
    k: int,
    *,
    rows: np.ndarray | None = None,
    spherical: bool = True,
    seed: int = 0,
    iterations: int = 20,
    tolerance: float = 1e-3,
    rows_per_cluster: int = 256,
    device: str = "cpu",
) -> KMeans:
    """k centroids of the matrix's rows.

    Args:
        matrix: (n, d), any float type; read by row numbers, never copied whole.
        rows: row numbers to cluster, ascending; all of them if None.
        tolerance: relative gain in inertia below which the iterations end.
        rows_per_cluster: Lloyd's iterations see at most this many rows a cluster, drawn at random.

    Raises:
        ValueError: k is not in 1..rows.
    """
    rows = np.arange(len(matrix)) if rows is None else rows
    if not 1 <= k <= len(rows):
        raise ValueError(f"k-means of {len(rows)} rows into {k} clusters; k must be in 1..{len(rows)}")
    random = np.random.default_rng(seed)
    sample = _sample(rows, rows_per_cluster * k, random)
    centroids = _plus_plus(matrix, _sample(sample, SEEDING_ROWS * k, random), k, spherical, random)
    history: list[float] = []
    for _ in range(iterations):
        clustering = KMeans(centroids, spherical)
        centroids, inertia = _lloyd(matrix, sample, clustering, device)
        history.append(inertia)
        if len(history) > 1 and history[-2] - inertia <= tolerance * history[-2]:
            break
    return KMeans(centroids, spherical, tuple(history))


def assign(
    matrix: np.ndarray, clustering: KMeans, rows: np.ndarray | None = None, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid (rows,) int32 and its distance (rows,) float32: 1 - cosine, or Euclidean."""
    rows = np.arange(len(matrix)) if rows is None else rows
    label, distance = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
    start = 0
    for block in blocks(rows, BLOCK):
        nearest, far = _nearest(read_rows(matrix, block, clustering.spherical), clustering, device)
        label[start : start + len(block)] = nearest.numpy()
        distance[start : start + len(block)] = (far if clustering.spherical else far.sqrt()).numpy()
        start += len(block)
    return label, distance


def read_rows(matrix: np.ndarray, rows: np.ndarray, unit: bool) -> Tensor:
    """These rows as float32 (len(rows), d), scaled to unit norm if asked."""
    values = torch.from_numpy(np.ascontiguousarray(matrix[rows])).float()
    require_finite(values, "vectors to cluster")
    return F.normalize(values, dim=1) if unit else values


def _sample(rows: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """At most `most` of the rows, in their order."""
    return rows if len(rows) <= most else rows[np.sort(random.choice(len(rows), most, replace=False))]


def _nearest(values: Tensor, clustering: KMeans, device: str) -> tuple[Tensor, Tensor]:
    """Of each row, the nearest centroid and 1 - cosine or the squared Euclidean distance; on the CPU."""
    centroids = clustering.centroids.to(device)
    values = values.to(device)
    products = values @ centroids.T
    if clustering.spherical:
        best, index = products.max(dim=1)
        return index.cpu(), (1 - best).clamp(min=0).cpu()
    squared = centroids.square().sum(1) - 2 * products
    best, index = squared.min(dim=1)
    return index.cpu(), (best + values.square().sum(1)).clamp(min=0).cpu()


def _lloyd(matrix: np.ndarray, rows: np.ndarray, old: KMeans, device: str) -> tuple[Tensor, float]:
    """One iteration: the mean of each cluster's rows, and the mean distance to the old centroids."""
    k, width = old.centroids.shape
    sums, counts = torch.zeros((k, width), dtype=torch.float64), torch.zeros(k, dtype=torch.int64)
    distance = np.empty(len(rows), np.float32)
    start = 0
    for block in blocks(rows, BLOCK):
        values = read_rows(matrix, block, old.spherical)
        label, far = _nearest(values, old, device)
        sums += torch.zeros((k, width)).index_add_(0, label, values)
        counts += torch.bincount(label, minlength=k)
        distance[start : start + len(block)] = far.numpy()
        start += len(block)
    centroids = (sums / counts.clamp(min=1).unsqueeze(1)).float()
    empty = torch.nonzero(counts == 0).flatten()
    if len(empty):
        farthest = np.argsort(-distance, kind="stable")[: len(empty)]
        centroids[empty] = read_rows(matrix, rows[farthest], old.spherical)
    return (F.normalize(centroids, dim=1) if old.spherical else centroids), float(distance.mean())


def _plus_plus(matrix: np.ndarray, rows: np.ndarray, k: int, spherical: bool, random: np.random.Generator) -> Tensor:
    """k starting centroids, each drawn with a chance proportional to its squared distance from those before."""
    values = read_rows(matrix, rows, spherical)
    norms = values.square().sum(1)
    chosen = [int(random.integers(len(rows)))]
    gap = torch.full((len(rows),), torch.inf)
    for _ in range(k - 1):
        last = values[chosen[-1]]
        gap = torch.minimum(gap, (norms - 2 * (values @ last) + norms[chosen[-1]]).clamp(min=0))
        gap[chosen[-1]] = 0  # rounding must not let a row be drawn twice
        mass = np.cumsum(gap.numpy(), dtype=np.float64)
        if mass[-1] <= 0:  # fewer distinct rows than clusters: any row will do
            chosen.append(int(random.integers(len(rows))))
            continue
        chosen.append(int(min(np.searchsorted(mass, random.random() * mass[-1], side="right"), len(rows) - 1)))
    return values[chosen].clone()
