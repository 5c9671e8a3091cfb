"""The training loader: how it opens ten million pairs, and what it costs beside a bare loop over the same calls.

    python -m benchmarks.loader                       # under two minutes on two cores

- `opening`: ten million pairs, kept of eleven in 1,120 shards, with a caption and 64 numbers of float16 each, opened
  and then read for some batches in a process of its own; seconds, and the peak resident size beyond that of the
  imports. Shards share one sidecar's and one column file's bytes (hard links under each shard's name); what is opened,
  hashed and held is as it would be of different bytes.
- `features`: batches of 256 x (1280 + 384) from columns in memory, against indexing and casting the same arrays.
- `pictures`: cropped to 224 pixels from JPEGs of 400 to 640, with as many threads, against `decode` and
  `cv2.resize` alone on bytes in memory. Rates alternate in one run, since others share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.crawl import make_crawl
from benchmarks.machine import ROOT, add_output_option, publish
from benchmarks.spread import ratios, spread

PAIRS, SHARDS, WIDTH = 11_200_000, 1120, 64
KEPT = 0.9  # of the pairs: ten million
SECONDS, GIB = 5.0, 1.0  # budgets of opening
BATCH = 256
RUNS = 3
SIDE = 224
STEP = "features"


def make_large(root: Path) -> None:
    """Eleven million pairs under `root`: dataset.json, columns, and pairs.parquet with nine in ten of them."""
    from pairwright.components.dataset.dataset import Dataset, Shard
    from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns
    from pairwright.components.dataset.shards.sidecar import caption, row, sidecar_table, write_sidecar

    rows = PAIRS // SHARDS
    root.mkdir(parents=True)
    table = sidecar_table([row(f"{at:09d}", captions=[caption(f"picture number {at}")]) for at in range(rows)])
    sidecar = write_sidecar(table, f"{root}/00000.parquet")
    digests = [f"{at:032x}" for at in range(SHARDS)]
    shards = [
        Shard(f"{at:05d}", f"{root}/{at:05d}.tar", f"{root}/{at:05d}.parquet", digest, rows, 0, sidecar_sha256=sidecar)
        for at, digest in enumerate(digests)
    ]
    store, step = ColumnStore(f"{root}/columns"), StepColumns(STEP, "d")
    vectors = np.random.default_rng(0).normal(size=(rows, WIDTH)).astype(np.float16)
    kind = pa.list_(pa.float16(), WIDTH)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=kind)
    store.write(step, digests[0], {"vector": column}, rows)
    for at, digest in enumerate(digests[1:], 1):
        os.link(f"{root}/00000.parquet", f"{root}/{at:05d}.parquet")
        for suffix in ("", ".json"):
            os.link(store.path(step, digests[0]) + suffix, store.path(step, digest) + suffix)
    Dataset("large", str(root), tuple(shards)).save()
    kept = np.flatnonzero(np.random.default_rng(1).random(PAIRS) < KEPT)
    names = pa.DictionaryArray.from_arrays(pa.array((kept // rows).astype(np.int32)), pa.array(digests))
    pq.write_table(pa.table({"shard": names, "row": pa.array((kept % rows).astype(np.int32))}), root / "pairs.parquet")


def open_large(root: str, batches: int) -> dict[str, Any]:
    """In a process of its own: seconds to open, the peak, and the peak after some batches."""
    from pairwright.components.dataset.examples.shard_population import open_population
    from pairwright.components.dataset.examples.wish import Reads
    from pairwright.components.dataset.shards.columns import StepColumns
    from pairwright.components.training.loader import Loader
    from pairwright.components.training.order import order_of

    reads = Reads(columns=(f"{STEP}.vector",), texts=("alt",))
    before, start, cpu = _peak_gib(), time.perf_counter(), time.process_time()
    digests = [f"{at:032x}" for at in range(SHARDS)]
    steps = {STEP: StepColumns(STEP, "d")}
    # A quarter of a GiB of facts, so that the shards of several windows come and go.
    population = open_population(root, digests, f"{root}/columns", steps, f"{root}/pairs.parquet", reads, 1 << 28)
    order = order_of(population.sizes, BATCH, 0, window=population.window)
    opened, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, _peak_gib()
    loader = Loader(population, order, lambda one: {"x": one.column(f"{STEP}.vector"), "t": one.texts("alt")}, seed=0)
    start = time.perf_counter()
    seen = sum(len(batch) for _, batch in loader.stream(0, batches))
    return {
        "pairs": population.size,
        "seconds": round(opened, 2),
        "cpu_seconds": round(cpu, 2),
        "gib": round(peak - before, 3),
        "window": population.window,
        "gib_after_batches": round(_peak_gib() - before, 3),
        "pairs_per_second": round(seen / (time.perf_counter() - start)),
        "shards_held": population.shards_held,
        "loader": str(loader.times),
    }


def _peak_gib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**20


def features(batches: int) -> dict[str, Any]:
    """Pairs a second from columns in memory."""
    import torch

    from pairwright.components.dataset.examples.population import ArrayPopulation
    from pairwright.components.training.loader import Loader
    from pairwright.components.training.order import Order

    random = np.random.default_rng(0)
    columns = {
        name: random.random((20_000, width), np.float32).astype(np.float16) for name, width in (("i", 1280), ("t", 384))
    }
    population, order = ArrayPopulation(columns), Order([20_000], BATCH, seed=0)

    def collate(examples: Any) -> dict[str, Any]:
        return {name: torch.from_numpy(examples.column(name)) for name in columns}

    def bare() -> None:
        for step in range(batches):
            numbers = order.batch(step)[1]
            for values in columns.values():
                torch.from_numpy(values[numbers].astype(np.float32))

    def loader() -> None:
        for _ in Loader(population, order, collate, seed=0).stream(0, batches):
            pass

    return _rates({"loader": loader, "bare": bare}, batches * BATCH)


def pictures(root: str, batches: int, threads: int) -> dict[str, Any]:
    """Pairs a second from JPEGs."""
    import cv2
    import torch

    from pairwright.components.dataset.dataset import open_dataset
    from pairwright.components.dataset.examples.example import Examples
    from pairwright.components.dataset.examples.shard_population import open_population
    from pairwright.components.dataset.examples.view import views
    from pairwright.components.dataset.examples.wish import ImageWish, Reads
    from pairwright.components.dataset.media.decode import decode
    from pairwright.components.training.loader import Loader
    from pairwright.components.training.order import Order

    cv2.setNumThreads(1)
    dataset, wish = open_dataset(root), ImageWish(SIDE, crop=True, flip=True)
    digests = [shard.digest for shard in dataset.shards]
    population = open_population(root, digests, "", {}, None, Reads(media={"image": wish}, texts=("alt",)))
    order = Order(population.sizes, 64, seed=0)
    media = [
        shard.read_member(row["media"][0])
        for shard in dataset.shards
        for row in shard.read_sidecar(["media"]).to_pylist()
    ]
    numbers = np.concatenate([order.batch(step)[1] for step in range(batches)])
    seen = views(Examples(numbers, [population.key(n) for n in numbers.tolist()]), "image", wish)

    def one(job: Any) -> np.ndarray:
        number, view = job
        found = decode(media[number], view.min_side(SIDE)).image
        assert found is not None
        return view.of(found, SIDE)

    def bare() -> None:
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(numbers), 64):
                np.stack(list(pool.map(one, zip(numbers[start : start + 64].tolist(), seen[start : start + 64]))))

    def collate(examples: Any) -> dict[str, Any]:
        return {"image": torch.from_numpy(np.stack(examples.media("image"))), "text": examples.texts("alt")}

    def loader() -> None:
        for _ in Loader(population, order, collate, seed=0, threads=threads).stream(0, batches):
            pass

    return _rates({"loader": loader, "bare": bare}, len(numbers))


def _rates(sides: dict[str, Any], pairs: int) -> dict[str, Any]:
    """Pairs a second of both sides, taken in turn, and the ratios within each run: of time, and of processor time."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for run in range(RUNS + 1):
        for name, side in sides.items():
            start, worked = time.perf_counter(), time.process_time()
            side()
            if run:  # the first is to warm up
                rates[name].append(pairs / (time.perf_counter() - start))
                cpu[name].append(pairs / (time.process_time() - worked))
    found = {name: spread(values) for name, values in rates.items()}
    both = {"ratio": (rates["loader"], rates["bare"]), "ratio_of_processor_time": (cpu["loader"], cpu["bare"])}
    return {"pairs_per_second": found} | {name: ratios(*sides) for name, sides in both.items()}


