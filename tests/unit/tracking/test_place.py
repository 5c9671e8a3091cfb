"""MLflow's store follows its workspace, and is read without MLflow as MLflow reads it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

from pairwright.components.errors import ModelError, NoChampion
from pairwright.components.tracking.embedded import embedded_client
from pairwright.components.tracking.lineage import lineage
from pairwright.components.tracking.registry import Registry
from pairwright.components.tracking.runs import Tracker

pytestmark = [pytest.mark.platform, pytest.mark.slow]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with three versions, each champion in turn."""
    workspace = tmp_path_factory.mktemp("made") / "a workspace"
    uri = f"sqlite:///{workspace}/mlflow.db"
    registry = Registry(uri, "pairwright")
    for number in range(3):
        model = workspace / f"model-{number}"
        model.mkdir(parents=True)
        (model / "config.json").write_text(f'{{"number": {number}}}')
        with Tracker(uri, "pairwright").pipeline("tiny", {}) as run:
            version = registry.register(model, run_id=run.id, pedigree={"recipe": f"tiny-{number}"})
        registry.promote(version, f"because of {number}")
    return workspace


def registry(workspace: Path, light: bool) -> Registry:
    return Registry(f"sqlite:///{workspace}/mlflow.db", "pairwright", light=light)


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.mark.parametrize("version", ["champion", 1, "v2", 3])
def test_a_store_read_without_mlflow_says_what_mlflow_says(made: Path, version: Any) -> None:
    assert lineage(registry(made, light=True), version) == lineage(registry(made, light=False), version)


def test_what_is_not_there_is_said_alike(made: Path) -> None:
    for light in (True, False):
        with pytest.raises(ModelError, match='no version or alias "9"'):
            registry(made, light).describe(9)
        with pytest.raises(NoChampion, match="has no challenger"):
            registry(made, light).describe("challenger")


def test_a_rollback_without_mlflow_is_one_to_mlflow(workspace: Path) -> None:
    assert registry(workspace, light=True).rollback("worse") == 2
    assert registry(workspace, light=False).champion() == 2
    assert registry(workspace, light=False).history()[-1]["reason"] == "worse"
    assert registry(workspace, light=False).rollback() == 1, "the chain of champions goes on"
    with pytest.raises(NoChampion, match="no champion before version 1"):
        registry(workspace, light=True).rollback()


def test_a_moved_workspace_reads_its_own_models_and_a_copy_never_the_originals(made: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    for light in (True, False):
        folder, digest = registry(copy, light).resolve("models:/pairwright@champion")
        assert copy in folder.parents
        assert digest == registry(made, light).describe("champion")["digest"]
    shutil.move(copy, tmp_path / "moved")
    for light in (True, False):
        assert registry(tmp_path / "moved", light).pedigree("champion")["recipe"] == "tiny-2"
    with Tracker(f"sqlite:///{tmp_path}/moved/mlflow.db", "pairwright").pipeline("tiny", {}) as run:
        run.log_artifact(tmp_path / "moved/model-0/config.json")
    assert list((tmp_path / "moved/mlartifacts").rglob("config.json"))
    assert not copy.exists(), "nothing is written where the workspace was"


def test_another_schema_is_left_to_mlflow(workspace: Path) -> None:
    import sqlite3

    with sqlite3.connect(workspace / "mlflow.db") as store:
        store.execute("UPDATE alembic_version SET version_num = 'tomorrow'")
    assert embedded_client(f"sqlite:///{workspace}/mlflow.db") is None
    assert embedded_client("sqlite:////not/there.db") is None
    assert embedded_client("http://127.0.0.1:5000") is None


@pytest.mark.parametrize("verb", ["lineage", "rollback"])
def test_a_small_verb_imports_neither_mlflow_nor_torch(workspace: Path, verb: str) -> None:
    code = (
        "import sys\nfrom pairwright.flows.cli import pairwright\n"
        f"pairwright.main([{verb!r}, '--workspace', {str(workspace)!r}], standalone_mode=False)\n"
        "print([name for name in ('mlflow', 'torch', 'ray', 'prefect', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
