"""Claim: ten million 256-bit hashes are grouped at 31 bits in 10 minutes and 4 GiB on two cores.

    python -m benchmarks.near_duplicates --rows 10000000 --svg docs/pictures/near_duplicates.svg

Makes hashes of which a tenth are copies of others with 0 to 31 bits flipped, every number equally often,
groups them in a process pinned to two cores, and prints seconds, the peak memory of that process, and
what share of the copies was found at each distance. `--exact auto never` also shows the search that may
miss pairs. References, on the same cores in the same run: faiss's brute force (IndexBinaryFlat) over
all rows, and its multi-index hash (IndexBinaryMultiHash) with the same bands over fewer rows; both
answer a sample of the queries, and their time is scaled by that share, as printed.
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

from benchmarks.machine import add_output_option, publish

BYTES, RADIUS = 32, 31
SECONDS, GIB, RECALL = 600, 4.0, 0.99
FLAT_QUERIES, HASH_QUERIES, HASH_ROWS = 2000, 5000, 1_000_000


def planted(rows: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, 32) uint8 hashes; of the copies at their end (m,) the rows they copy and (m,) the bits flipped."""
    random = np.random.default_rng(seed)
    copies = int(rows * share)
    hashes = np.frombuffer(random.bytes(rows * BYTES), np.uint8).reshape(rows, BYTES).copy()
    source = random.choice(rows - copies, copies, replace=False)
    bits = random.permutation(np.arange(copies) % (RADIUS + 1))
    flipped = np.zeros((copies, BYTES), np.uint8)
    for step in range(RADIUS):
        left = np.flatnonzero(bits > step)
        while len(left):  # a bit is flipped once: those that drew one again draw anew
            place = random.integers(0, 256, len(left))
            byte, bit = place >> 3, (1 << (place & 7)).astype(np.uint8)
            fresh = (flipped[left, byte] & bit) == 0
            flipped[left[fresh], byte[fresh]] |= bit[fresh]
            left = left[~fresh]
    hashes[rows - copies :] = hashes[source] ^ flipped
    return hashes, source, bits


def group(folder: Path, exact: str) -> dict[str, Any]:
    """Group the hashes; what it took is this process's own."""
    from pairwright.components.filter.selections.duplicates.near_groups import near_groups

    near_groups(np.random.default_rng(1).integers(0, 256, (5000, BYTES), dtype=np.uint8), RADIUS)  # compiled
    hashes = np.load(folder / "hashes.npy")
    start, cpu = time.perf_counter(), time.process_time()
    found = near_groups(hashes, RADIUS, exact=exact)  # type: ignore[arg-type]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    source, bits = np.load(folder / "source.npy"), np.load(folder / "bits.npy")
    first = len(hashes) - len(source)
    named = (found.nearest[first:] == source) | (found.group[first:] == found.group[source])
    tries = np.bincount(bits, minlength=RADIUS + 1)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "bands": [found.bands.count, found.bands.width, found.bands.flips],
        "exact": found.bands.exact(RADIUS),
        "recall": (np.bincount(bits, named, RADIUS + 1) / np.maximum(tries, 1)).round(6).tolist(),
        "computed_recall": [round(found.bands.recall(distance), 6) for distance in range(RADIUS + 1)],
        "mean_recall": float(named.mean()),
        "dropped_beyond_planted": int((found.nearest[:first] >= 0).sum()),
    }


def flat_seconds(folder: Path, _: str) -> dict[str, Any]:
    """faiss brute force: a sample of the queries against all rows, scaled to every pair once."""
    import faiss

    hashes = np.load(folder / "hashes.npy")
    index = faiss.IndexBinaryFlat(256)
    index.add(hashes)
    queries = hashes[-FLAT_QUERIES:]
    start = time.perf_counter()
    index.range_search(queries, RADIUS + 1)
    seconds = time.perf_counter() - start
    return {"seconds": seconds * len(hashes) / len(queries) / 2, "rows": len(hashes), "queries_timed": len(queries)}


