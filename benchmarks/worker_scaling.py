"""Throughput of the filter stage with two workers against one: at least 1.8 times.

    python -m benchmarks.worker_scaling

The same warm engine, tasks and crawl as in benchmarks/filter_throughput.py, one worker and two in turn; beside
it the same for a bare fork pool, as warm, which says what the machine itself gives a second process. Ratios are of
one worker's and two workers' seconds of the same run; least, median and greatest of `--runs` are told.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from benchmarks.crawl import make_crawl
from benchmarks.filter_throughput import WarmEngine, WarmPool, one_thread_a_process
from benchmarks.machine import add_output_option, publish
from benchmarks.spread import ratios, spread
from pairwright.components.engine.cluster import Session

GOAL = 1.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--shards", type=int, default=24, help="many, so that the last one does not wait alone")
    parser.add_argument("--runs", type=int, default=3)
    add_output_option(parser)
    args = parser.parse_args()
    one_thread_a_process("benchmarks.worker_scaling")
    engine: dict[int, list[float]] = {1: [], 2: []}
    by_hand: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_crawl(f"{folder}/crawl", args.pairs, args.shards)

        def scratch() -> str:
            return tempfile.mkdtemp(dir=folder)

        with Session(workers=2) as session:
            for _ in range(args.runs):
                for workers in (1, 2):
                    with WarmPool(dataset, scratch, False, workers) as pool:
                        by_hand[workers].append(pool.seconds()[0])
                    with WarmEngine(session, dataset, scratch, False, workers) as warm:
                        engine[workers].append(warm.seconds()[0])
    rates = {workers: spread([dataset.rows / s for s in each], 1) for workers, each in engine.items()}
    ratio, limit = ratios(engine[1], engine[2]), ratios(by_hand[1], by_hand[2])
    print(f"1 worker {rates[1]['median']:.0f} pairs/s, 2 workers {rates[2]['median']:.0f}: {ratio['median']:.2f} times")
    print(f"a bare pool on this machine gains {limit['median']:.2f} times")
    publish(
        {
            "benchmark": "worker_scaling",
            "pairs": dataset.rows,
            "pairs_per_second": {str(workers): rate for workers, rate in rates.items()},
            "runs": args.runs,
            "ratio": ratio,
            "ratio_of_a_bare_pool": limit,
            "cpus": len(os.sched_getaffinity(0)),
            "goal": GOAL,
        },
        args.json,
        ["ray", "simplejpeg", "pyarrow"],
    )
    if ratio["median"] < GOAL:
        sys.exit(f"two workers are {ratio['median']:.2f} times one, {GOAL} is wanted")


if __name__ == "__main__":
    main()
