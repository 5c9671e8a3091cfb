"""Claim: the global selections stand ten million pairs in 4 GiB: exact and near duplicates, caption frequency, groups.

    python -m benchmarks.global_selections --rows 10000000

Makes columns of synthetic values (a twentieth of the pictures exact copies, a tenth near-duplicates at 0
to 31 bits, a fifth of the captions from ten thousand templates), runs each selection as a recipe does, from the column
files to its columns, in a process of its own on two cores, and prints seconds and the peak resident
memory of that process, also for a million rows more. Its time is also given over that of only reading
the columns it reads.
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
import pyarrow.compute as pc

from benchmarks.machine import add_output_option, publish
from benchmarks.near_duplicates import planted
from pairwright.components.dataset.dataset import Dataset, Shard, open_dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.schema import SIDECAR
from pairwright.components.dataset.shards.sidecar import write_sidecar
from pairwright.components.registry import load_class

STEPS = {name: StepColumns(name, "synthetic") for name in ("exact_hash", "pdq", "caption_text", "exact_duplicates")}
SELECTIONS: dict[str, dict[str, Any]] = {
    "exact_duplicates": {},
    "caption_frequency": {},
    "near_duplicates": {
        "among": {"described": "caption_text.words >= 1", "unique_picture": "NOT exact_duplicates.drop"},
    },
}
READS = {
    "exact_duplicates": ["exact_hash.pixels", "caption_text.quality"],
    "caption_frequency": [],
    "near_duplicates": ["pdq.hash", "pdq.quality", "exact_hash.pixels", "caption_text.quality"],
}
GIB = 4.0
WORDS = np.array(
    ["red", "old", "wooden", "small", "bright", "garden", "river", "castle", "bicycle", "painting", "of", "a"]
)


def make(root: Path, rows: int, rows_per_shard: int = 10_000) -> None:
    """A dataset of sidecars and columns, no pictures."""
    random, store, shards = np.random.default_rng(0), ColumnStore(f"{root}/columns"), []
    near = planted(rows, 0.1)[0][random.permutation(rows)]
    pixels = np.frombuffer(random.bytes(rows * 32), np.uint8).reshape(rows, 32).copy()
    pixels[random.choice(rows, rows // 20, replace=False)] = pixels[random.integers(0, rows, rows // 20)]
    for number, first in enumerate(range(0, rows, rows_per_shard)):
        size = min(rows_per_shard, rows - first)
        path, digest = f"{root}/data/{number:05d}.parquet", f"{number:032x}"
        keys = pa.array([f"{number:05d}{i:06d}" for i in range(size)])
        given = {"key": keys, "captions": _captions(random, keys)}
        write_sidecar(pa.table([given.get(f.name, pa.nulls(size, f.type)) for f in SIDECAR], schema=SIDECAR), path)
        shards.append(Shard(f"{number:05d}", path.replace(".parquet", ".tar"), path, digest, size, 0))
        columns = {
            "exact_hash": {"pixels": _binary(pixels[first : first + size])},
            "pdq": {
                "hash": _binary(near[first : first + size]),
                "quality": pa.array(random.integers(45, 101, size), pa.int32()),
            },
            "caption_text": {
                "quality": pa.array((random.integers(0, 100, size) / 100).astype(np.float32)),
                "words": pa.array(random.integers(0, 20, size), pa.int32()),
            },
            "exact_duplicates": {"drop": pa.array(random.random(size) < 0.05)},
        }
        for step, arrays in columns.items():
            store.write(STEPS[step], digest, arrays, size)
    Dataset("synthetic", f"{root}/data", tuple(shards)).save()


def _binary(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(rows), [None, pa.py_buffer(rows.tobytes())])


def _captions(random: np.random.Generator, keys: pa.Array) -> pa.Array:
    """One alt-text a row: four words and the key, or one of ten thousand templates."""
    size = len(keys)
    words = [pa.array(WORDS[random.integers(0, len(WORDS), size)]) for _ in range(6)]
    own = pc.binary_join_element_wise(*words, keys, " ")
    template = pc.binary_join_element_wise(
        "Part of collection", pa.array(random.integers(0, 10_000, size)).cast("string"), " "
    )
    text = pc.if_else(pa.array(random.random(size) < 0.2), template, own)
    kind = SIDECAR.field("captions").type
    given = {"source": pa.array(["alt"] * size), "ordinal": pa.array(np.zeros(size), pa.int32()), "text": text}
    fields = [given.get(f.name, pa.nulls(size, f.type)).cast(f.type) for f in kind.value_type]
    entries = pa.StructArray.from_arrays(fields, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(np.arange(size + 1), pa.int32()), entries, type=kind)


def run(root: Path, name: str) -> dict[str, Any]:
    """One selection, in a process of its own, so that its peak memory is its own."""
    view = ColumnsView(open_dataset(f"{root}/data"), ColumnStore(f"{root}/columns"), STEPS)
    component = load_class("selection", name)
    selection = component(component.settings_model().model_validate(SELECTIONS[name]))
    start, cpu = time.perf_counter(), time.process_time()
    columns = selection.select(view)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    counts = {c: int(pc.sum(a).as_py()) for c, a in columns.items() if pa.types.is_boolean(a.type)}
    start = time.perf_counter()
    for shard in view.dataset.shards:
        shard.read_sidecar(["key", "captions"] if name == "caption_frequency" else ["key"])
        view.read_shard(shard, READS[name])
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_gib": round(peak, 3),
        "ratio_to_reading": round(seconds / (time.perf_counter() - start), 2),
        "true": counts,
    }


def pinned(root: Path, name: str, cores: list[int]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.global_selections", "--run", name, "--keep", str(root)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--only", nargs="+", choices=SELECTIONS, default=list(SELECTIONS))
    parser.add_argument("--cores", type=int, nargs="+", help="default: the first two this process may use")
    parser.add_argument("--keep", metavar="FOLDER", help="make the columns there, or use those that are there")
    parser.add_argument("--run", choices=SELECTIONS, help=argparse.SUPPRESS)
    add_output_option(parser)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run(Path(args.keep), args.run)))
        return
    cores = args.cores or sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(args.keep or folder)
        if not (root / "data").exists():
            make(root, args.rows)
        rows = open_dataset(f"{root}/data").rows
        found = {name: pinned(root, name, cores) for name in args.only}
    result = {"benchmark": "global_selections", "rows": rows, "cores": len(cores), "selections": found}
    publish(result | {"budget": {"gib": GIB, "rows": 10_000_000}}, args.json, ["duckdb", "numba", "numpy", "pyarrow"])
    over = [name for name, one in found.items() if one["peak_gib"] > GIB]
    if over:
        sys.exit(f"{', '.join(over)}: more than {GIB} GiB")


if __name__ == "__main__":
    main()
