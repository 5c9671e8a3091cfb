"""A new workspace's MLflow store starts from a copy, and is what MLflow would have made there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

from pairwright.components.tracking import store
from pairwright.components.tracking.store import connect, experiment_id

pytestmark = [pytest.mark.platform, pytest.mark.slow]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def made(folder: Path) -> Path:
    folder.mkdir()
    assert experiment_id(f"sqlite:///{folder}/mlflow.db", "pairwright") == "1"
    return folder / "mlflow.db"


def tables(database: Path) -> dict[str, Any]:
    """Columns of every table and index: MLflow's migrations give constraints one order or another."""
    with closing(sqlite3.connect(database)) as opened:
        names = [name for (name,) in opened.execute("SELECT name FROM sqlite_master")]
        return {name: opened.execute("SELECT * FROM pragma_table_info(?)", [name]).fetchall() for name in names}


def experiments(database: Path) -> list[Any]:
    with closing(sqlite3.connect(database)) as opened:
        return opened.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()


def test_the_second_workspaces_store_is_a_copy_that_knows_nothing_of_the_first(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(tmp_path / "first")
    (kept,) = cache.iterdir()
    assert experiments(kept) == []
    migrated: list[str] = []
    monkeypatch.setattr(store, "keep_empty", lambda *_, **__: migrated.append("again"))
    second = made(tmp_path / "second")
    assert not migrated
    assert tables(second) == tables(first)
    assert [row[:2] for row in experiments(second)] == [row[:2] for row in experiments(first)]
    assert not any(str(first.parent) in str(row) for row in experiments(second))


@pytest.mark.parametrize("damage", [b"not a database" * 500, b""])
def test_a_damaged_copy_costs_time_and_nothing_else(cache: Path, tmp_path: Path, damage: bytes) -> None:
    first = made(tmp_path / "first")
    (kept,) = cache.iterdir()
    kept.write_bytes(damage)
    second = made(tmp_path / "second")
    assert tables(second) == tables(first)
    assert tables(kept) == tables(first), "made anew"


def test_a_store_that_is_there_stays(cache: Path, tmp_path: Path) -> None:
    first = made(tmp_path / "first")
    uri = f"sqlite:///{first}"
    client = connect(uri)
    run = client.create_run("1").info.run_id
    store._connect.cache_clear()
    assert connect(uri).get_run(run).info.run_id == run
