"""A search is killed between trials: the same command goes on, trains nothing twice, and ends at the gate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import pairwright, tiny_project

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]

TRIALS = 3


def project(root: Path) -> Path:
    """The tiny project with one arm, and a space of two settings."""
    path = tiny_project(root, pairs=64, shards=2)
    recipe = yaml.safe_load(path.read_text())
    recipe["evaluate"]["ablation"] = ["curated"]
    recipe["search"] = {"trials": TRIALS, "space": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}, "dim": [8, 16]}}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def trials_of(workspace: Path) -> list[Path]:
    """Those that are committed, not what is still being written."""
    return sorted((workspace / "trials").glob("[!.]*/trial.json"))


def killed_after_a_trial(recipe: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pairwright.flows.cli", "search", str(recipe), "--workspace", "workspace"],
        cwd=recipe.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 400
    while process.poll() is None and not trials_of(recipe.parent / "workspace") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def children_of(workspace: Path) -> dict[str, list[Any]]:
    """Parent run -> its trials in MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    found: dict[str, list[Any]] = {}
    for run in client.search_runs(experiments):
        if run.info.run_name.startswith("trial "):
            found.setdefault(run.data.tags["mlflow.parentRunId"], []).append(run)
    return found


def test_a_killed_search_goes_on_and_its_best_is_released_by_the_gate(tmp_path: Path) -> None:
    import json

    recipe = project(tmp_path)
    killed_after_a_trial(recipe)
    workspace = tmp_path / "workspace"
    before = {path: path.read_bytes() for path in trials_of(workspace)}
    models = set((workspace / "models").iterdir())
    done = pairwright("search", str(recipe), "--workspace", "workspace", "--json", cwd=tmp_path)
    record = json.loads(done.stdout)
    found = record["results"]["search"]
    assert len(found["trials"]) == TRIALS
    status = {stage["name"]: stage["status"] for stage in record["stages"]}
    assert [status[f"trial {number}"] for number in range(TRIALS)].count("reused") == len(before) >= 1
    assert all(path.read_bytes() == content for path, content in before.items())
    assert models <= set((workspace / "models").iterdir())

    best = max(found["trials"], key=lambda trial: (trial["value"], -trial["number"]))
    assert found["best"] == best["number"]
    assert status["train curated 0"] == "reused"  # the trial's own model, not another
    release = record["results"]["release"]
    assert release["promoted"]
    lineage = json.loads(pairwright("lineage", "--json", "--workspace", "workspace", cwd=tmp_path).stdout)
    made_with = yaml.safe_load(lineage["recipe"]["text"])["pretrain"]["with"]
    assert {name: made_with[name] for name in best["settings"]} == best["settings"]

    # Trials read dev alone: what was measured on test is the best, once.
    measured = [stage["name"] for stage in record["stages"] if stage["name"].endswith(" test")]
    assert measured == ["evaluate curated 0 test"]
    assert len(list((workspace / "metrics").iterdir())) == len({str(t["settings"]) for t in found["trials"]}) + 1
    (children,) = children_of(workspace).values()  # one parent, killed or not
    assert sorted(run.info.run_name for run in children) == [f"trial {number}" for number in range(TRIALS)]
    assert {run.data.params["dim"] for run in children} <= {"8", "16"}
    assert all("retrieval.t2i_r5" in run.data.metrics for run in children)
