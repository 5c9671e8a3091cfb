"""The population of a selection: the columns its rules read, as one DuckDB table out of core.

One row a pair, shard by shard in row order, read through the column store (which trusts only
committed files) and laid down in a scratch database that spills to disk. Nothing but this file is
ever readable from a rule: external access is off before the first expression is bound.

Memory: DuckDB's limit (2 GB unless told otherwise) and some 300 MB for the shards and batches under way,
however many the rows; the scratch database takes some 35 MB of disk a million rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pairwright.components.dataset.shards.columns import ERROR, ROW, ColumnsView
from pairwright.components.dataset.shards.schema import SIDECAR
from pairwright.components.environment import usable_cores
from pairwright.components.filter.rules.expression import PAIR, Bound
from pairwright.components.filter.rules.sql_functions import quoted
from pairwright.components.filter.selections.duplicates.overlap import ahead

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TABLE = "pairs"
SHARD = "_shard"  # position of the shard in the dataset
SIDECAR_ERROR = f"{PAIR}.error"
BATCH_ROWS = 200_000  # pairs laid down at once: tens of megabytes
SHARDS_AHEAD = 4  # read while others are laid down


def view_columns(view: ColumnsView) -> dict[str, pa.DataType]:
    """Arrow type of every `step.column` of the view, read from the first shard's files.

    Raises:
        ColumnError: a step has no committed columns for it.
    """
    if not view.dataset.shards:
        return {}
    first = view.dataset.shards[0]
    types: dict[str, pa.DataType] = {}
    for step, place in view.steps.items():
        for field in view.store.schema(place, first.digest):
            if field.name != ROW:
                types[f"{step}.{field.name}"] = field.type
    return types


def wanted_columns(bounds: Iterable[Bound], types: Mapping[str, pa.DataType]) -> list[str]:
    """The `step.column`s a selection reads: the rules' own, every step's errors, and whom a duplicate repeats."""
    wanted: dict[str, None] = {}
    for bound in bounds:
        for name in bound.columns:
            if name.partition(".")[0] != PAIR:
                wanted[name] = None
                step = name.partition(".")[0]
                wanted |= {f"{step}.{other}": None for other in ("of", "distance") if f"{step}.{other}" in types}
    wanted |= dict.fromkeys(error_columns(types))
    return list(wanted)


def error_columns(types: Mapping[str, pa.DataType], steps: Iterable[str] | None = None) -> list[str]:
    """Columns that say why a pair has no values: `_error` of any step, and `image`'s own `error`."""
    chosen = None if steps is None else set(steps)
    return [
        name
        for name, kind in types.items()
        if name.rpartition(".")[2] in (ERROR, "error")
        and pa.types.is_string(kind)
        and (chosen is None or name.partition(".")[0] in chosen)
    ]


def pair_facts(bounds: Iterable[Bound]) -> list[str]:
    """The `pair.fact`s the rules read, in full."""
    return list(dict.fromkeys(name for b in bounds for name in b.columns if name.partition(".")[0] == PAIR))


@contextmanager
def scratch_database(memory_limit: str, threads: int | None = None) -> Iterator[DuckDBPyConnection]:
    """A DuckDB database in a temporary folder, cut off from every other file and from the network."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="pairwright-rules-") as folder:
        connection = duckdb.connect(str(Path(folder) / "population.duckdb"))
        try:
            connection.execute(f"SET temp_directory = '{folder}/spill'")
            connection.execute(f"SET memory_limit = '{memory_limit}'")
            # Sums of floats depend on their order: one thread adds the same way every time.
            connection.execute("SET threads = 1")
            for setting in ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access"):
                connection.execute(f"SET {setting} = false")
            connection.execute("SET python_enable_replacements = false")
            yield connection
        finally:
            connection.close()


def open_threads(connection: DuckDBPyConnection) -> None:
    """All cores, for passes whose result does not depend on order; then no setting changes any more."""
    connection.execute(f"SET threads = {usable_cores()}")
    connection.execute("SET lock_configuration = true")


def create_table(
    connection: DuckDBPyConnection, types: Mapping[str, pa.DataType], columns: Sequence[str], facts: Sequence[str]
) -> None:
    """The empty table, so that expressions can be bound before a row is read."""
    # Not of `pa.array([])`s, for which pyarrow would import pandas.
    empty = _arrow_batch([(0, pa.schema([(name, types[name]) for name in columns]).empty_table())], facts)
    connection.register("batch", empty)
    connection.execute(f"CREATE TABLE {TABLE} AS {_select(columns, facts)} LIMIT 0")
    connection.unregister("batch")


def fill_table(connection: DuckDBPyConnection, view: ColumnsView, columns: Sequence[str], facts: Sequence[str]) -> None:
    """Lay down every shard's rows, in order, in batches of about BATCH_ROWS."""
    sidecar = sorted({"key", "error", *(_sidecar_column(fact) for fact in facts)})

    def read(position: int) -> tuple[int, pa.Table]:
        table = read_steps(view, position, columns)
        said = view.dataset.shards[position].read_sidecar(sidecar)
        for name in sidecar:
            table = table.append_column(f"{PAIR}.{name}", said[name])
        return position, table

    waiting: list[tuple[int, pa.Table]] = []
    # Each batch is a transaction of its own: what one has not committed yet DuckDB keeps in memory.
    for part in ahead(read, range(len(view.dataset.shards)), SHARDS_AHEAD):
        waiting.append(part)
        if sum(len(table) for _, table in waiting) >= BATCH_ROWS:
            _insert(connection, waiting, columns, facts)
            waiting = []
    if waiting:
        _insert(connection, waiting, columns, facts)


