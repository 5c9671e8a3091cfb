"""Columns for looking: one DuckDB table a step, row i of each the i-th pair, joined by position.

    with open_tables(exploration) as tables:
        scope = tables.scope()
        tables.ask(f"SELECT count(*) FROM {tables.source(scope, ['align.score'])} WHERE \"align.score\" > 0.3")

The tables lie in a scratch database that is cut off from files and network, and spills. A step's table
is filled when it is first needed; a shard whose file is missing, cut short or damaged gives NULLs and a
`Gap`. Vectors are left out: they are not for looking at, and are most of the bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from components.errors import PairwrightError
from components.explore.exploration import Exploration, Gap
from components.filter.population import open_threads, quoted, scratch_database

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from components.dataset.dataset import Shard

SECONDS = 20.0  # after which a query is given up
NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
NESTED = ("[", "STRUCT", "MAP", "BLOB", "UNION", "VARIANT")
BASE = "pairs"  # the table of the sidecars: there is a row in it for every pair


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


@dataclass
class Part:
    """One table: `fill` lays its rows down when they are first needed."""

    table: str
    fill: Callable[[DuckDBPyConnection], None]
    filled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class QueryFailed(PairwrightError):
    """A query of the explorer that cannot be answered, in one line."""


class Tables:
    """The tables of one exploration. Every method may be called from any thread."""

    def __init__(self, exploration: Exploration, connection: DuckDBPyConnection) -> None:
        self.exploration = exploration
        self.rows = exploration.view.rows
        self.columns: dict[str, Column] = {}
        self.vectors: dict[str, str] = {}  # name -> type, of what is not held
        self.gaps: dict[str, Gap] = {}
        self._connection = connection
        self._parts: dict[str, Part] = {}
        self._starts = np.cumsum([0, *(shard.rows for shard in exploration.shards)])
        self._positions = {shard.digest: i for i, shard in enumerate(exploration.shards)}

    def add(self, part: Part) -> None:
        self._parts[part.table] = part

    @property
    def tables(self) -> list[str]:
        return list(self._parts)

    def cursor(self) -> DuckDBPyConnection:
        return self._connection.cursor()

    def need(self, tables: Iterable[str]) -> None:
        """Fill these tables, unless they are."""
        for table in dict.fromkeys(tables):
            part = self._parts[table]
            if part.filled:
                continue
            with part.lock:
                if not part.filled:
                    part.fill(self.cursor())
                    part.filled = True

    def source(self, scope: Scope, names: Iterable[str]) -> str:
        """FROM text with one row a pair, in the dataset's order; each column is called by its full name."""
        by_table: dict[str, list[Column]] = {}
        for name in dict.fromkeys(names):
            by_table.setdefault(scope[name].table, []).append(scope[name])
        self.need([BASE, *by_table])
        parts = []
        for table in dict.fromkeys([BASE, *by_table]):
            chosen = ", ".join(f"{quoted(c.bare)} AS {quoted(c.name)}" for c in by_table.get(table, ()))
            rows = "rowid AS _id" + (", " if chosen else "") if table == BASE else ""
            parts.append(f"(SELECT {rows}{chosen} FROM {table})")
        return " POSITIONAL JOIN ".join(parts)

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """A query's rows.

        Raises:
            QueryFailed: it fails on a value, or takes longer than SECONDS.
        """
        with self._limited() as cursor:
            return list(cursor.execute(sql, list(parameters)).fetchall())

    def numbers(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, np.ndarray]:
        """A query's columns as numpy arrays (masked where NULL). Raises QueryFailed."""
        with self._limited() as cursor:
            found: dict[str, Any] = cursor.execute(sql, list(parameters)).fetchnumpy()
            return found

    def type_of(self, sql: str) -> str:
        """DuckDB's type of a query's first column; nothing is computed. Raises QueryFailed."""
        with self._limited() as cursor:
            return str(cursor.sql(sql).types[0])

    def lookup(self, scope: Scope, ids: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """The values of some pairs, in the order of `ids`: one dict a pair."""
        found: list[dict[str, Any]] = [{} for _ in ids]
        if not ids:
            return found
        listed = ", ".join(f"({position}, {int(i)})" for position, i in enumerate(ids))
        by_table: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            by_table.setdefault(scope[name].table, []).append(name)
        self.need(by_table)
        for table, own in by_table.items():
            chosen = ", ".join(f"t.{quoted(scope[name].bare)}" for name in own)
            sql = f"SELECT v.p, {chosen} FROM (VALUES {listed}) v(p, i) JOIN {table} t ON t.rowid = v.i"
            for position, *values in self.ask(sql):
                found[position].update(zip(own, values, strict=True))
        return found

    def scope(self) -> dict[str, Column]:
        """The names that hold whatever selections are chosen."""
        return dict(self.columns)

    def place(self, number: int) -> tuple[Shard, int]:
        """(shard, row) of the pair with this number in the dataset's order."""
        at = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self.exploration.shards[at], number - int(self._starts[at])

    def number(self, digest: str, row: int) -> int | None:
        """The inverse of `place`; None if there is no such pair."""
        at = self._positions.get(digest)
        if at is None or not 0 <= row < self.exploration.shards[at].rows:
            return None
        return int(self._starts[at]) + row

    def start_of(self, digest: str) -> int | None:
        """Number of a shard's first pair; None if the dataset has no such shard."""
        at = self._positions.get(digest)
        return None if at is None else int(self._starts[at])

    def note_gap(self, step: str, shards: Sequence[str], reason: str) -> None:
        if shards:
            self.gaps[f"{step}: {reason}"] = Gap(step, tuple(shards), len(self.exploration.shards), reason)

    @contextmanager
    def _limited(self) -> Iterator[DuckDBPyConnection]:
        """A cursor whose query is interrupted after SECONDS."""
        import duckdb

        cursor = self.cursor()
        alarm = threading.Timer(SECONDS, cursor.interrupt)
        alarm.start()
        try:
            yield cursor
        except duckdb.InterruptException:
            raise QueryFailed(f"this takes longer than {SECONDS:.0f} s; ask for less at once") from None
        except duckdb.OutOfMemoryException:
            raise QueryFailed("this needs more memory than the explorer may use; ask for less at once") from None
        except duckdb.Error as error:
            raise QueryFailed(str(error).strip().splitlines()[0]) from None
        finally:
            alarm.cancel()
            cursor.close()


@contextmanager
def open_tables(exploration: Exploration, *, memory_limit: str = "2GB") -> Iterator[Tables]:
    """The tables of an exploration; that of the sidecars is filled, the others wait to be needed."""
    from components.explore.pair_table import add_pairs
    from components.explore.step_tables import add_steps

    with scratch_database(memory_limit) as connection:
        open_threads(connection)
        tables = Tables(exploration, connection)
        add_pairs(tables)
        add_steps(tables)
        yield tables
