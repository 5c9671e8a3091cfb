"""`kill -9` at a random moment, then the same command: the same columns, selection and rows."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny import run_tiny, tiny_project

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]


def columns_of(workspace: Path) -> dict[str, str]:
    """Every committed column file by name, with its recorded hash."""
    records = sorted((workspace / "columns").rglob("*.parquet.json"))
    return {str(p.relative_to(workspace)): json.loads(p.read_text())["sha256"] for p in records}


def kept_of(record: dict) -> list[dict]:
    return pq.read_table(Path(record["results"]["selection_folder"]) / "kept.parquet").to_pylist()


def started(recipe: Path, workspace: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pairwright.flows.cli", "run", str(recipe), "--only", "train", "--workspace", workspace],
        cwd=recipe.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_a_killed_flow_ends_as_if_it_was_never_killed(tmp_path):
    recipe = tiny_project(tmp_path, pairs=96, shards=6)
    undisturbed = run_tiny(recipe)
    seed = int(os.environ.get("PAIRWRIGHT_KILL_SEED", time.time_ns() % 10_000))
    print(f"PAIRWRIGHT_KILL_SEED={seed}")
    moments = random.Random(seed)
    for _ in range(2):
        process = started(recipe, "killed")
        # From before the first column to the middle of training, wherever that falls on this machine.
        wait_for = moments.choice(["gates/", "columns/", "selections/", "checkpoints/"])
        deadline = time.monotonic() + 240
        while process.poll() is None and not (tmp_path / "killed" / wait_for).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 2))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    survived = json.loads(
        subprocess.run(
            [sys.executable, "-m", "pairwright.flows.cli", "run", str(recipe), "--json", "--workspace", "killed"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert columns_of(tmp_path / "killed") == columns_of(tmp_path / "workspace")
    assert kept_of(survived) == kept_of(undisturbed)
    assert survived["results"]["ledger"] == undisturbed["results"]["ledger"]
    same = {arm: [Path(p).name for p in seeds.values()] for arm, seeds in undisturbed["results"]["models"].items()}
    assert {a: [Path(p).name for p in s.values()] for a, s in survived["results"]["models"].items()} == same
    for arm, seeds in undisturbed["results"]["models"].items():
        weights = [Path(r["results"]["models"][arm]["0"]) / "model.safetensors" for r in (undisturbed, survived)]
        assert weights[0].read_bytes() == weights[1].read_bytes(), arm
        assert seeds


def test_a_column_file_cut_short_behind_our_back_is_made_again(tmp_path):
    recipe = tiny_project(tmp_path, pairs=24, shards=2)
    first = run_tiny(recipe, "--only", "curate")
    before = columns_of(tmp_path / "workspace")
    victim = next((tmp_path / "workspace" / "columns" / "pdq").rglob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:100])
    again = run_tiny(recipe, "--only", "curate")
    assert columns_of(tmp_path / "workspace") == before
    assert victim.stat().st_size > 100
    assert kept_of(again) == kept_of(first)
    stages = {stage["name"]: stage for stage in again["stages"]}
    assert stages["score"]["facts"]["shards"] == 1
