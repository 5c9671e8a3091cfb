"""MLflow's registry in its SQLite file, read and moved without importing MLflow.

    client = embedded_client("sqlite:///workspace/mlflow.db")     # None where only MLflow itself will do
    client.get_model_version_by_alias("pairwright", "champion").version

Importing MLflow takes seconds, and a verb that only asks which model is champion should not wait for them. The calls
here answer as `MlflowClient` does, from the tables of the schema revisions that were tried; of any other revision, and
of a server, the verb asks MLflow.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairwright.components.tracking.place import follow_the_workspace
from pairwright.components.tracking.store import sqlite_path

REVISIONS = frozenset({"dc11669786a5"})  # of mlflow 3.17.2, as its `alembic_version` says
WORKSPACE = "default"  # MLflow's own workspaces, which we do not use
LOCK_SECONDS = 30.0
TAGGED_VERSIONS = re.compile(r"name = '(.*)' and tags\.`(.*)` = '(.*)'")


class NotRegistered(LookupError):
    """No such model, version or alias; `error_code` as MLflow's exceptions have it."""

    error_code = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class Version:
    """A model version: the attributes of MLflow's `ModelVersion` that the registry reads."""

    name: str
    version: int
    source: str
    run_id: str
    creation_timestamp: int
    tags: dict[str, str]
    aliases: list[str]


@dataclass(frozen=True)
class Registered:
    """A registered model and its tags."""

    name: str
    tags: dict[str, str] = field(default_factory=dict)


def embedded_client(uri: str) -> EmbeddedClient | None:
    """A client of the SQLite store, if it is one, is there and has a schema that was tried."""
    path = sqlite_path(uri)
    if path is None or not path.is_file():
        return None
    follow_the_workspace(path)
    client = EmbeddedClient(path)
    return client if client.revision() in REVISIONS else None


@dataclass(frozen=True)
class EmbeddedClient:
    """The part of `MlflowClient` that reads versions and moves aliases."""

    path: Path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=LOCK_SECONDS)) as connection, connection:
            yield connection

    def revision(self) -> str | None:
        """The schema's revision; None if these are no tables of MLflow's."""
        try:
            with self._open() as db:
                (found,) = db.execute("SELECT version_num FROM alembic_version").fetchone() or (None,)
                return found
        except sqlite3.DatabaseError:
            return None

    def get_model_version(self, name: str, version: str | int) -> Version:
        """Raises NotRegistered: there is none."""
        with self._open() as db:
            row = db.execute(
                "SELECT source, run_id, creation_time FROM model_versions "
                "WHERE workspace = ? AND name = ? AND version = ? AND current_stage != 'Deleted_Internal'",
                (WORKSPACE, name, int(version)),
            ).fetchone()
            if row is None:
                raise NotRegistered(f"{name} version {version}")
            key = (WORKSPACE, name, int(version))
            tags = db.execute(
                "SELECT key, value FROM model_version_tags WHERE workspace = ? AND name = ? AND version = ?", key
            )
            aliases = db.execute(
                "SELECT alias FROM registered_model_aliases WHERE workspace = ? AND name = ? AND version = ?", key
            )
            source, run_id, created = row
            names = [alias for (alias,) in aliases]
            return Version(name, int(version), source, run_id, created, dict(tags.fetchall()), names)

    def get_model_version_by_alias(self, name: str, alias: str) -> Version:
        """Raises NotRegistered: the alias points at nothing."""
        with self._open() as db:
            row = db.execute(
                "SELECT version FROM registered_model_aliases WHERE workspace = ? AND name = ? AND alias = ?",
                (WORKSPACE, name, alias.lower()),
            ).fetchone()
        if row is None:
            raise NotRegistered(f"{name} alias {alias}")
        return self.get_model_version(name, row[0])

    def search_registered_models(self, filter_string: str, max_results: int = 1) -> list[Registered]:
        """The model of `name = 'NAME'`, the one filter that the registry asks with."""
        name = filter_string.removeprefix("name = '").removesuffix("'")
        with self._open() as db:
            key = (WORKSPACE, name)
            found = db.execute("SELECT 1 FROM registered_models WHERE workspace = ? AND name = ?", key).fetchone()
            tags = db.execute("SELECT key, value FROM registered_model_tags WHERE workspace = ? AND name = ?", key)
            return [Registered(name, dict(tags.fetchall()))] if found else []

    def search_model_versions(self, filter_string: str, max_results: int = 100) -> list[Version]:
        """The versions of `name = 'NAME' and tags.`KEY` = 'VALUE'`, the one filter that the registry asks with."""
        asked = TAGGED_VERSIONS.fullmatch(filter_string)
        if asked is None:
            raise ValueError(f"only a name and one tag can be searched by, not {filter_string}")
        name, key, value = asked.groups()
        with self._open() as db:
            rows = db.execute(
                "SELECT tag.version FROM model_version_tags AS tag JOIN model_versions AS made "
                "ON made.workspace = tag.workspace AND made.name = tag.name AND made.version = tag.version "
                "WHERE tag.workspace = ? AND tag.name = ? AND tag.key = ? AND tag.value = ? "
                "AND made.current_stage != 'Deleted_Internal' ORDER BY tag.version LIMIT ?",
                (WORKSPACE, name, key, value, max_results),
            ).fetchall()
        return [self.get_model_version(name, version) for (version,) in rows]

    def set_registered_model_tag(self, name: str, key: str, value: Any) -> None:
        self._put("registered_model_tags", "key, value, name, workspace", (key, str(value), name, WORKSPACE))

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Raises NotRegistered: there is no such version."""
        found = self.get_model_version(name, version)
        self._put(
            "registered_model_aliases", "alias, version, name, workspace", (alias, found.version, name, WORKSPACE)
        )

    def _put(self, table: str, columns: str, values: tuple[Any, ...]) -> None:
        """Insert or replace a row; the model is marked as updated, as MLflow does."""
        marks = ", ".join("?" * len(values))
        with self._open() as db:
            db.execute(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", values)
            db.execute(
                "UPDATE registered_models SET last_updated_time = ? WHERE workspace = ? AND name = ?",
                (int(time.time() * 1000), WORKSPACE, values[2]),
            )
