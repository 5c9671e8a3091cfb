"""The search index: what the curated set looks like to the model, as one versioned folder.

    FOLDER/vectors.npy         (n, d) unit vectors of the pictures, float32 or float16
    FOLDER/items.parquet       what is shown of each: key, captions, licence, author, origin, byte range
    FOLDER/thumbnails.bin      JPEGs of at most 160 px, one after another; thumbnails.npy (n + 1,) offsets
    FOLDER/hnsw.faiss          the approximate index (HNSW, Malkov & Yashunin 2018, fp16 storage)
    FOLDER/index.json          n, d, digests of model and data, measured recall@10; written last

Everything large is memory-mapped or read by row group, so a server starts at once and its memory
does not grow with the set. Scores are cosines: vectors have unit norm.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.artifact import check_committed
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.members import checked
from pairwright.components.errors import DatasetError, MissingDependency
from pairwright.components.finite import require_finite
from pairwright.serving.thumbnails import ThumbnailPack, thumbnail_of

INDEX_VERSION = 1
INDEX = "index.json"
BLOCK = 1 << 16  # vectors scanned at a time by exact search


@dataclass(frozen=True)
class Hits:
    """Nearest items of each query: `items` int64 (q, k) and `scores` float32 (q, k), best first."""

    items: np.ndarray
    scores: np.ndarray


def exact_search(vectors: np.ndarray, queries: np.ndarray, k: int) -> Hits:
    """The k nearest of (n, d) vectors to (q, d) queries by cosine, scanned in blocks; ties by item number."""
    k = min(k, len(vectors))
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    require_finite(queries, "the vectors that are searched for")
    scores = np.zeros((len(queries), 0), np.float32)
    items = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = queries @ np.asarray(vectors[start : start + BLOCK], dtype=np.float32).T
        numbers = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        scores, items = np.hstack([scores, block]), np.hstack([items, numbers])
        best = np.lexsort((items, -scores), axis=1)[:, :k] if scores.shape[1] <= 4 * k else _top(scores, items, k)
        scores, items = np.take_along_axis(scores, best, 1), np.take_along_axis(items, best, 1)
    return Hits(items, scores)


def _top(scores: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Positions (q, k) of the k best, ties by item number."""
    chosen = np.empty((len(scores), k), np.int64)
    for i, row in enumerate(scores):
        least = np.partition(row, len(row) - k)[len(row) - k]
        candidates = np.flatnonzero(row >= least)  # every tie for the last place is still in
        chosen[i] = candidates[np.lexsort((items[i][candidates], -row[candidates]))[:k]]
    return chosen


def faiss_library() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingDependency("approximate search needs faiss; pip install 'pairwright[platform]'") from None
    return faiss


class SearchIndex:
    """An index folder opened for reading; safe to share between threads."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder = folder
        self.about = about
        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        self._parquet = pq.ParquetFile(folder / "items.parquet", memory_map=True)
        self._starts = np.cumsum(
            [0] + [self._parquet.metadata.row_group(g).num_rows for g in range(self._parquet.num_row_groups)]
        )
        self._group = functools.lru_cache(maxsize=64)(self._read_group)
        self._pack = ThumbnailPack(folder) if about["thumbnails"] else None

    @classmethod
    def load(cls, folder: str | Path) -> SearchIndex:
        """The index in `folder`.

        Raises:
            DatasetError: it is no index, is damaged, or a newer release wrote it.
            WorkspaceError: a file of it is not what was committed.
        """
        folder = Path(folder)
        if not (folder / INDEX).is_file():
            raise DatasetError(f"{folder} is not a search index (no {INDEX}); `pairwright run` a recipe to make one")
        check_committed(folder)
        try:
            about = json.loads((folder / INDEX).read_bytes())
            if about["index_version"] > INDEX_VERSION:
                raise DatasetError(f"{folder} was written by a newer release; upgrade pairwright")
            index = cls(folder, about)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise DatasetError(f"{folder} is damaged ({error}); delete it and run the recipe again") from None
        if not len(index) == about["n"] == index._starts[-1]:
            raise DatasetError(f"{folder} is damaged (its files disagree on n); delete it and run the recipe again")
        return index

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def approximate(self) -> bool:
        return self.about["approximate"] is not None

    @functools.cached_property
    def _graph(self) -> Any:
        faiss = faiss_library()
        graph = faiss.read_index(str(self.folder / "hnsw.faiss"), faiss.IO_FLAG_MMAP_IFC)
        graph.hnsw.efSearch = self.about["approximate"]["ef_search"]
        return graph

    def search(self, vectors: np.ndarray, k: int, exact: bool = False) -> Hits:
        """The k nearest items to (q, d) unit vectors; fewer where the index holds fewer.

        Raises:
            DatasetError: the vectors are not d wide, so another model made them.
        """
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.about["d"]:
            raise DatasetError(f"queries have shape {queries.shape}, the index is {self.about['d']} wide")
        require_finite(queries, "the vectors that are searched for")
        if exact or not self.approximate:
            return exact_search(self.vectors, queries, k)
        k = min(k, len(self))
        self._graph  # noqa: B018  opened before the effort is chosen, once
        found = self._walk(queries, k)
        if (found < 0).any():  # the walk met fewer than k items
            return exact_search(self.vectors, queries, k)
        # fp16 graph scores are ranked again with the stored vectors: the same numbers as exact search's
        scores = np.einsum("qd,qkd->qk", queries, self.vectors[found].astype(np.float32))
        best = np.lexsort((found, -scores), axis=1)
        return Hits(np.take_along_axis(found, best, 1), np.take_along_axis(scores, best, 1))

    def _walk(self, queries: np.ndarray, k: int) -> np.ndarray:
        faiss = faiss_library()
        effort = max(self.about["approximate"]["ef_search"], 2 * k)
        _, found = self._graph.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=effort))
        return np.asarray(found)

    def item(self, number: int) -> dict[str, Any]:
        """What is known of one item (the columns of items.parquet).

        Raises:
            IndexError: there is none of that number.
        """
        if not 0 <= number < len(self):
            raise IndexError(number)
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        row: dict[str, Any] = self._group(group).slice(number - int(self._starts[group]), 1).to_pylist()[0]
        return row

    def _read_group(self, group: int) -> pa.Table:
        return self._parquet.read_row_group(group)

    def thumbnail(self, number: int) -> bytes | None:
        """JPEG of at most 160 px; made from the shard where none are packed. None if the picture is unreadable."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        if self._pack is not None:
            return self._pack.read(number) or None
        item = self.item(number)
        place = {"member": item["key"], "crc32": None} | item  # an index of an earlier release has no checksums
        tar = self.about["tars"][item["shard"]]
        return thumbnail_of(checked(tar, place, storage.read_bytes(tar, item["offset"], item["size"]))) or None
