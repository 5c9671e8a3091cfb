"""Claim: the keep-rules of a recipe over 12.8 million rows of columns in 60 s and 4 GiB on two cores.

    python -m benchmarks.selection_funnel --rows 12800000

Makes columns of synthetic values (a DataComp-small's worth by default, in shards of 10,000 as its
crawl has), applies the quickstart recipe's rules with three quantiles among them, writes the verdicts
and the kept rows to disk, in a process of its own on two cores, and prints seconds, that process's peak
resident memory, DuckDB included, and its time over that of a bare pyarrow loop and of a bare DuckDB
scan that only read the same columns of the same files in the same run.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import add_output_option, publish
from pairwright.components.dataset.dataset import Dataset, Shard, open_dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.schema import SIDECAR
from pairwright.components.dataset.shards.sidecar import write_sidecar
from pairwright.components.filter.rules.rules import Rule
from pairwright.components.filter.rules.selection import write_selection

RULES = [
    Rule("large_enough", "least(image.width, image.height) >= 64"),
    Rule("described", "text.words >= 1 AND text.alphabetic >= 0.5"),
    Rule("not_a_file_name", "text.file_name_likeness < 0.5"),
    Rule("not_boilerplate", "NOT text.boilerplate"),
    Rule("not_repetitive", "text.repetition <= quantile(text.repetition, 0.98)"),
    Rule("unique_picture", "NOT exact_duplicates.drop"),
    Rule("no_near_duplicate", "NOT near_duplicates.drop"),
    Rule("not_a_text_card", "ocr.share < 0.5"),
    Rule("well_aligned", "align.score >= quantile(align.score, 0.3)"),
    Rule("not_extreme", "align.score <= quantile(align.score, 0.999)"),
]
STEPS = {
    name: StepColumns(name, "synthetic")
    for name in ("image", "text", "exact_duplicates", "near_duplicates", "ocr", "align")
}
SECONDS, GIB = 60, 4.0


def make(root: Path, rows: int, rows_per_shard: int) -> None:
    """A dataset of sidecars and columns, no pictures."""
    store, random = ColumnStore(f"{root}/columns"), np.random.default_rng(0)
    shards = []
    for number in range(-(-rows // rows_per_shard)):
        size = min(rows_per_shard, rows - number * rows_per_shard)
        path, digest = f"{root}/data/{number:05d}.parquet", f"{number:032x}"
        keys = pa.array([f"{number:05d}{i:06d}" for i in range(size)])
        nulls = [pa.nulls(size, field.type) for field in SIDECAR if field.name != "key"]
        write_sidecar(pa.table([keys, *nulls], schema=SIDECAR), path)
        shards.append(Shard(f"{number:05d}", path.replace(".parquet", ".tar"), path, digest, size, 0))
        for step, columns in _columns(random, keys, number * rows_per_shard).items():
            store.write(STEPS[step], digest, columns, size)
    Dataset("synthetic", f"{root}/data", tuple(shards)).save()


def _columns(random: np.random.Generator, keys: pa.Array, first: int) -> dict[str, dict[str, pa.Array]]:
    """One shard's columns by step: one picture in a hundred cannot be read."""
    size = len(keys)
    unreadable = random.random(size) < 0.01
    error = pa.array(np.where(unreadable, "decode:truncated", None), pa.string())

    def share(scale: float) -> pa.Array:
        return pa.array((random.random(size) * scale).astype(np.float32), mask=unreadable)

    def duplicates(dropped_share: float) -> dict[str, pa.Array]:
        drop = random.random(size) < dropped_share
        of = keys.take(pa.array(random.integers(0, size, size), mask=~drop))
        bits = pa.array(random.integers(0, 32, size), pa.int32(), mask=~drop)
        group = pa.array(first + np.arange(size), pa.int64(), mask=unreadable)
        return {"drop": pa.array(drop, mask=unreadable), "of": of, "distance": bits, "group": group}

    def side() -> pa.Array:
        return pa.array(random.integers(20, 2000, size).astype(np.int32), mask=unreadable)

    score = pa.array(random.normal(0.2, 0.1, size).astype(np.float32), mask=unreadable)
    return {
        "image": {
            "readable": pa.array(~unreadable),
            "width": side(),
            "height": side(),
            "error": error,
            "_error": pa.nulls(size, pa.string()),
        },
        "text": {
            "words": pa.array(random.integers(0, 30, size).astype(np.int32)),
            "alphabetic": pa.array((1 - random.random(size) ** 3).astype(np.float32)),
            "file_name_likeness": pa.array((random.random(size) ** 3).astype(np.float32)),
            "boilerplate": pa.array(random.random(size) < 0.1),
            "repetition": pa.array((random.random(size) ** 2).astype(np.float32)),
        },
        "exact_duplicates": duplicates(0.05),
        "near_duplicates": duplicates(0.1),
        "ocr": {"share": share(0.6), "_error": error},
        "align": {"score": score, "_error": error},
    }


