"""Settings of the environment: a workspace of any name has an address that is read back as that name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairwright.components.environment import Environment, sqlite_address, usable_cores, usable_threads
from pairwright.components.errors import InvalidRecipe

NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0/"), min_size=1, max_size=12)


@pytest.mark.platform
@settings(deadline=None)
@given(NAMES)
@example("my[data]%20?x")
@example("100%?#&=:@")
def test_the_address_of_a_database_is_read_back_as_its_path(name):
    from sqlalchemy.engine import make_url

    from pairwright.components.tracking.store import sqlite_path

    path = f"/work {name}/mlflow.db"
    assert make_url(sqlite_address(path)).database == path
    assert sqlite_path(sqlite_address(path)) == Path(path)


def test_an_ordinary_workspaces_address_is_its_path(tmp_path):
    assert Environment.load(workspace=str(tmp_path)).tracking == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize("name", ["a%20b", "what?", "a#b"])
def test_a_workspace_that_mlflow_would_write_beside_is_refused_at_once(tmp_path, name):
    with pytest.raises(InvalidRecipe, match="takes for parts of an address; name another"):
        Environment.load(workspace=str(tmp_path / name))
    assert Environment.load(workspace=str(tmp_path / "my[work] space")).workspace.endswith("my[work] space")


@pytest.mark.parametrize(
    ("said", "threads"), [("1", 1), ("1,2", 1), ("4096", None), ("0", None), ("many", None), ("", None)]
)
def test_computing_takes_a_core_a_thread_or_fewer_where_omp_says_so(said, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert usable_threads() == (threads or usable_cores())
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert usable_threads() == usable_cores()
