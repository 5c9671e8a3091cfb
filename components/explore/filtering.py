"""One filter over the scratch tables: read, checked, worked out. Runs in a process of its own (query_process.py).

    Filtering(connection, folder).answer({"filter": "align.score > 0.3", "columns": [...], "filled": ["pairs"]})

The text comes from a person, and DuckDB bounds neither what a scalar function allocates nor how long it runs
(`repeat('a', 2000000000)`, `len(range(1000000000))`), so nothing here is called where others wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pairwright.components.errors import InvalidRule
from pairwright.components.explore.plain_values import plain
from pairwright.components.explore.scratch import BASE, Column, attach, source_of
from pairwright.components.filter.rules.expression import PAIR, PAIR_FACTS, Bound, Names, Rule, bind

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FILTER = Rule("filter", "")
LABELS = f"{PAIR}.label."
LONGEST_VALUE = 10_000  # characters of an aggregate's value

Answer = tuple[dict[str, Any], bytes]


class Filtering:
    """Filters over one scratch folder."""

    def __init__(self, connection: DuckDBPyConnection, folder: str | Path) -> None:
        self.connection, self.folder = connection, folder

    def answer(self, asked: Mapping[str, Any]) -> Answer:
        """What there is to say, and of each pair a bit that says whether it passes.

        Args:
            asked: `filter`, the text; `columns`, `[name, table, bare, type]` of each name it may use; `filled`,
                the tables that can be attached.

        The first of these holds: `refused` (no condition on columns), `label` (one that no pair has), `need` (tables
        to be filled before it can be answered), `failed` (DuckDB's own words), `thresholds` (aggregate -> value).
        """
        import duckdb

        scope = {name: Column(name, *place) for name, *place in asked["columns"]}
        try:
            bound = bound_filter(asked["filter"], scope)
            unknown = [name.removeprefix(LABELS) for name in bound.columns if name not in scope]
            if unknown:
                return {"label": unknown[0]}, b""
            tables = dict.fromkeys([BASE, *(scope[name].table for name in bound.columns)])
            if missing := [table for table in tables if table not in asked["filled"]]:
                return {"need": missing}, b""
            for table in tables:
                attach(self.connection, self.folder, table)
            return self._passing(bound, source_of(scope[name] for name in bound.columns))
        except InvalidRule as error:
            return {"refused": str(error)}, b""
        except RecursionError:
            return {"refused": f"keep.{FILTER.name} is nested too deeply to be read; write it flatter"}, b""
        except (duckdb.OutOfMemoryException, duckdb.FatalException, duckdb.InternalException):
            raise MemoryError from None
        except duckdb.Error as error:
            return {"failed": str(error).strip().splitlines()[0][:1000]}, b""

    def _passing(self, bound: Bound, source: str) -> Answer:
        types = {a.text: self._type_of(f"SELECT {a.sql()} FROM {source}") for a in bound.aggregates}
        kind = self._type_of(f"SELECT {bound.sql({}, types)} FROM {source}")
        if kind != "BOOLEAN":
            said = f"keep.{FILTER.name} is a value ({kind.lower()}), not a condition; compare it with something"
            return {"refused": said}, b""
        values = self._values([a.sql() for a in bound.aggregates], source)
        if any(len(str(value)) > LONGEST_VALUE for value in values):
            return {"failed": f"an aggregate's value is longer than {LONGEST_VALUE:,} characters"}, b""
        thresholds = {a.text: value for a, value in zip(bound.aggregates, values, strict=True)}
        sql = f"SELECT _id FROM {source} WHERE {bound.sql(thresholds, types)}"
        found = self.connection.execute(sql).fetchnumpy()["_id"]
        passes = np.zeros(self._rows(), bool)
        passes[np.asarray(found)] = True
        return {"thresholds": {text: plain(value) for text, value in thresholds.items()}}, np.packbits(passes).tobytes()

    def _type_of(self, sql: str) -> str:
        return str(self.connection.sql(sql).types[0])

    def _values(self, aggregates: Sequence[str], source: str) -> tuple[Any, ...]:
        if not aggregates:
            return ()
        (values,) = self.connection.execute(f"SELECT {', '.join(aggregates)} FROM {source}").fetchall()
        return tuple(values)

    def _rows(self) -> int:
        (row,) = self.connection.execute(f"SELECT count(*) FROM {source_of([])}").fetchall()
        return int(row[0])


def bound_filter(text: str, scope: Mapping[str, Column]) -> Bound:
    """The filter with its names resolved.

    Raises:
        InvalidRule: it is no condition on columns.
    """
    names = Names([name for name in scope if not name.startswith(f"{PAIR}.")], {*PAIR_FACTS, "error"})
    return bind(Rule(FILTER.name, text), names)