def _opened(root: str, batches: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.loader", "--open", root, "--batches", str(batches)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--pictures", type=int, default=640)
    parser.add_argument("--only", nargs="+", choices=["opening", "features", "pictures"])
    parser.add_argument("--open", help=argparse.SUPPRESS)
    add_output_option(parser)
    args = parser.parse_args()
    if args.open:
        print(json.dumps(open_large(args.open, args.batches)))
        return
    only = args.only or ["opening", "features", "pictures"]
    result: dict[str, Any] = {"benchmark": "loader", "budgets": {"seconds": SECONDS, "gib": GIB}}
    with tempfile.TemporaryDirectory() as folder:
        if "opening" in only:
            make_large(Path(folder) / "large")
            result["opening"] = _opened(f"{folder}/large", args.batches)
        if "features" in only:
            result["features"] = features(args.batches)
        if "pictures" in only:
            make_crawl(f"{folder}/crawl", args.pictures, 4)
            result["pictures"] = pictures(f"{folder}/crawl", args.pictures // 64, len(os.sched_getaffinity(0)))
    publish(result, args.json, ["numpy", "pyarrow", "torch", "simplejpeg", "opencv-python-headless"])
    opening = result.get("opening")
    if opening and (opening["seconds"] > SECONDS or opening["gib"] > GIB):
        sys.exit(f"opening took {opening['seconds']} s and {opening['gib']} GiB; {SECONDS} s and {GIB} GiB are wanted")


if __name__ == "__main__":
    main()
