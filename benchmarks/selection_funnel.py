"""How long keep-rules take over many rows, and in how much memory.

    python benchmarks/selection_funnel.py --rows 12800000

Makes columns of synthetic values (a DataComp-small's worth by default), applies five rules of which
two need a quantile, streams the verdicts to disk, and prints seconds, the peak resident memory of the
process that selected, and its time over that of only reading the same columns and keys (the floor).
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

import numpy as np
import pyarrow as pa

from components.dataset.columns import ColumnStore, ColumnsView, StepColumns
from components.dataset.dataset import Dataset, Shard, open_dataset
from components.dataset.schema import SIDECAR
from components.dataset.sidecar import write_sidecar
from components.filter.population import read_steps, view_columns
from components.filter.rules import Rule
from components.filter.selection import write_selection

RULES = [
    Rule("readable", "image.readable"),
    Rule("large_enough", "least(image.width, image.height) >= 64"),
    Rule("long_enough", "text.words >= 3 and not text.boilerplate"),
    Rule("well_aligned", "align.score >= quantile(align.score, 0.3)"),
    Rule("not_extreme", "align.score <= quantile(align.score, 0.999)"),
]
STEPS = {name: StepColumns(name, "synthetic") for name in ("image", "text", "align")}


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
        readable = random.random(size) < 0.99
        sides = random.integers(20, 2000, (2, size)).astype(np.int32)
        image = {
            "readable": pa.array(readable),
            "width": pa.array(sides[0], mask=~readable),
            "height": pa.array(sides[1], mask=~readable),
            "error": pa.array(np.where(readable, None, "decode:truncated"), pa.string()),
            "_error": pa.nulls(size, pa.string()),
        }
        words = {"words": random.integers(0, 30, size).astype(np.int32), "boilerplate": random.random(size) < 0.1}
        scores = pa.array(random.normal(0.2, 0.1, size).astype(np.float32), mask=~readable)
        store.write(STEPS["image"], digest, image, size)
        store.write(STEPS["text"], digest, {n: pa.array(v) for n, v in words.items()}, size)
        store.write(STEPS["align"], digest, {"score": scores, "_error": image["error"]}, size)
    Dataset("synthetic", f"{root}/data", tuple(shards)).save()


def select(root: Path) -> None:
    """Select, and print what it took; in a process of its own, so that its peak memory is its own."""
    view = ColumnsView(open_dataset(f"{root}/data"), ColumnStore(f"{root}/columns"), STEPS)
    start = time.perf_counter()
    for position, shard in enumerate(view.dataset.shards):
        read_steps(view, position, list(view_columns(view)))
        shard.read_sidecar(["key", "error"])
    floor = time.perf_counter() - start
    start = time.perf_counter()
    summary = write_selection(view, RULES, root / "selection", memory_limit="2GB")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "floor": floor, "peak_mib": peak, "funnel": summary["funnel"]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=12_800_000)
    parser.add_argument("--rows-per-shard", type=int, default=10_000)
    parser.add_argument("--select", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.select:
        select(Path(options.select))
        return
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        make(Path(folder), options.rows, options.rows_per_shard)
        print(f"{options.rows:,} rows made in {time.perf_counter() - start:.0f} s on {os.cpu_count()} CPUs")
        done = subprocess.run(
            [sys.executable, __file__, "--select", folder], check=True, capture_output=True, text=True, env=os.environ
        )
        found = json.loads(done.stdout.splitlines()[-1])
        for step in found["funnel"]:
            print(f"  {step['rule']:<14} {step['pairs_in']:>12,} -> {step['kept']:>12,}")
        rate = options.rows / found["seconds"]
        print(f"selected in {found['seconds']:.1f} s ({rate:,.0f} rows/s), peak memory {found['peak_mib']:,.0f} MiB")
        print(f"{found['seconds'] / found['floor']:.2f} times as long as reading the same columns once")


if __name__ == "__main__":
    main()
