"""Settings of the environment: a workspace of any name has an address that is read back as that name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairwright.components.environment import Environment, sqlite_address
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
