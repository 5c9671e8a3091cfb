"""Verdicts of selections as tables, and the classes they put pairs in: kept, dropped, failed; or, of two, who keeps.

verdict.status, verdict.rule, verdict.value, verdict.threshold, verdict.detail     of the first selection
other.status, ...                                                                  of the one it is compared with
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairwright.components.errors import DatasetError
from pairwright.components.explore.exploration import SelectionPlace
from pairwright.components.explore.scratch import BASE, Column, Scope, rows_of
from pairwright.components.explore.tables import Part, Tables
from pairwright.components.filter.rules.selection import VERDICTS_FILE, read_summary
from pairwright.components.filter.rules.verdicts import STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

VERDICT, OTHER = "verdict", "other"
COLUMNS = ("status", "rule", "value", "threshold", "detail")
NOT_JUDGED = "not judged"
OF_ONE = (*STATUSES, NOT_JUDGED)
OF_TWO = ("both", "first", "second", "neither", NOT_JUDGED)
OF_NONE = ("pairs",)


class Verdicts:
    """The selections of an exploration; a table each, filled when it is first looked at."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.places: dict[str, SelectionPlace] = {}
        self._tables: dict[str, str] = {}
        self._statuses: dict[str, np.ndarray] = {}
        self._made = 0
        for place in tables.exploration.selections:
            self.add(place)

    def add(self, place: SelectionPlace) -> None:
        """Show one more."""
        self._made += 1
        self._tables[place.name] = f"selection{self._made}"
        self.tables.add(Part(self._tables[place.name], self._filler(place)))
        self.places[place.name] = place

    def remove(self, name: str) -> None:
        self.places.pop(name, None)

    def check(self, name: str | None) -> str | None:
        """The name of a selection that there is, or None for "".

        Raises:
            DatasetError: there is none of that name.
        """
        if name and name not in self.places:
            raise DatasetError(f'there is no selection "{name}" here; choose one of the list')
        return name or None

    def scope(self, first: str | None, second: str | None) -> Scope:
        """All names, those of the chosen selections' verdicts included."""
        scope = self.tables.scope()
        for prefix, name in ((VERDICT, first), (OTHER, second)):
            if name:
                for bare in COLUMNS:
                    scope[f"{prefix}.{bare}"] = Column(f"{prefix}.{bare}", self._tables[name], bare, "VARCHAR")
        return scope

    def classes(self, first: str | None, second: str | None) -> tuple[tuple[str, ...], np.ndarray]:
        """What the classes are called, and each pair's, (rows,) int8."""
        if first is None:
            return OF_NONE, np.zeros(self.tables.rows, np.int8)
        if second is None:
            return OF_ONE, self.statuses(first)
        one, two = self.statuses(first), self.statuses(second)
        kept, unjudged = STATUSES.index("kept"), OF_ONE.index(NOT_JUDGED)
        found = np.where(one == kept, np.where(two == kept, 0, 1), np.where(two == kept, 2, 3))
        return OF_TWO, np.where((one == unjudged) & (two == unjudged), 4, found).astype(np.int8)

    def statuses(self, name: str) -> np.ndarray:
        """(rows,) int8: the index in OF_ONE of every pair's status."""
        if name not in self._statuses:
            table = self._tables[name]
            self.tables.need([table])
            cases = " ".join(f"WHEN '{status}' THEN {i}" for i, status in enumerate(STATUSES))
            sql = f"SELECT (CASE status {cases} ELSE {len(STATUSES)} END)::TINYINT AS s FROM {rows_of(table)}"
            self._statuses[name] = np.asarray(self.tables.numbers(sql)["s"], dtype=np.int8)
        return self._statuses[name]

    def summary(self, name: str) -> dict[str, Any]:
        """What its `selection.json` says."""
        return read_summary(self.places[name].folder)

    def rules(self, name: str) -> dict[str, str]:
        """Rule -> expression."""
        return {rule["name"]: rule["expression"] for rule in self.summary(name)["rules"]}

    def _filler(self, place: SelectionPlace) -> Any:
        def fill(cursor: DuckDBPyConnection, rows: str) -> None:
            """Verdicts by their pair's number; a pair of no verdict is not judged."""
            cursor.execute("CREATE OR REPLACE TEMP TABLE laid (number BIGINT, status VARCHAR, rule VARCHAR, "
                           "value VARCHAR, threshold VARCHAR, detail VARCHAR)")  # fmt: skip
            for batch in _numbered(Path(place.folder) / VERDICTS_FILE, self.tables):
                cursor.register("batch", batch)
                cursor.execute("INSERT INTO laid FROM batch")
                cursor.unregister("batch")
            chosen = ", ".join(f"laid.{name}" for name in COLUMNS if name != "status")
            cursor.execute(
                f"CREATE TABLE {rows} AS SELECT coalesce(laid.status, '{NOT_JUDGED}') AS status, {chosen} "
                f"FROM {rows_of(BASE)} AS pairs LEFT JOIN laid ON pairs.rowid = laid.number ORDER BY pairs.rowid"
            )
            cursor.execute("DROP TABLE laid")

        return fill


def _numbered(path: Path, tables: Tables) -> Iterator[pa.Table]:
    """The verdicts with their pairs' numbers; those of shards that are not here are left out.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(200_000, columns=["shard", "row", *COLUMNS]):
                table = pa.Table.from_batches([batch])
                shards = table["shard"].combine_chunks().cast(pa.string()).dictionary_encode()
                starts = [tables.start_of(digest) for digest in shards.dictionary.to_pylist()]
                start = pa.array(starts, pa.int64()).take(shards.indices)
                number = pc.add(start, table["row"].combine_chunks().cast(pa.int64()))
                found = {"number": number} | {name: table[name].cast(pa.string()) for name in COLUMNS}
                yield pa.table(found).filter(pc.is_valid(number))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read: {error}; run the recipe again") from None
