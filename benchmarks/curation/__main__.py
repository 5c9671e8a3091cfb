"""The referee: every selector on the same damaged crawl, by the damage it finds and by the model it trains.

    python -m benchmarks.curation                    # everything; writes docs/curation.md and its pictures
    python -m benchmarks.curation --only auc         # the damage table alone, no training
    python -m benchmarks.curation --workspace DIR --seeds 2 --steps 60 --no-write   # a quick look

Declared before the run, and not tuned on it: MARGIN, SHARES, KEPT, HEADS, the seeds, and (plan.yaml) on whose
choice models are trained. DAMAGE_SEED is of damage that no design was tried on. Models are projection heads on locked
towers (components/evaluate/compression.py), all at equal steps; what they are asked is retrieval on dev. The seed set
(benchmarks/damaged.py) is what rewards and language models may learn from; it is neither judged nor trained on, and
the kinds of damage that judge are not those that taught. Verdicts are by the interval over seeds and groups that
benchmarks/verdict_error.py checks.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.curation.areas import damage_table
from benchmarks.curation.crawl import Crawl, read_crawl
from benchmarks.curation.labels import label_curves
from benchmarks.curation.models import MARGIN, SPLIT, SURE, Trainer, curve, models_table, queries_of
from benchmarks.curation.scores import Selector, make_columns, selectors
from benchmarks.damaged import SOURCES, SWAPPED, TRUTH, make_damaged
from benchmarks.machine import machine_facts
from pairwright.components.evaluate.compression import HeadSettings

DAMAGE_SEED = 2  # the reward was designed while looking at damage of seeds 0 and 1
HEADS = HeadSettings(steps=300, batch_size=128, dim=128)  # small, so that five seeds fit a busy machine
TRAINED = ("mixed", "swapped40")  # variants on which models are trained; the others have the damage table alone
CURVES = ("mixed",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default="workspace/curation")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=HEADS.steps)
    parser.add_argument("--only", choices=["auc"], help="stop after the damage table")
    parser.add_argument("--no-write", action="store_true", help="print, and leave docs/ as it is")
    wish = parser.parse_args()
    data = f"{wish.workspace}/damaged"
    from pairwright.flows.planning.datasets import find_dataset

    find_dataset("data/raw")
    make_damaged(data, seed=DAMAGE_SEED)
    chosen, truth = selectors(), pq.read_table(Path(data) / TRUTH)
    view = make_columns(data, wish.workspace)
    crawls = {source: read_crawl(view, source, truth, chosen) for source in SOURCES}
    result: dict[str, Any] = {"damage": damage_table(crawls, chosen)}
    result["selectors"] = {one.name: one.what for one in chosen}
    result["pairs"] = {source: len(crawl.rows) for source, crawl in crawls.items()}
    result["damage_seed"] = DAMAGE_SEED
    result["labels"] = label_curves(view, tuple(SWAPPED))
    if wish.only != "auc":
        settings = replace(HEADS, steps=wish.steps)
        trainer = Trainer(wish.workspace, tuple(range(wish.seeds)), settings, queries_of(f"data/{SPLIT}"))
        result |= train_all(crawls, chosen, trainer)
    result["machine"] = machine_facts(("torch", "numpy"))
    Path(wish.workspace, "curation.json").write_text(json.dumps(result, indent=1) + "\n")
    from benchmarks.curation.page import print_tables, write_page

    print_tables(result)
    if not wish.no_write and wish.only is None:
        write_page(result, Path(__file__).parents[2] / "docs")


def train_all(crawls: dict[str, Crawl], chosen: list[Selector], trainer: Trainer) -> dict[str, Any]:
    """Every declared selector against chance, and the curves of those the plan names."""
    from rich.console import Console

    from pairwright.flows.planning.datasets import find_dataset

    show = Console(stderr=True).print
    show(f"declared: margin {MARGIN}, {len(trainer.seeds)} seeds")
    models: list[dict[str, Any]] = []
    curves: dict[str, Any] = {}
    for source in TRAINED:
        crawl = crawls[source]
        whole = trainer.items(crawl, partial(_every_row, len(crawl.rows)))
        models += models_table(crawl, chosen, trainer, whole, show)
        if source in CURVES:
            drawn = [one.name for one in chosen if one.curve]
            found = curve(crawl, drawn, trainer, whole, show)
            found["stamps"] = float((crawl.domains == "stamp").mean())
            curves[source] = {"whole": float(whole.mean()), "pairs": len(crawl.rows)} | found
    told = {"seeds": len(trainer.seeds), "queries": len(trainer.groups), "groups": len(np.unique(trainer.groups))}
    told |= {
        "heads": asdict(trainer.settings),
        "split": {"name": SPLIT, "digest": find_dataset(f"data/{SPLIT}").digest},
    }
    return {"models": models, "curves": curves, "margin": MARGIN, "sure": SURE} | told


def _every_row(rows: int, seed: int) -> np.ndarray:
    return np.arange(rows)


if __name__ == "__main__":
    main()