def selected(root: Path) -> dict[str, Any]:
    """Select, and say what it took; in a process of its own, so that its peak memory is its own."""
    view = ColumnsView(open_dataset(f"{root}/data"), ColumnStore(f"{root}/columns"), STEPS)
    start, cpu = time.perf_counter(), time.process_time()
    summary = write_selection(view, RULES, root / "selection", memory_limit="2GB")
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "funnel": summary["funnel"],
    }


def _files(root: Path) -> dict[str, list[str]]:
    """Step -> the columns that the rules make a selection read, and the sidecar's."""
    wanted = {step: [] for step in STEPS}
    for name in ("width", "height", "error", "_error"):
        wanted["image"].append(name)
    wanted["text"] += ["words", "alphabetic", "file_name_likeness", "boilerplate", "repetition"]
    for step in ("exact_duplicates", "near_duplicates"):
        wanted[step] += ["drop", "of", "distance"]
    wanted["ocr"] += ["share", "_error"]
    wanted["align"] += ["score", "_error"]
    return wanted


def pyarrow_loop(root: Path) -> dict[str, Any]:
    """Read every file's wanted columns, one after the other, and do nothing with them."""
    start = time.perf_counter()
    for shard in open_dataset(f"{root}/data").shards:
        pq.ParquetFile(shard.sidecar).read(["key", "error"])
        for step, names in _files(root).items():
            pq.ParquetFile(f"{root}/columns/{step}/synthetic/{shard.digest}.parquet").read(names)
    return {"seconds": time.perf_counter() - start}


def duckdb_scan(root: Path) -> dict[str, Any]:
    """The same columns through DuckDB, each summed up to one number so that none is skipped."""
    import duckdb

    connection = duckdb.connect(config={"threads": len(os.sched_getaffinity(0)), "memory_limit": "2GB"})
    start = time.perf_counter()
    for step, names in _files(root).items():
        sums = ", ".join(f'bit_xor(hash("{name}"))' for name in names)
        connection.execute(f"SELECT {sums} FROM read_parquet('{root}/columns/{step}/synthetic/*.parquet')").fetchone()
    connection.execute(
        f"SELECT bit_xor(hash(key)), bit_xor(hash(error)) FROM read_parquet('{root}/data/*.parquet')"
    ).fetchone()
    return {"seconds": time.perf_counter() - start}


TASKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "select": selected,
    "pyarrow": pyarrow_loop,
    "duckdb": duckdb_scan,
}


def pinned(task: str, root: Path, cores: list[int]) -> dict[str, Any]:
    """Run a task in a process of its own on these cores."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.selection_funnel", "--task", task, "--folder", str(root)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12_800_000)
    parser.add_argument("--rows-per-shard", type=int, default=10_000)
    parser.add_argument("--cores", type=int, nargs="+", help="default: the first two this process may use")
    parser.add_argument("--keep", metavar="FOLDER", help="make the columns there, or use those that are there")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    add_output_option(parser)
    args = parser.parse_args()
    if args.task:
        print(json.dumps(TASKS[args.task](Path(args.folder))))
        return
    cores = args.cores or sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(args.keep or folder)
        if not (root / "data").exists():
            make(root, args.rows, args.rows_per_shard)
        found = {task: pinned(task, root, cores) for task in ("pyarrow", "duckdb", "select")}
    ours = found["select"]
    for step in ours["funnel"]:
        print(f"  {step['rule']:<18} {step['pairs_in']:>12,} -> {step['kept']:>12,}")
    result = {
        "benchmark": "selection_funnel",
        "rows": args.rows,
        "cores": len(cores),
        "seconds": round(ours["seconds"], 2),
        "cpu_seconds": round(ours["cpu_seconds"], 2),
        "peak_gib": round(ours["peak_gib"], 3),
        "reading_alone_seconds": {name: round(found[name]["seconds"], 2) for name in ("pyarrow", "duckdb")},
        "ratio": round(ours["seconds"] / found["pyarrow"]["seconds"], 2),
        "ratio_duckdb": round(ours["seconds"] / found["duckdb"]["seconds"], 2),
        "budget": {"seconds": SECONDS, "gib": GIB, "rows": 12_800_000},
    }
    publish(result, args.json, ["duckdb", "pyarrow"])
    if result["seconds"] > SECONDS or result["peak_gib"] > GIB:
        sys.exit(f"{result['seconds']} s and {result['peak_gib']} GiB; {SECONDS} s and {GIB} GiB are allowed")


if __name__ == "__main__":
    main()
