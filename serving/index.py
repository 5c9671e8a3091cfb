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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.artifact import check_committed
from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.members import checked
from pairwright.components.errors import DatasetError, MissingDependency
from pairwright.components.finite import require_finite
from pairwright.components.hashing import rows_digest
from pairwright.serving.thumbnails import ThumbnailPack, ThumbnailWriter, thumbnail_of

INDEX_VERSION = 1
INDEX = "index.json"
ROW_GROUP = 1024  # items read together when one of them is shown
BLOCK = 1 << 16  # vectors scanned at a time by exact search
HNSW_LINKS = 32
HNSW_BUILD_EFFORT = 120
EFFORTS = (32, 64, 128, 256, 512)  # efSearch: the smallest that reaches the recall wanted is kept
RECALL_WANTED = 0.99
RECALL_K = 10
RECALL_QUERIES = 256
SINGLE_THREAD_BELOW = 200_000  # with one thread the same vectors always give the same graph

ITEM = pa.schema(
    [
        ("key", pa.string()),
        ("caption", pa.string()),  # the one shown first
        ("captions", pa.list_(pa.struct([("source", pa.string()), ("text", pa.string()), ("lang", pa.string())]))),
        ("category", pa.string()),
        ("licence", pa.string()),
        ("author", pa.string()),
        ("origin", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("offset", pa.int64()),  # of the picture's first byte in the shard's tar
        ("size", pa.int64()),
        ("member", pa.string()),
        ("crc32", pa.uint32()),  # of the picture's bytes; null where the dataset was indexed without
    ]
)


@dataclass(frozen=True)
class Hits:
    """Nearest items of each query: `items` int64 (q, k) and `scores` float32 (q, k), best first."""

    items: np.ndarray
    scores: np.ndarray


def build_index(
    dataset: Dataset,
    kept: pa.Table,
    image_vectors: np.ndarray,
    folder: str | Path,
    *,
    thumbnails: bool = True,
    approximate: bool = True,
    dtype: str = "float32",
    caption_source: str = "alt",
    captions: Sequence[str | None] | None = None,
    query_vectors: np.ndarray | None = None,
    model_digest: str = "",
    seed: int = 0,
) -> dict[str, Any]:
    """Write the index of the kept pairs into `folder`; returns what `index.json` says.

    Args:
        kept: rows (shard digest, row number, key), one for each vector.
        image_vectors: (n, d) unit vectors in `kept`'s order.
        captions: the caption to show for each pair (the recaptioned one, say); else `caption_source`'s.
        query_vectors: (q, d) unit vectors of texts people may search by. Texts lie further from the
            pictures than pictures do, so recall is measured for them apart.

    Raises:
        DatasetError: nothing is kept, the vectors do not match, or a shard is not the dataset's.
    """
    _check_inputs(kept, image_vectors, captions)
    if query_vectors is not None:
        require_finite(query_vectors, "the vectors of the texts people may search by")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    order = _dataset_order(dataset, kept)
    vectors = np.ascontiguousarray(image_vectors[order], dtype=dtype)
    np.save(folder / "vectors.npy", vectors)
    chosen = [captions[i] for i in order] if captions is not None else None
    facts = _write_items(dataset, kept.take(pa.array(order)), folder, chosen, caption_source, thumbnails)
    about: dict[str, Any] = {
        "index_version": INDEX_VERSION,
        "n": len(vectors),
        "d": int(vectors.shape[1]),
        "dtype": dtype,
        "model_digest": model_digest,
        "dataset": dataset.name,
        "dataset_digest": dataset.digest,
        "items_digest": rows_digest(kept.take(pa.array(order))),  # pages keep thumbnails by what they are of
        "tars": {shard.digest: shard.tar for shard in dataset.shards},
        "approximate": _write_graph(vectors, folder, query_vectors, seed) if approximate else None,
        **facts,
    }
    storage.write_json(str(folder / INDEX), about)
    return about


def _check_inputs(kept: pa.Table, vectors: np.ndarray, captions: Sequence[str | None] | None) -> None:
    if len(kept) == 0:
        raise DatasetError("the selection keeps no pair, so there is nothing to search; loosen its rules")
    if vectors.ndim != 2 or len(vectors) != len(kept):
        raise DatasetError(f"{len(kept)} kept pairs but vectors of shape {vectors.shape}; embed the same selection")
    if captions is not None and len(captions) != len(kept):
        raise DatasetError(f"{len(kept)} kept pairs but {len(captions)} captions")
    for start in range(0, len(vectors), BLOCK):
        require_finite(vectors[start : start + BLOCK], f"the vectors of the kept pairs from {start} on")
    norms = np.linalg.norm(vectors[:: max(1, len(vectors) // 1000)].astype(np.float32), axis=1)
    if not np.allclose(norms, 1, atol=1e-2):
        raise DatasetError(
            f"vectors must have unit norm (found {norms.min():.3f} to {norms.max():.3f}); normalise them"
        )


def _dataset_order(dataset: Dataset, kept: pa.Table) -> np.ndarray:
    """Positions of `kept` in dataset order, so that each shard is read once, front to back."""
    place = {shard.digest: i for i, shard in enumerate(dataset.shards)}
    try:
        shards = np.array([place[digest] for digest in kept["shard"].to_pylist()])
    except KeyError as error:
        raise DatasetError(f"{dataset.name} has no shard {error}; was the dataset changed since the run?") from None
    return np.lexsort((kept["row"].to_numpy(), shards))


def _write_items(
    dataset: Dataset, kept: pa.Table, folder: Path, captions: list[str | None] | None, source: str, thumbnails: bool
) -> dict[str, Any]:
    """items.parquet and the thumbnails; returns counts by category and licence."""
    categories: dict[str, int] = {}
    licences: dict[str, int] = {}
    pack = ThumbnailWriter(folder) if thumbnails else None
    done = 0
    with pq.ParquetWriter(folder / "items.parquet", ITEM, compression="zstd") as writer:
        for shard, rows in _by_shard(dataset, kept):
            items = [_item(shard, row, source) | {"licence": row["licence"] or dataset.licence or None} for row in rows]
            if captions is not None:
                for item, caption in zip(items, captions[done : done + len(items)], strict=True):
                    item["caption"] = caption or item["caption"]
            for item in items:
                licences[item["licence"] or ""] = licences.get(item["licence"] or "", 0) + 1
                if item["category"]:
                    categories[item["category"]] = categories.get(item["category"], 0) + 1
                if pack:
                    pack.add(thumbnail_of(shard.read_member(item)) if item["size"] else b"")
            writer.write_table(pa.Table.from_pylist(items, schema=ITEM), row_group_size=ROW_GROUP)
            done += len(items)
    missing = pack.close() if pack else None
    return {
        "thumbnails": None if pack is None else {"longest_side_px": 160, "missing": missing},
        "categories": dict(sorted(categories.items())),
        "licences": dict(sorted(licences.items())),
    }


def _by_shard(dataset: Dataset, kept: pa.Table) -> Iterator[tuple[Shard, list[dict[str, Any]]]]:
    """The kept rows of each shard's sidecar, in `kept`'s order (which is the dataset's)."""
    columns = ["key", "media", "captions", "labels", "licence", "author", "origin"]
    digests, numbers = kept["shard"].to_pylist(), kept["row"].to_pylist()
    start = 0
    while start < len(digests):
        end = start
        while end < len(digests) and digests[end] == digests[start]:
            end += 1
        shard = dataset.shard_by_digest(digests[start])
        rows = shard.read_sidecar(columns).take(pa.array(numbers[start:end])).to_pylist()
        for row, number in zip(rows, numbers[start:end], strict=True):
            row["row"] = number
        yield shard, rows
        start = end


def _item(shard: Shard, row: Mapping[str, Any], source: str) -> dict[str, Any]:
    captions = [c for c in row["captions"] or () if c["text"] and not c["source"].startswith("translation")]
    image = next(
        (m for m in row["media"] or () if m["role"] == "image"), {"offset": 0, "size": 0, "member": None, "crc32": None}
    )
    first = caption_of(row["captions"], source) or (captions[0]["text"] if captions else "")
    return {
        "key": row["key"],
        "caption": first,
        "captions": [{name: c[name] for name in ("source", "text", "lang")} for c in captions],
        "category": next((label["value"] for label in row["labels"] or () if label["name"] == "category"), None),
        "author": row["author"],
        "origin": row["origin"],
        "shard": shard.digest,
        "row": row["row"],
        "offset": image["offset"],
        "size": image["size"],
        "member": image["member"],
        "crc32": image["crc32"],
    }


def _write_graph(vectors: np.ndarray, folder: Path, queries: np.ndarray | None, seed: int) -> dict[str, Any]:
    """hnsw.faiss, and its recall against exact search at the least effort that reaches the recall wanted."""
    faiss = _faiss()
    n, d = vectors.shape
    graph = faiss.IndexHNSWSQ(d, faiss.ScalarQuantizer.QT_fp16, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = HNSW_BUILD_EFFORT
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if n < SINGLE_THREAD_BELOW else threads)
    try:
        full = vectors.astype(np.float32)
        graph.train(full)
        graph.add(full)
    finally:
        faiss.omp_set_num_threads(threads)
    sample = np.sort(np.random.default_rng(seed).choice(n, min(n, RECALL_QUERIES), replace=False))
    probes = {"picture": full[sample]}
    if queries is not None and len(queries):
        probes["text"] = np.ascontiguousarray(queries[:RECALL_QUERIES], dtype=np.float32)
    truths = {kind: exact_search(vectors, probe, RECALL_K) for kind, probe in probes.items()}
    recall: dict[str, float] = {}
    for effort in EFFORTS:
        graph.hnsw.efSearch = effort
        recall = {kind: _graph_recall(graph, vectors, probe, truths[kind]) for kind, probe in probes.items()}
        if min(recall.values()) >= RECALL_WANTED:
            break
    faiss.write_index(graph, str(folder / "hnsw.faiss"))
    return {
        "kind": f"HNSW{HNSW_LINKS}, fp16",
        "ef_construction": HNSW_BUILD_EFFORT,
        "ef_search": effort,
        "recall_at_10": round(min(recall.values()), 4),
        "recall_at_10_by_query": {kind: round(value, 4) for kind, value in recall.items()},
        "queries": {kind: len(probe) for kind, probe in probes.items()},
        "seed": seed,
    }


def _graph_recall(graph: Any, vectors: np.ndarray, queries: np.ndarray, truth: Hits) -> float:
    _, found = graph.search(queries, min(RECALL_K, len(vectors)))
    return recall_at_k(vectors, queries, found, truth)


def recall_at_k(vectors: np.ndarray, queries: np.ndarray, found: np.ndarray, truth: Hits) -> float:
    """Share of the k nearest that were found: (q, k) item numbers against exact hits.

    An item as near as the k-th nearest counts: of equal pictures it matters not which was found.
    """
    right = 0
    for query, items, worst in zip(queries, found, truth.scores[:, -1], strict=True):
        items = items[items >= 0]
        scores = vectors[items].astype(np.float32) @ query
        right += int((scores >= worst - 1e-6).sum())
    return right / max(truth.scores.size, 1)


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


def _faiss() -> Any:
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
        faiss = _faiss()
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
        faiss = _faiss()
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
