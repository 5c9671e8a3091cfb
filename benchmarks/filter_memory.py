"""Memory of the streaming stages on 1 and on 8 times the data: flat, because nothing of all pairs is held.

    python -m benchmarks.filter_memory                      # scan, ingest, export, verdicts
    python -m benchmarks.filter_memory --only scan export

Each stage and size runs in a process of its own, as its command or a worker of the engine runs it; what
counts is that process's peak resident size. `scan` is the quickstart recipe's scorers that run no model,
on more shards and on larger shards; `ingest` indexes tars in place and copies Parquet with image bytes;
`export` writes the dataset anew; `verdicts` judges columns of synthetic values by ten rules, of which three
need a quantile, and writes a verdict a pair. It is the one that grows at first: DuckDB keeps up to 192 MB of
what it has on disk, and a quantile holds its column. So what is asked of it is that it grows by no more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.crawl import make_crawl
from benchmarks.machine import ROOT, add_output_option, publish
from pairwright.components.dataset.dataset import Dataset, open_dataset

TIMES = 8
BUDGET = 1.1
VERDICT_ROWS = 1_600_000  # of synthetic columns; eight times that is DataComp-small
VERDICT_GROWTH = 320.0  # MiB: DuckDB's cache, and three quantiles' columns of float32


def scan(source: str, out: str) -> None:
    from benchmarks.filter_throughput import filter_task
    from pairwright.components.dataset.shards.scan import run_local
    from pairwright.components.engine.shard_workers import limit_threads

    limit_threads(1)
    run_local(filter_task(out), open_dataset(source).shards)


def index_tars(source: str, out: str) -> None:
    from pairwright.components.dataset.ingest import ingest

    ingest("webdataset", source, out)


def copy_parquet(source: str, out: str) -> None:
    from pairwright.components.dataset.ingest import ingest

    ingest("parquet", source, out)


def export(source: str, out: str) -> None:
    from pairwright.components.dataset.export import export as export_dataset

    export_dataset(open_dataset(source), out)


def verdicts(source: str, out: str) -> None:
    from benchmarks.selection_funnel import RULES, STEPS
    from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
    from pairwright.components.filter.rules.selection import write_selection

    view = ColumnsView(open_dataset(f"{source}/data"), ColumnStore(f"{source}/columns"), STEPS)
    write_selection(view, RULES, out)


# Stage -> what it runs, and which of the sources (made by `sources`) it reads.
STAGES: dict[str, tuple[Callable[[str, str], None], str]] = {
    "scan": (scan, "crawl"),
    "scan, larger shards": (scan, "large_shards"),
    "ingest tars": (index_tars, "tars"),
    "ingest Parquet": (copy_parquet, "parquet"),
    "export": (export, "crawl"),
    "verdicts": (verdicts, "columns"),
}


def sources(root: Path, pairs: int, shards: int, times: int, columns: bool) -> dict[str, str]:
    """What the stages read, `times` the data; name -> path. Columns take minutes, so only if they are wanted."""
    crawl = make_crawl(f"{root}/crawl", times * pairs, times * shards)
    make_crawl(f"{root}/large_shards", times * pairs, shards)
    (root / "tars").mkdir()
    (root / "parquet").mkdir()
    for shard in crawl.shards:
        os.link(shard.tar, root / "tars" / f"{shard.name}.tar")
        pq.write_table(_with_bytes(crawl, shard.name), root / "parquet" / f"{shard.name}.parquet", row_group_size=100)
    if columns:
        from benchmarks.selection_funnel import make

        make(root / "columns", times * VERDICT_ROWS, 10_000)
    return {name: str(root / name) for name in ("crawl", "large_shards", "tars", "parquet", "columns")}


def _with_bytes(crawl: Dataset, name: str) -> pa.Table:
    """A shard as Hugging Face `datasets` lays it out."""

    def rows() -> Iterator[dict[str, Any]]:
        shard = next(one for one in crawl.shards if one.name == name)
        for row in shard.read_sidecar(["key", "media", "captions"]).to_pylist():
            medium = row["media"][0]
            data = shard.read_member(medium)
            yield {"image": {"bytes": data, "path": f"{row['key']}.jpg"}, "text": row["captions"][0]["text"]}

    return pa.Table.from_pylist(list(rows()))


def peak_mib(stage: str, source: str, out: str) -> float:
    """Peak resident size, in MiB, of a process that runs the stage."""
    command = [sys.executable, "-m", "benchmarks.filter_memory", "--run", stage, "--source", source, "--out", out]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mib"])


def _own_peak_mib() -> float:
    """Of this process alone: `ru_maxrss` would start from what the process that began it had used."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


def measure(pairs: int, shards: int, stages: list[str]) -> dict[str, Any]:
    """Peaks and ratios of each stage."""
    peaks: dict[str, list[float]] = {stage: [] for stage in stages}
    for times in (1, TIMES):
        with tempfile.TemporaryDirectory() as folder:
            paths = sources(Path(folder), pairs, shards, times, "verdicts" in stages)
            for stage in stages:
                peaks[stage].append(peak_mib(stage, paths[STAGES[stage][1]], f"{folder}/out-{stage.replace(' ', '-')}"))
    ratios = {stage: round(large / small, 3) for stage, (small, large) in peaks.items()}
    for stage, (small, large) in peaks.items():
        print(f"{stage:<20} {small:7.1f} MiB, on {TIMES} times the data {large:7.1f} MiB: {ratios[stage]:.2f} times")
    return {
        "benchmark": "filter_memory",
        "pairs": [pairs, TIMES * pairs],
        "rows_of_verdicts": [VERDICT_ROWS, TIMES * VERDICT_ROWS],
        "peak_mib": {stage: [round(peak, 1) for peak in found] for stage, found in peaks.items()},
        "ratios": ratios,
        "budget": BUDGET,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000, help="of the crawl; shards have to be full at both sizes")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=list(STAGES), default=list(STAGES))
    for option in ("--run", "--source", "--out"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    add_output_option(parser)
    args = parser.parse_args()
    if args.run:
        STAGES[args.run][0](args.source, args.out)
        print(json.dumps({"peak_mib": _own_peak_mib()}))
        return
    result = measure(args.pairs, args.shards, args.only)
    publish(result, args.json, ["pyarrow", "numpy", "simplejpeg", "duckdb"])
    grown = [stage for stage, ratio in result["ratios"].items() if ratio > BUDGET and stage != "verdicts"]
    grown += [stage for stage, (small, large) in result["peak_mib"].items() if large - small > VERDICT_GROWTH]
    if grown:
        sys.exit(f"peak memory grew over {BUDGET} times on {TIMES} times the data: {', '.join(grown)}")


if __name__ == "__main__":
    main()
