"""A component begun by `pairwright new`, in a folder outside the repository, is known and passes its own test."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pairwright.components.errors import InvalidRecipe, WorkspaceError
from pairwright.flows.commands.new import KINDS, new_component

REPOSITORY = Path(__file__).resolve().parents[2]


def installed(folder: Path) -> None:
    """What `pip install -e` leaves of it: the metadata that names the entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name']}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    ((group, entries),) = project["entry-points"].items()
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))


@pytest.mark.slow
def test_every_kind_passes_its_own_test_and_is_told_of_by_the_command(tmp_path: Path) -> None:
    folders = [new_component(kind, f"my_{kind}", str(tmp_path / kind)) for kind in KINDS]
    for folder in folders:
        installed(folder)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*folders, REPOSITORY]))}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *map(str, folders)],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout[-4000:]
    assert f"{len(KINDS)} passed" in tested.stdout
    said = {
        verb: subprocess.run(
            [sys.executable, "-m", "pairwright.flows.cli", *verb.split()],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120,
        ).stdout
        for verb in ("components", "explain my_scorer", "ingest my_source --help")
    }  # fmt: skip
    assert all(f"my_{kind}" in said["components"] for kind in ("scorer", "selection", "captioner", "objective", "task"))
    assert "letters a word must have" in said["explain my_scorer"]
    assert "pairs-per-shard" in said["ingest my_source --help"] or "pairs_per_shard" in said["ingest my_source --help"]


def test_a_name_that_cannot_be_or_is_taken_is_refused(tmp_path: Path) -> None:
    for name in ("My-Scorer", "class", "json", "pdq"):
        with pytest.raises(InvalidRecipe, match=name):
            new_component("scorer", name, str(tmp_path / "made"))
    assert not (tmp_path / "made").exists()
    new_component("scorer", "mine_alone", str(tmp_path / "made"))
    with pytest.raises(WorkspaceError, match="not empty"):
        new_component("scorer", "mine_too", str(tmp_path / "made"))
