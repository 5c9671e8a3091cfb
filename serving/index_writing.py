"""Writing a search index: its vectors, what is shown of each item, and the graph of its approximate search.

build_index(dataset, kept, vectors, "index")        # the folder that serving/index.py reads
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards import storage
from pairwright.components.errors import DatasetError
from pairwright.components.finite import require_finite
from pairwright.components.hashing import rows_digest
from pairwright.serving.index import BLOCK, INDEX, INDEX_VERSION, Hits, exact_search, faiss_library
from pairwright.serving.thumbnails import ThumbnailWriter, thumbnail_of

ROW_GROUP = 1024  # items read together when one of them is shown
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
    faiss = faiss_library()
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