def multi_hash_seconds(folder: Path, _: str) -> dict[str, Any]:
    """faiss's multi-index hash with 16 bands of 16 bits and one flip: a sample of the queries, scaled."""
    import faiss

    hashes = np.load(folder / "hashes.npy")
    start = time.perf_counter()
    index = faiss.IndexBinaryMultiHash(256, 16, 16)
    index.nflip = 1
    index.add(hashes)
    built = time.perf_counter() - start
    queries = hashes[-HASH_QUERIES:]
    start = time.perf_counter()
    index.range_search(queries, RADIUS + 1)
    seconds = built + (time.perf_counter() - start) * len(hashes) / len(queries)
    return {"seconds": seconds, "rows": len(hashes), "queries_timed": len(queries)}


TASKS: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    "group": group,
    "flat": flat_seconds,
    "multi_hash": multi_hash_seconds,
}


def pinned(task: str, folder: Path, cores: list[int], exact: str = "auto") -> dict[str, Any]:
    """Run a task in a process of its own on these cores."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.near_duplicates",
        "--task",
        task,
        "--folder",
        str(folder),
        "--exact",
        exact,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(len(cores))}
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def plant(folder: Path, rows: int, share: float) -> None:
    folder.mkdir(exist_ok=True)
    for name, array in zip(("hashes", "source", "bits"), planted(rows, share), strict=True):
        np.save(folder / f"{name}.npy", array)


def references(folder: Path, rows: int, share: float, cores: list[int]) -> dict[str, Any]:
    """faiss over the same rows by brute force, and over fewer by multi-index hashing beside ours over as many."""
    small = folder / "small"
    plant(small, min(rows, HASH_ROWS), share)
    return {
        "faiss_flat": pinned("flat", folder, cores),
        "faiss_multi_hash": pinned("multi_hash", small, cores),
        "ours_over_as_many": pinned("group", small, cores),
    }


def real_hashes(dataset: str) -> dict[str, Any]:
    """PDQ of real pictures: both searches agree, and how much more crowded than chance their bands are."""
    from pairwright.components.dataset.dataset import open_dataset
    from pairwright.components.dataset.media.decode import decode
    from pairwright.components.dataset.media.pdq import pdq_hash
    from pairwright.components.filter.selections.duplicates.hamming_bands import Bands
    from pairwright.components.filter.selections.duplicates.near_duplicates import greedy, linked_components
    from pairwright.components.filter.selections.duplicates.near_groups import near_groups

    found = []
    for shard in open_dataset(dataset).shards:
        for row in shard.read_sidecar(["media"])["media"].to_pylist():
            image = decode(shard.read_member(row[0]), 224).image if row else None
            hash_, quality = pdq_hash(image) if image is not None else (None, 0)
            if hash_ is not None and quality >= 50:
                found.append(hash_)
    hashes = np.stack(found).astype(np.uint8)
    ours, (nearest, bits) = near_groups(hashes, RADIUS), greedy(hashes, RADIUS)
    same = np.array_equal(ours.nearest, nearest) and np.array_equal(ours.distance, bits)
    same = same and np.array_equal(ours.group, linked_components(hashes, RADIUS))
    kept = hashes[ours.nearest < 0]  # crowded beyond what duplicates make
    return {
        "pictures": len(hashes),
        "same_as_comparing_all": same,
        "dropped": int((nearest >= 0).sum()),
        "groups": len(np.unique(ours.group)),
        "crowding": round(crowding(kept, Bands(16, 16, 1)), 2),
    }


def crowding(hashes: np.ndarray, bands: Any) -> float:
    """Pairs that meet in these bands over those that would if every bit were a coin's."""
    from pairwright.components.filter.selections.duplicates.near_groups import meetings_of

    return meetings_of(hashes, bands) / (len(hashes) ** 2 / 2 * bands.count * len(bands.masks) / 2**bands.width)


