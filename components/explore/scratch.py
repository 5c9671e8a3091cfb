"""The explorer's scratch folder: a DuckDB file a table, written once, then opened for reading by as many as like.

    connection = scratch_connection(folder, "1GB", threads=2)
    attach(connection, folder, "step0")
    connection.execute(f"SELECT count(*) FROM {rows_of('step0')}")

Row i of every table is the i-th pair. A file is laid down under another name and renamed when it is whole, so
whatever can be attached is complete. No connection reaches any other file, nor the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pairwright.components.filter.rules.sql_functions import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
NESTED = ("[", "STRUCT", "MAP", "BLOB", "UNION", "VARIANT")
BASE = "pairs"  # the table of the sidecars: there is a row in it for every pair
SPILLED = "4GB"  # at most on the disk, by one connection


@dataclass(frozen=True)
class Column:
    """A column as an expression names it, and the table and column that hold it."""

    name: str
    table: str
    bare: str
    type: str  # DuckDB's

    @property
    def kind(self) -> str:
        """number | category | nested"""
        if self.type.endswith("]") or self.type.startswith(NESTED):
            return "nested"
        return "number" if self.type.removeprefix("U").startswith(NUMBERS) else "category"


Scope = Mapping[str, Column]  # by full name


def scratch_connection(folder: str | Path, memory_limit: str, threads: int) -> DuckDBPyConnection:
    """An empty database in memory that may attach the folder's files and nothing else; no setting changes any more."""
    import duckdb

    connection = duckdb.connect(":memory:")
    for setting, value in {
        "temp_directory": f"'{_escaped(folder)}/spill'",
        "max_temp_directory_size": f"'{SPILLED}'",
        "memory_limit": f"'{memory_limit}'",
        "threads": str(threads),
        "allowed_directories": f"['{_escaped(folder)}/']",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }.items():
        connection.execute(f"SET {setting} = {value}")
    return connection


def file_of(folder: str | Path, table: str) -> Path:
    return Path(folder) / f"{table}.duckdb"


def rows_of(table: str) -> str:
    """The SQL name of an attached table."""
    return f"{table}.rows"


def attach(connection: DuckDBPyConnection, folder: str | Path, table: str) -> None:
    """Make a whole table readable by this connection and its cursors."""
    connection.execute(f"ATTACH IF NOT EXISTS '{_escaped(file_of(folder, table))}' AS {table} (READ_ONLY)")


def source_of(columns: Iterable[Column]) -> str:
    """FROM text with one row a pair, in the dataset's order; each column is called by its full name."""
    by_table: dict[str, dict[str, Column]] = {BASE: {}}
    for column in columns:
        by_table.setdefault(column.table, {})[column.name] = column
    parts = []
    for table, own in by_table.items():
        chosen = [f"{quoted(column.bare)} AS {quoted(column.name)}" for column in own.values()]
        parts.append(
            f"(SELECT {', '.join((['rowid AS _id'] if table == BASE else []) + chosen)} FROM {rows_of(table)})"
        )
    return " POSITIONAL JOIN ".join(parts)


def _escaped(path: str | Path) -> str:
    return str(path).replace("'", "''")
