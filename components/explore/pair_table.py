"""What the sidecars say of every pair, as tables: facts, captions by source, labels by name.

pair.key, pair.licence, pair.author, pair.origin, pair.group, pair.error
pair.label (a map), pair.label.category     caption.alt (the first caption of that source)
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa

from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.shards.schema import SIDECAR
from pairwright.components.errors import PairwrightError
from pairwright.components.explore.scratch import BASE, Column, rows_of
from pairwright.components.explore.tables import Part, Tables
from pairwright.components.filter.rules.expression import PAIR
from pairwright.components.filter.rules.population import BATCH_ROWS
from pairwright.components.filter.rules.sql_functions import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CAPTION, LABEL = "caption", "label"
FACTS = ("key", "error", "licence", "author", "origin", "group")
READ = [*FACTS, "media", "captions", "labels"]
MOST_NAMES = 64  # caption sources, label names: more are shown with the pair, not as columns
READERS = 4  # files read at once
_NAMES = "list_distinct(list_transform(coalesce(labels, []), lambda l: l.name))"
_FIRST = "list_filter(labels, lambda l: l.name = n)[1].value"
_PICTURE = "list_filter(media, lambda m: m.role = 'image')[1]"
PLACE = ("member", "offset", "size", "crc32")  # where the picture is, and its checksum
SELECT = (
    f"SELECT {', '.join(quoted(fact) for fact in FACTS)}, captions, labels, "
    f"map_from_entries(list_transform({_NAMES}, lambda n: row(n, {_FIRST}))) AS label, "
    f"{', '.join(f'{_PICTURE}.{quoted(name)} AS {quoted(name)}' for name in PLACE)} FROM batch"
)


def add_pairs(tables: Tables) -> None:
    """The base table, filled, and the tables of captions and labels, which are made from it on demand."""
    tables.add(Part(BASE, lambda cursor, rows: _fill(tables, cursor, rows)))
    tables.need([BASE])
    for fact in FACTS:
        tables.columns[f"{PAIR}.{fact}"] = Column(f"{PAIR}.{fact}", BASE, fact, "VARCHAR")
    tables.columns[f"{PAIR}.label"] = Column(f"{PAIR}.label", BASE, "label", "MAP(VARCHAR, VARCHAR)")
    sources = _names(tables, f"SELECT unnest(captions).source AS n FROM {rows_of(BASE)}")
    _add_texts(tables, CAPTION, CAPTION, sources, "list_filter(captions, lambda c: c.source = {})[1].text")
    labels = _names(tables, f"SELECT unnest(map_keys(label)) AS n FROM {rows_of(BASE)}")
    _add_texts(tables, LABEL, f"{PAIR}.{LABEL}", labels, "list_filter(labels, lambda l: l.name = {})[1].value")


def batches(tables: Tables, read: object) -> Iterator[pa.Table]:
    """`read(shard)` of every shard in order, some BATCH_ROWS rows at a time, READERS files at once."""
    waiting: list[Shard] = []
    with ThreadPoolExecutor(READERS, thread_name_prefix="columns") as pool:
        for shard in [*tables.exploration.shards, None]:
            if shard is not None:
                waiting.append(shard)
            if waiting and (shard is None or sum(one.rows for one in waiting) >= BATCH_ROWS):
                yield pa.concat_tables(pool.map(read, waiting))  # type: ignore[arg-type]
                waiting = []


def insert(
    cursor: DuckDBPyConnection, rows: str, empty: pa.Table, parts: Iterator[pa.Table], select: str = "FROM batch"
) -> None:
    """Create the table `rows` and lay the batches down in it."""
    cursor.register("batch", empty)
    cursor.execute(f"CREATE TABLE {rows} AS {select} LIMIT 0")
    cursor.unregister("batch")
    for part in parts:
        cursor.register("batch", part)
        cursor.execute(f"INSERT INTO {rows} {select}")
        cursor.unregister("batch")


def _fill(tables: Tables, cursor: DuckDBPyConnection, rows: str) -> None:
    unreadable: dict[str, list[str]] = {}

    def read(shard: Shard) -> pa.Table:
        try:
            return shard.read_sidecar(READ)
        except PairwrightError as error:
            unreadable.setdefault(str(error), []).append(shard.name)
            return pa.table([pa.nulls(shard.rows, SIDECAR.field(name).type) for name in READ], names=READ)

    empty = pa.table([pa.array([], SIDECAR.field(name).type) for name in READ], names=READ)
    insert(cursor, rows, empty, batches(tables, read), SELECT)
    for reason, shards in unreadable.items():
        tables.note_gap("the sidecar", shards, reason)


def _names(tables: Tables, each: str) -> list[str]:
    """The distinct names of captions' sources or labels, commonest first."""
    rows = tables.ask(f"SELECT n FROM ({each}) WHERE n <> '' GROUP BY n ORDER BY count(*) DESC, n LIMIT {MOST_NAMES}")
    return [name for (name,) in rows]


def _add_texts(tables: Tables, table: str, prefix: str, names: list[str], expression: str) -> None:
    """A table with one text column a name, made from the base table when it is first needed."""
    if not names:
        return
    own = {name: f"c{number}" for number, name in enumerate(names)}

    def fill(cursor: DuckDBPyConnection, rows: str) -> None:
        literals = {name: "'" + name.replace("'", "''") + "'" for name in names}
        chosen = ", ".join(f"{expression.format(literals[name])} AS {bare}" for name, bare in own.items())
        cursor.execute(f"CREATE TABLE {rows} AS SELECT {chosen} FROM {rows_of(BASE)}")

    tables.add(Part(table, fill))
    for name, bare in own.items():
        tables.columns[f"{prefix}.{name}"] = Column(f"{prefix}.{name}", table, bare, "VARCHAR")