def draw(runs: dict[str, dict[str, Any]], rows: int, file: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    for name, run in runs.items():
        count, width, flips = run["bands"]
        label = (
            f"{name}: {count} bands of {width} bits, {flips} flip(s), {run['seconds']:.0f} s, {run['peak_gib']:.1f} GiB"
        )
        (line,) = axes.plot(range(RADIUS + 1), run["recall"], "o", markersize=4, label=label)
        axes.plot(range(RADIUS + 1), run["computed_recall"], color=line.get_color(), linewidth=1)
    axes.axhline(RECALL, color="grey", linestyle=":", linewidth=1)
    axes.set(xlabel="bits in which a planted copy differs", ylabel="share of copies found", ylim=(0.9, 1.004))
    axes.set_title(f"{rows:,} hashes: found (dots) and computed (lines)", fontsize=10)
    axes.legend(loc="lower left", fontsize=8)
    pyplot.rcParams["svg.hashsalt"] = "pairwright"
    figure.savefig(file, metadata={"Date": None})


def show(name: str, run: dict[str, Any]) -> None:
    count, width, flips = run["bands"]
    print(
        f"exact: {name}: {run['seconds']:.1f} s ({run['cpu_seconds']:.0f} s of CPU), {run['peak_gib']:.2f} GiB at most"
    )
    print(f"  {count} bands of {width} bits, {flips} flips; recall {run['mean_recall']:.5f}")
    print("  bits   found    computed")
    for distance, (found, computed) in enumerate(zip(run["recall"], run["computed_recall"], strict=True)):
        print(f"  {distance:4d}   {found:.5f}  {computed:.5f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--share", type=float, default=0.1, help="of rows that are copies")
    parser.add_argument("--exact", nargs="+", default=["auto"], choices=["auto", "always", "never"])
    parser.add_argument("--cores", type=int, nargs="+", help="default: the first two this process may use")
    parser.add_argument("--real", metavar="DATASET", help="also check the pictures of a dataset, say data/raw")
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--svg", metavar="FILE", help="draw recall over distance")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    add_output_option(parser)
    args = parser.parse_args()
    if args.task:
        print(json.dumps(TASKS[args.task](Path(args.folder), args.exact[0])))
        return
    cores = args.cores or sorted(os.sched_getaffinity(0))[:2]
    result: dict[str, Any] = {"benchmark": "near_duplicates", "rows": args.rows, "cores": len(cores)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant(folder, args.rows, args.share)
        runs = {exact: pinned("group", folder, cores, exact) for exact in args.exact}
        for exact, run in runs.items():
            show(exact, run)
        result["runs"] = runs
        if not args.no_reference:
            found = references(folder, args.rows, args.share, cores)
            first = runs[args.exact[0]]["seconds"]
            result["references"] = found
            result["ratio"] = round(found["faiss_flat"]["seconds"] / first, 1)
            result["ratio_multi_hash"] = round(
                found["faiss_multi_hash"]["seconds"] / found["ours_over_as_many"]["seconds"], 1
            )
    if args.real:
        result["real"] = real_hashes(args.real)
    if args.svg:
        draw(runs, args.rows, args.svg)
    result["budget"] = {"seconds": SECONDS, "gib": GIB, "recall": RECALL, "rows": 10_000_000}
    publish(result, args.json, ["numba", "numpy"])
    check(runs)


def check(runs: dict[str, dict[str, Any]]) -> None:
    """Exit with what is over budget."""
    for exact, run in runs.items():
        for name, value, over in (
            ("seconds", run["seconds"], run["seconds"] > SECONDS),
            ("peak_gib", run["peak_gib"], run["peak_gib"] > GIB),
            ("mean_recall", run["mean_recall"], run["mean_recall"] < RECALL),
        ):
            if over:
                sys.exit(f"exact: {exact}: {name} is {value:.3f}, outside the budget")


if __name__ == "__main__":
    main()