def read_steps(view: ColumnsView, position: int, columns: Sequence[str]) -> pa.Table:
    """One shard's columns under their full names; each step's file is opened once."""
    shard = view.dataset.shards[position]
    by_step: dict[str, list[str]] = {}
    for name in columns:
        step, _, column = name.partition(".")
        by_step.setdefault(step, []).append(column)
    arrays: dict[str, Any] = {}
    for step, names in by_step.items():
        table = view.store.read(view.steps[step], shard, names)
        arrays |= {f"{step}.{name}": table[name] for name in names}
    if not arrays:
        return pa.table({ROW: pa.nulls(shard.rows)}).select([])
    return pa.table([arrays[name] for name in columns], names=list(columns))


def _insert(
    connection: DuckDBPyConnection, parts: list[tuple[int, pa.Table]], columns: Sequence[str], facts: Sequence[str]
) -> None:
    connection.register("batch", _arrow_batch(parts, facts))
    connection.execute(f"INSERT INTO {TABLE} {_select(columns, facts)}")
    connection.unregister("batch")


def _arrow_batch(parts: list[tuple[int, pa.Table]], facts: Sequence[str]) -> pa.Table:
    sidecar = sorted({"key", "error", *(_sidecar_column(fact) for fact in facts)})
    tables = []
    for position, table in parts:
        rows = len(table) if table.num_columns else 0
        for name in sidecar:
            if f"{PAIR}.{name}" not in table.column_names:
                table = table.append_column(f"{PAIR}.{name}", pa.array([], SIDECAR.field(name).type))
            rows = len(table)
        table = table.append_column(SHARD, pa.array(np.full(rows, position, np.int32)))
        tables.append(table.append_column(ROW, pa.array(np.arange(rows, dtype=np.int32))))
    return pa.concat_tables(tables)


def _select(columns: Sequence[str], facts: Sequence[str]) -> str:
    chosen = [f'"{SHARD}"', f'"{ROW}"', *(quoted(name) for name in columns)]
    for name in dict.fromkeys([f"{PAIR}.key", SIDECAR_ERROR, *facts]):
        chosen.append(f"{_fact_sql(name)} AS {quoted(name)}")
    return f"SELECT {', '.join(chosen)} FROM batch"


def _sidecar_column(fact: str) -> str:
    name = fact.split(".")[1]
    return "labels" if name == "label" else name


def _fact_sql(name: str) -> str:
    """SQL of a `pair.fact` over the sidecar's columns; labels become a map, or one label's first value."""
    labels = quoted(f"{PAIR}.labels")
    parts = name.split(".", 2)
    if parts[1] != "label":
        return quoted(name)
    if len(parts) == 3:
        wanted = parts[2].replace("'", "''")
        return f"list_filter({labels}, lambda l: l.name = '{wanted}')[1].value"
    names = f"list_distinct(list_transform(coalesce({labels}, []), lambda l: l.name))"
    first = f"list_filter({labels}, lambda l: l.name = n)[1].value"
    return f"map_from_entries(list_transform({names}, lambda n: row(n, {first})))"
