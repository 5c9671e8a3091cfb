"""Columns for looking: one DuckDB table a step, row i of each the i-th pair, joined by position.

    with open_tables(exploration) as tables:
        scope = tables.scope()
        tables.ask(f"SELECT count(*) FROM {tables.source(scope, ['align.score'])} WHERE \"align.score\" > 0.3")

The tables are files of a scratch folder (scratch.py). A step's table is filled when it is first needed; a shard
whose file is missing, cut short or damaged gives NULLs and a `Gap`. Vectors are left out: they are not for
looking at, and are most of the bytes. What is asked here is SQL of ours; what a person writes is worked out in
processes of their own (queries.py).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pairwright.components.explore.exploration import Exploration, Gap
from pairwright.components.explore.queries import Queries, QueryFailed
from pairwright.components.explore.scratch import (
    BASE,
    Column,
    Scope,
    attach,
    file_of,
    rows_of,
    source_of,
)
from pairwright.components.filter.rules.sql_functions import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from pairwright.components.dataset.dataset import Shard

SECONDS = 20.0  # after which a query is given up


@dataclass
class Part:
    """One table: `fill(cursor, rows)` creates `rows` and lays its rows down when they are first needed."""

    table: str
    fill: Callable[[DuckDBPyConnection, str], None]
    filled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Tables:
    """The tables of one exploration. Every method may be called from any thread."""

    def __init__(self, exploration: Exploration, connection: DuckDBPyConnection, folder: str, queries: Queries) -> None:
        self.exploration = exploration
        self.queries = queries
        self.rows = exploration.view.rows
        self.columns: dict[str, Column] = {}
        self.vectors: dict[str, str] = {}  # name -> type, of what is not held
        self.gaps: dict[str, Gap] = {}
        self._connection, self._folder = connection, folder
        self._asking: set[DuckDBPyConnection] = set()
        self._parts: dict[str, Part] = {}
        self._starts = np.cumsum([0, *(shard.rows for shard in exploration.shards)])
        self._positions = {shard.digest: i for i, shard in enumerate(exploration.shards)}

    def add(self, part: Part) -> None:
        self._parts[part.table] = part

    @property
    def tables(self) -> list[str]:
        return list(self._parts)

    @property
    def filled(self) -> list[str]:
        return [table for table, part in self._parts.items() if part.filled]

    def cursor(self) -> DuckDBPyConnection:
        return self._connection.cursor()

    def need(self, tables: Iterable[str]) -> None:
        """Fill these tables, unless they are.

        Raises:
            QueryFailed: there is no room for them, or the explorer is closing.
        """
        for table in dict.fromkeys(tables):
            part = self._parts[table]
            if part.filled:
                continue
            with part.lock:
                if not part.filled:
                    self._fill(part)
                    part.filled = True

    def _fill(self, part: Part) -> None:
        """A file of its own, under another name until it is whole."""
        new, unfinished = f"new_{part.table}", file_of(self._folder, f"new_{part.table}")
        with self._limited(seconds=None) as cursor:
            cursor.execute(f"DETACH DATABASE IF EXISTS {new}")
            unfinished.unlink(missing_ok=True)  # of a try that failed
            cursor.execute(f"ATTACH '{unfinished}' AS {new}")
            part.fill(cursor, rows_of(new))
            cursor.execute(f"DETACH {new}")
            os.replace(unfinished, file_of(self._folder, part.table))
            attach(cursor, self._folder, part.table)

    def source(self, scope: Scope, names: Iterable[str]) -> str:
        """FROM text with one row a pair, in the dataset's order; each column is called by its full name."""
        columns = [scope[name] for name in dict.fromkeys(names)]
        self.need([BASE, *(column.table for column in columns)])
        return source_of(columns)

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

    def types_of(self, batch: object) -> dict[str, str]:
        """DuckDB's type of each column of an Arrow table."""
        with self._limited() as cursor:
            cursor.register("batch", batch)
            return {name: kind for name, kind, *_ in cursor.execute("DESCRIBE FROM batch").fetchall()}

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
            sql = f"SELECT v.p, {chosen} FROM (VALUES {listed}) v(p, i) JOIN {rows_of(table)} t ON t.rowid = v.i"
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

    def stop(self) -> None:
        """Give up every query under way: nobody waits for an answer any more."""
        self.queries.close()
        for cursor in list(self._asking):
            cursor.interrupt()

    @contextmanager
    def _limited(self, seconds: float | None = SECONDS) -> Iterator[DuckDBPyConnection]:
        """A cursor whose query is interrupted after so many seconds."""
        import duckdb

        cursor = self.cursor()
        alarm = threading.Timer(seconds or 0, cursor.interrupt)
        alarm.daemon = True
        if seconds is not None:
            alarm.start()
        self._asking.add(cursor)
        try:
            yield cursor
        except duckdb.InterruptException:
            said = "the explorer is closing" if seconds is None else f"this takes longer than {seconds:.0f} s"
            raise QueryFailed(f"{said}; ask for less at once") from None
        except duckdb.OutOfMemoryException:
            raise QueryFailed("this needs more memory than the explorer may use; ask for less at once") from None
        except duckdb.Error as error:
            raise QueryFailed(str(error).strip().splitlines()[0]) from None
        finally:
            self._asking.discard(cursor)
            alarm.cancel()
            cursor.close()
