"""Semantic duplicates among a million 256-d vectors: time, peak memory and recall, beside faiss and brute force.

    python -m benchmarks.semantic_duplicates --rows 1000000

Vectors lie around many directions, as embeddings of pictures do; 2% are copies planted at cosines of 0.955
to 1 from another. `semantic_duplicates` runs on them from column files, in a process of its own. Beside it, in
the same run and on as many threads: faiss's spherical k-means with the same sizes and the same pruning, and the
comparison of a sample with every row, whose time is scaled up and whose answer is the truth for recall.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.machine import add_output_option, publish
from pairwright.components.dataset.dataset import Dataset, Shard, open_dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.schema import SIDECAR
from pairwright.components.dataset.shards.sidecar import write_sidecar

WIDTH, EPSILON, PLANTED = 256, 0.05, 0.02
ROWS_PER_SHARD = 10_000
ROWS_PER_DIRECTION = 50
SPREAD = 0.75  # of a row about its direction: two rows of one direction have a cosine of about 0.64
STEPS = {name: StepColumns(name, "synthetic") for name in ("image_features", "caption_text")}


def make(root: Path, rows: int) -> None:
    """Column files of vectors and qualities; a copy's quality is below its original's."""
    store, random = ColumnStore(f"{root}/columns"), np.random.default_rng(0)
    copies = int(PLANTED * rows)
    directions = _unit(random.normal(size=(max(rows // ROWS_PER_DIRECTION, 1), WIDTH)))
    original = random.choice(rows - copies, copies, replace=False)
    cosine = random.uniform(1 - EPSILON + 0.005, 1, copies)
    kept = np.zeros((copies, WIDTH), np.float32)  # the originals that are copied, as they are made
    wanted = {int(row): place for place, row in enumerate(original)}
    shards = []
    for number in range(-(-rows // ROWS_PER_SHARD)):
        start, size = number * ROWS_PER_SHARD, min(ROWS_PER_SHARD, rows - number * ROWS_PER_SHARD)
        at = np.arange(start, start + size)
        values = directions[random.integers(0, len(directions), size)]
        values = _unit(values + SPREAD * _unit(random.normal(size=(size, WIDTH))))
        for row in at[at < rows - copies]:
            if int(row) in wanted:
                kept[wanted[int(row)]] = values[row - start]
        late = at[at >= rows - copies]
        if len(late):
            which = late - (rows - copies)
            values[late - start] = _copies(kept[which], cosine[which], random)
        shards.append(_write(root, store, number, values, rows - at))
    Dataset("synthetic", f"{root}/data", tuple(shards)).save()
    np.save(root / "original.npy", original)


def _unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def _copies(rows: np.ndarray, cosine: np.ndarray, random: np.random.Generator) -> np.ndarray:
    side = random.normal(size=rows.shape)
    side -= (side * rows).sum(1, keepdims=True) * rows
    return _unit(cosine[:, None] * rows + np.sqrt(1 - cosine[:, None] ** 2) * _unit(side))


def _write(root: Path, store: ColumnStore, number: int, values: np.ndarray, quality: np.ndarray) -> Shard:
    path, digest, size = f"{root}/data/{number:05d}.parquet", f"{number:032x}", len(values)
    keys = pa.array([f"{number:05d}{i:06d}" for i in range(size)])
    nulls = [pa.nulls(size, field.type) for field in SIDECAR if field.name != "key"]
    write_sidecar(pa.table([keys, *nulls], schema=SIDECAR), path)
    flat = pa.array(values.astype(np.float16).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(pa.float16(), WIDTH))
    store.write(STEPS["image_features"], digest, {"vector": vectors}, size)
    store.write(STEPS["caption_text"], digest, {"quality": pa.array(quality, pa.float32())}, size)
    return Shard(f"{number:05d}", path.replace(".parquet", ".tar"), path, digest, size, 0)


def ours(view: ColumnsView, threads: int, rounds: int = 1) -> dict[str, Any]:
    """The selection as the flow runs it."""
    import torch

    from pairwright.components.filter.selections.duplicates.semantic_duplicates import (
        SemanticDuplicates,
        SemanticDuplicatesSettings,
    )

    torch.set_num_threads(threads)
    columns = SemanticDuplicates(SemanticDuplicatesSettings(epsilon=EPSILON, rounds=rounds)).select(view)
    return {"drop": columns["drop"].to_numpy(zero_copy_only=False).astype(bool)}


def two_rounds(view: ColumnsView, threads: int) -> dict[str, Any]:
    """The selection with what is left clustered once more."""
    return ours(view, threads, rounds=2)


def faiss_same_pruning(view: ColumnsView, threads: int) -> dict[str, Any]:
    """faiss's spherical k-means (as many clusters, iterations and rows a cluster), then our pruning."""
    import faiss
    import torch

    from pairwright.components.dataset.shards.matrix import read_matrix
    from pairwright.components.filter.selections.duplicates.semantic_duplicates import prune
    from pairwright.components.models.clustering.kmeans import default_clusters

    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    matrix, _ = read_matrix(view, "image_features.vector")
    values = matrix.astype(np.float32)
    kmeans = faiss.Kmeans(WIDTH, default_clusters(len(values)), niter=20, spherical=True, seed=0)
    kmeans.train(values)
    cluster = kmeans.index.search(values, 1)[1][:, 0].astype(np.int32)
    original, _ = prune(matrix, cluster, np.arange(len(matrix)), 1 - EPSILON)
    return {"drop": original >= 0}


