"""The columns of each step as a table, read through the column store, which trusts only whole files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa

from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.shards.columns import ROW, WIDTHS, StepColumns
from pairwright.components.errors import PairwrightError
from pairwright.components.explore.pair_table import batches, insert
from pairwright.components.explore.scratch import Column
from pairwright.components.explore.tables import Part, Tables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NOT_MADE = "missing, cut short or damaged; run the recipe again to have them made"


def add_steps(tables: Tables) -> None:
    """An empty table a step, whose types are those of its first whole file; filled when needed."""
    missing = tables.exploration.missing()
    for number, (step, place) in enumerate(tables.exploration.view.steps.items()):
        lacking = {shard.digest for shard in missing.get(step, ())}
        tables.note_gap(step, [shard.name for shard in missing.get(step, ())], NOT_MADE)
        schema = _schema(tables, step, place, [s for s in tables.exploration.shards if s.digest not in lacking])
        if schema is not None and len(schema):
            _add_step(tables, step, f"step{number}", schema, lacking)


def _schema(tables: Tables, step: str, place: StepColumns, shards: list[Shard]) -> pa.Schema | None:
    """Names and types of the step's columns but its vectors; None if no file can be opened."""
    for shard in shards:
        try:
            found = tables.exploration.view.store.schema(place, shard.digest)
        except PairwrightError:
            continue
        vectors = json.loads((found.metadata or {}).get(WIDTHS.encode(), b"{}"))
        tables.vectors |= {f"{step}.{name}": f"{width} numbers" for name, width in vectors.items()}
        return pa.schema([field for field in found if field.name != ROW and field.name not in vectors])
    return None


def _add_step(tables: Tables, step: str, table: str, schema: pa.Schema, lacking: set[str]) -> None:
    for name, kind in tables.types_of(schema.empty_table()).items():
        tables.columns[f"{step}.{name}"] = Column(f"{step}.{name}", table, name, kind)
    tables.add(Part(table, lambda cursor, rows: _fill(tables, cursor, rows, step, schema, lacking)))


def _fill(
    tables: Tables, cursor: DuckDBPyConnection, rows: str, step: str, schema: pa.Schema, lacking: set[str]
) -> None:
    view = tables.exploration.view
    damaged: dict[str, list[str]] = {}

    def read(shard: Shard) -> pa.Table:
        if shard.digest not in lacking:
            try:
                return view.store.read(view.steps[step], shard, schema.names).cast(schema)
            except (PairwrightError, pa.ArrowException) as error:
                reason = "damaged; delete the file and run the recipe again"
                damaged.setdefault(reason if "damaged" in str(error) else str(error), []).append(shard.name)
        return pa.table([pa.nulls(shard.rows, field.type) for field in schema], schema=schema)

    insert(cursor, rows, schema.empty_table(), batches(tables, read))
    for reason, shards in damaged.items():
        tables.note_gap(step, shards, reason)
