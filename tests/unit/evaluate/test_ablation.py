"""The table of arms: intervals over seeds and items, a verdict a mean, none of a median."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairwright.components.evaluate.ablation import compare, t_interval
from pairwright.components.evaluate.statistics.crossed import crossed

ITEMS = 200
GROUPS = {"r1": (np.arange(ITEMS) // 2).tolist()}


def measured(seeds: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    """`curated` hits a tenth more often; `rank` is a median over items."""
    random, metrics, items = np.random.default_rng(0), {}, {}
    easy = random.random(ITEMS)
    for arm, bar in (("curated", 0.45), ("raw", 0.3)):
        metrics[arm], items[arm] = {}, {}
        for seed in range(seeds):
            hits = (easy + 0.05 * random.normal(size=ITEMS) < bar).astype(np.float32)
            ranks = np.where(hits > 0, 1, 2 + random.integers(0, 90, ITEMS)).astype(np.float32)
            metrics[arm][seed] = {"r1": float(hits.mean()), "rank": float(np.median(ranks))}
            items[arm][seed] = {"r1": hits, "rank": ranks}
    return metrics, items


def test_a_mean_has_the_interval_over_seeds_and_items_and_a_verdict() -> None:
    metrics, items = measured()
    found = compare(metrics, items, GROUPS, definitions={"r1": "Share of hits."})
    rows = {(row.metric, row.arm): row for row in found.rows}
    one = rows["r1", "curated"]
    assert (one.low, one.high) == crossed(
        np.stack([v["r1"] for v in items["curated"].values()]), GROUPS["r1"]
    ).interval(0.95)
    assert (one.seeds, one.n, one.baseline, one.shows, one.definition) == (3, ITEMS, "raw", "better", "Share of hits.")
    assert one.difference_low is not None
    assert one.difference_high is not None
    assert 0 < one.difference_low < 0.15 < one.difference_high
    assert rows["r1", "raw"].difference is None
    assert [verdict.metric for verdict in found.verdicts] == ["r1"]


def test_a_median_has_students_interval_over_seeds_and_no_verdict() -> None:
    metrics, items = measured()
    found = compare(metrics, items, GROUPS)
    assert found.untested == ["rank"]
    row = next(row for row in found.rows if row.metric == "rank" and row.arm == "curated")
    assert (row.mean, row.low, row.high) == t_interval([v["rank"] for v in metrics["curated"].values()])
    assert (row.difference, row.shows) == (None, "")


def test_one_arm_alone_is_compared_with_nothing() -> None:
    metrics, items = measured()
    found = compare({"curated": metrics["curated"]}, {"curated": items["curated"]}, GROUPS)
    assert not found.verdicts
    assert [row.arm for row in found.rows] == ["curated", "curated"]


def test_the_interval_over_seeds_is_students() -> None:
    mean, low, high = t_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert high is not None
    assert low is not None
    assert np.isclose(high - mean, 4.303 / math.sqrt(3), atol=1e-3)
    assert t_interval([5.0])[1:] == (None, None)
    assert np.isclose(low, 4.0 - high)


@pytest.mark.platform
def test_what_a_run_writes_says_every_metric_its_split_and_the_worst(tmp_path: Path) -> None:
    """The fault: the headline was the first metric's verdict, which showed nothing, and six metrics were all."""
    from pairwright.flows.stages.measure import compare_arms

    random, folders = np.random.default_rng(1), {}
    names = [f"m{i}" for i in range(7)] + ["worst"]
    for arm in ("curated", "raw"):
        for seed in range(5):
            folder = tmp_path / f"{arm}{seed}"
            folder.mkdir()
            base = {name: (random.random(ITEMS) < 0.4).astype(np.float32) for name in names}
            if arm == "curated":
                base["worst"] = np.zeros(ITEMS, np.float32)
            np.savez(folder / "items.npz", **{f"b.{n}": v for n, v in base.items()}, **{"b.groups": np.arange(ITEMS)})
            about = {"n": ITEMS, "low": 0, "high": 1, "higher_is_better": True, "split": "digest of test"}
            told = [{"name": f"b.{n}", "value": float(v.mean()), "definition": n} | about for n, v in base.items()]
            (folder / "metrics.json").write_text(json.dumps(told))
            folders.setdefault(arm, {})[str(seed)] = {"test": str(folder)}
    found = compare_arms(folders)
    assert [one["metric"] for one in found["verdicts"]] == [f"b.{name}" for name in names]
    assert {one["metric"] for one in found["ablations"]} == {f"b.{name}" for name in names}
    assert "worse in b.worst (-0.4" in found["headline"]
    assert found["split"] == {"name": "test", "digest": "digest of test"}
    assert all(row["n"] == ITEMS and row["definition"] and row["low"] is not None for row in found["rows"])
    ledger = {"pairs_in": 10, "kept": 8, "dropped": {"rule": 1}, "failed": {"decode": 1}}
    said = written({"results": {"ledger": ledger}, "stages": []}, json.loads(json.dumps(found, allow_nan=False)))
    assert all(f"| b.{name} | {ITEMS} |" in said for name in names)
    assert found["headline"] in said, "the report has each verdict in words besides"
    assert "12 s of stages" in said


def test_a_reused_stage_is_said_to_have_cost_what_it_cost_the_run_that_made_it(tmp_path: Path) -> None:
    def run(name: str, **seconds: float) -> dict[str, Any]:
        record = {"stages": [{"name": n, "digest": n[0], "seconds": s} for n, s in seconds.items()]}
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text(json.dumps(record))
        return record

    run("1", score=100.0, train=7.0)
    again = run("2", score=0.1, train=0.2, report=1.0)
    script = Path(__file__).parents[3] / "docs/write_results.py"
    assert runpy.run_path(str(script))["seconds_of"](again, str(tmp_path)) == 108.0


def written(record: dict[str, Any], ablation: dict[str, Any]) -> str:
    """The README's section, as docs/write_results.py writes it."""
    script = Path(__file__).parents[3] / "docs/write_results.py"
    module = runpy.run_path(str(script))
    text: str = module["results"](record, ablation, 12.0)
    return text
