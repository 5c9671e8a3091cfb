"""Memory of the filter stage on 1 and on 8 times the data: flat, because nothing of all pictures is held.

    python benchmarks/filter_memory.py

Each size is scanned in a process of its own, as a worker of the engine scans it, by the quickstart
recipe's scorers that run no model; what counts is that process's peak resident size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from typing import Any

from crawl import make_crawl
from machine import add_output_option, publish

from components.dataset.dataset import open_dataset
from components.dataset.scan import run_local
from components.engine.shard_map import limit_threads

TIMES = 8
BUDGET = 1.1


def peak_mib(dataset: str, store: str) -> float:
    """Peak resident size, in MiB, of a process that scans the dataset."""
    command = [sys.executable, __file__, "--scan", dataset, "--store", store]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return float(json.loads(done.stdout)["peak_mib"])


def scan(dataset: str, store: str) -> None:
    from filter_throughput import filter_task

    limit_threads(1)
    run_local(filter_task(store), open_dataset(dataset).shards)
    print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measure(pairs: int, shards: int) -> dict[str, Any]:
    """`pairs` pairs in `shards` shards against 8 times as many shards, and against 8 times larger shards."""
    with tempfile.TemporaryDirectory() as folder:
        for name, many, into in (
            ("once", pairs, shards),
            ("more_shards", TIMES * pairs, TIMES * shards),
            ("larger_shards", TIMES * pairs, shards),
        ):
            make_crawl(f"{folder}/{name}", many, into)
        peaks = {n: peak_mib(f"{folder}/{n}", f"{folder}/c-{n}") for n in ("once", "more_shards", "larger_shards")}
    return {
        "benchmark": "filter_memory",
        "pairs": [pairs, TIMES * pairs],
        "peak_mib": {name: round(peak, 1) for name, peak in peaks.items()},
        "ratio": round(peaks["more_shards"] / peaks["once"], 3),
        "ratio_larger_shards": round(peaks["larger_shards"] / peaks["once"], 3),
        "budget": BUDGET,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--scan", help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    add_output_option(parser)
    args = parser.parse_args()
    if args.scan:
        scan(args.scan, args.store)
        return
    result = measure(args.pairs, args.shards)
    publish(result, args.json, ["pyarrow", "numpy", "simplejpeg"])
    if result["ratio"] > BUDGET:
        sys.exit(f"peak memory grew {result['ratio']} times on {TIMES} times the data, {BUDGET} is allowed")


if __name__ == "__main__":
    main()