def brute_force(view: ColumnsView, threads: int, queries: int = 2000) -> dict[str, Any]:
    """Whether any better row has a cosine of 1 - epsilon or more, of a sample against every row."""
    import torch

    from pairwright.components.dataset.shards.matrix import blocks, read_matrix
    from pairwright.components.models.clustering.kmeans import read_rows

    torch.set_num_threads(threads)
    matrix, _ = read_matrix(view, "image_features.vector")
    rows = np.sort(np.random.default_rng(1).choice(len(matrix), queries, replace=False))
    asked, found = read_rows(matrix, rows, unit=True), np.zeros(queries, bool)
    for block in blocks(len(matrix), 8192):
        alike = (asked @ read_rows(matrix, block, unit=True).T >= 1 - EPSILON).numpy()
        found |= (alike & (block[None] < rows[:, None])).any(axis=1)
    return {"rows": rows, "repeats": found}


WAYS = {"ours": ours, "two_rounds": two_rounds, "faiss": faiss_same_pruning, "brute_force": brute_force}


def timed(way: str, root: Path, threads: int) -> None:
    """One way, in this process: seconds and peak memory, and its answer beside the data."""
    view = ColumnsView(open_dataset(f"{root}/data"), ColumnStore(f"{root}/columns"), STEPS)
    start = time.perf_counter()
    answer = WAYS[way](view, threads)
    seconds = time.perf_counter() - start
    np.savez(root / f"{way}.npz", **answer)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(seconds, 1), "peak_mib": round(peak)}))


def measure(rows: int, threads: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, rows)
        found: dict[str, Any] = {}
        for way in WAYS:
            command = [
                sys.executable,
                "-m",
                "benchmarks.semantic_duplicates",
                "--way",
                way,
                "--root",
                folder,
                "--threads",
                str(threads),
            ]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            found[way] = json.loads(done.stdout.splitlines()[-1])
        copies = int(PLANTED * rows)
        truth = np.load(root / "brute_force.npz")
        asked, repeats = truth["rows"], truth["repeats"]
        for way in ("ours", "two_rounds", "faiss"):
            drop = np.load(root / f"{way}.npz")["drop"]
            found[way]["dropped"] = int(drop.sum())
            found[way]["planted_recall"] = round(float(drop[-copies:].mean()), 4)
            found[way]["sample_recall"] = round(float(drop[asked][repeats].mean()), 4) if repeats.any() else None
            found[way]["sample_false"] = int((drop[asked] & ~repeats).sum())
    found["brute_force"]["seconds_for_all"] = round(found["brute_force"]["seconds"] * rows / len(asked), 1)
    return {
        "benchmark": "semantic_duplicates",
        "rows": rows,
        "width": WIDTH,
        "threads": threads,
        "planted": copies,
        **found,
        "times_faster_than_faiss": round(found["faiss"]["seconds"] / found["ours"]["seconds"], 2),
        "times_faster_than_brute_force": round(found["brute_force"]["seconds_for_all"] / found["ours"]["seconds"], 1),
        "memory_of_faiss": round(found["ours"]["peak_mib"] / found["faiss"]["peak_mib"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    add_output_option(parser)
    options = parser.parse_args()
    if options.way:
        timed(options.way, Path(options.root), options.threads)
        return
    publish(measure(options.rows, options.threads), options.json, ["torch", "faiss-cpu", "numpy", "pyarrow"])


if __name__ == "__main__":
    main()
