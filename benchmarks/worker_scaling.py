"""Throughput of the filter stage with two workers against one: at least 1.8 times.

    python -m benchmarks.worker_scaling

The same warm engine, tasks and crawl as in benchmarks/filter_throughput.py, one worker and two in turn; beside
it the same for a bare fork pool, which says what the machine itself gives a second process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from benchmarks.crawl import make_crawl
from benchmarks.filter_throughput import WarmEngine, bare, median, one_thread_a_process
from benchmarks.machine import add_output_option, publish
from components.engine.cluster import Session

GOAL = 1.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--shards", type=int, default=24, help="many, so that the last one does not wait alone")
    parser.add_argument("--rounds", type=int, default=3)
    add_output_option(parser)
    args = parser.parse_args()
    one_thread_a_process("benchmarks.worker_scaling")
    engine: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    by_hand: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_crawl(f"{folder}/crawl", args.pairs, args.shards)

        def scratch() -> str:
            return tempfile.mkdtemp(dir=folder)

        bare(dataset, scratch(), False)  # the page cache is warm for all
        with Session(workers=2) as session:
            for _ in range(args.rounds):
                for workers in (1, 2):
                    by_hand[workers].append(bare(dataset, scratch(), False, workers))
                    with WarmEngine(session, dataset, scratch, False, workers) as warm:
                        engine[workers].append(warm.seconds())
    rates = {workers: dataset.rows / median(rounds, 0) for workers, rounds in engine.items()}
    ratio = rates[2] / rates[1]
    limit = median(by_hand[1], 0) / median(by_hand[2], 0)
    print(f"1 worker {rates[1]:.0f} pairs/s, 2 workers {rates[2]:.0f}: {ratio:.2f} times")
    print(f"a bare pool on this machine gains {limit:.2f} times")
    publish(
        {
            "benchmark": "worker_scaling",
            "pairs": dataset.rows,
            "pairs_per_second": {str(workers): round(rate, 1) for workers, rate in rates.items()},
            "ratio": round(ratio, 3),
            "ratio_of_a_bare_pool": round(limit, 3),
            "cpus": len(os.sched_getaffinity(0)),
            "goal": GOAL,
        },
        args.json,
        ["ray", "simplejpeg", "pyarrow"],
    )
    if ratio < GOAL:
        sys.exit(f"two workers are {ratio:.2f} times one, {GOAL} is wanted")


if __name__ == "__main__":
    main()
