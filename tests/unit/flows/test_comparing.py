"""Which figures `compare` and `power` read, from a run's record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pairwright.components.environment import Environment
from pairwright.components.errors import DatasetError
from pairwright.flows.commands.compare import command as compare
from pairwright.flows.commands.power import command as power
from pairwright.flows.comparing import measured_of
from pairwright.flows.planning.power import plan_power
from pairwright.flows.running.runs import write_record


def workspace(
    root: Path, *, arms: dict[str, float], seeds: int = 3, run: str = "1-mine", split: str = "ab" * 16
) -> Path:
    """A workspace with one run of arms whose hits differ by so much."""
    metrics: dict[str, Any] = {}
    groups = np.repeat(np.arange(50), 2)
    for arm, gain in arms.items():
        for seed in range(seeds):
            folder = root / "metrics" / f"{run}{arm}{seed}"
            folder.mkdir(parents=True)
            shared = np.random.default_rng(1).random(100)
            hits = (shared + 0.2 * np.random.default_rng([seed, len(arm)]).random(100) < 0.5 + gain).astype(np.float32)
            np.savez(folder / "items.npz", **{"retrieval.hit": hits, "retrieval.groups": groups})
            said = {"name": "retrieval.hit", "value": float(hits.mean()), "n": 100, "low": 0.0, "high": 1.0}
            said |= {"definition": "hits", "higher_is_better": True, "split": split}
            (folder / "metrics.json").write_text(json.dumps([said]))
            metrics.setdefault(arm, {}).setdefault(str(seed), {})["test"] = str(folder)
    record = {
        "id": run,
        "recipe": "mine",
        "dataset": {"name": "raw"},
        "results": {"metrics": metrics, "selection_folder": str(root / "selections/x")},
    }
    write_record(str(root), record)
    return root


def test_a_run_is_named_by_recipe_arm_and_seed(tmp_path: Path) -> None:
    environment = Environment.load(workspace=str(workspace(tmp_path, arms={"curated": 0.1, "raw": 0.0})))
    assert measured_of("mine", environment, "test").name == "mine:curated"
    assert list(measured_of("latest:raw", environment, "test").items) == ["0", "1", "2"]
    one = measured_of("1-mine:raw:2", environment, "test")
    assert (one.name, list(one.items)) == ("1-mine:raw:2", ["2"])
    for reference, told in (
        ("mine:rew", 'did you mean "raw"'),
        ("mine:raw:7", "no seed 7; it has 0, 1, 2"),
        ("nobody", "no run"),
    ):
        with pytest.raises(DatasetError, match=told):
            measured_of(reference, environment, "test")
    with pytest.raises(DatasetError, match='no split "dev"'):
        measured_of("mine", environment, "dev")


def test_compare_says_it_in_words_json_and_a_page(tmp_path: Path) -> None:
    workspace(tmp_path, arms={"curated": 0.3, "raw": 0.0})
    said = CliRunner().invoke(
        compare, ["mine:raw", "mine:curated", "--workspace", str(tmp_path)], catch_exceptions=False
    )
    assert "mine:curated less mine:raw on test (abababababab)" in said.output
    assert "better; better over 3 seeds" in said.output
    assert (tmp_path / "comparison.html").is_file()
    told = CliRunner().invoke(
        compare, ["mine:raw", "mine:curated", "--json", "--workspace", str(tmp_path)], catch_exceptions=False
    )
    row = json.loads(told.output)["rows"][0]
    assert row["shows"] == row["over_seeds"] == "better"


def test_runs_on_two_splits_are_refused(tmp_path: Path) -> None:
    workspace(tmp_path, arms={"curated": 0.3})
    workspace(tmp_path, arms={"curated": 0.3}, run="2-mine", split="cd" * 16)
    with pytest.raises(DatasetError, match="only figures on the same items compare"):
        CliRunner().invoke(compare, ["1-mine", "2-mine", "--workspace", str(tmp_path)], catch_exceptions=False)


def test_power_plans_from_a_runs_own_spread(tmp_path: Path) -> None:
    place = workspace(tmp_path, arms={"curated": 0.1, "raw": 0.0}, seeds=8)
    environment = Environment.load(workspace=str(place))
    found = plan_power("mine", environment, difference=0.1)
    assert found["of"] == "mine:curated less mine:raw"
    (row,) = found["metrics"]
    finer = plan_power("mine", environment, difference=0.05)["metrics"][0]
    assert row["needed"] < finer["needed"]
    assert row["items"] == 2 * row["needed"]
    more = plan_power("mine", environment, groups=400)["metrics"][0]
    assert more["seen"] < row["seen"]
    said = CliRunner().invoke(
        power, ["mine", "--workspace", str(tmp_path), "--difference", "0.1"], catch_exceptions=False
    )
    assert f"0.1 needs {row['needed']:,} groups" in said.output


def test_power_of_one_seed_speaks_of_these_models_and_refuses_more(tmp_path: Path) -> None:
    environment = Environment.load(workspace=str(workspace(tmp_path, arms={"curated": 0.1, "raw": 0.0}, seeds=1)))
    assert "these models" in plan_power("mine", environment)["note"]
    with pytest.raises(DatasetError, match="--seeds 1"):
        plan_power("mine", environment, seeds=3)
    with pytest.raises(DatasetError, match="--against"):
        plan_power("mine:raw", Environment.load(workspace=str(workspace(tmp_path / "b", arms={"raw": 0.0}))))
    with pytest.raises(DatasetError, match=r'did you mean "retrieval\.hit"'):
        plan_power("mine", environment, metric="retrieval.hut")
