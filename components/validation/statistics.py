"""The frames a gate looks at: totals, one row a shard, and a sample of rows. DuckDB draws them.

Sidecars and columns are read shard by shard, so memory holds one shard and at most 10,000 sampled
rows, however large the dataset. Which rows are sampled depends on their identity alone (a hash of
shard digest and row number): the same data always gives the same sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import DatasetError

if TYPE_CHECKING:
    import duckdb

Frames = dict[str, pa.Table]

SHARD_SQL = """
SELECT count(*) AS rows,
       count(error) AS failed,
       count(*) FILTER (error IS NULL AND caption IS NULL) AS uncaptioned,
       count(*) FILTER (error IS NULL AND image IS NULL) AS imageless,
       count(*) FILTER (error IS NULL AND licence IS NULL) AS unlicensed
FROM pairs
"""
PAIRS_SQL = """
SELECT (row_number() OVER ()) - 1 AS row, key, error, licence,
       list_filter(captions, lambda c: c.source = $source AND trim(c.text) <> '')[1].text AS caption,
       list_filter(media, lambda m: m.role = 'image')[1].size AS image
FROM sidecar
"""
GOOD_SQL = "SELECT * FROM pairs WHERE error IS NULL"
OF_KEPT_SQL = "SELECT pairs.* FROM pairs SEMI JOIN (FROM kept WHERE shard = $shard) mine ON pairs.row = mine.row"
KEPT_SQL = """
SELECT shard, count(*) AS kept, count(DISTINCT row) AS distinct_rows, max(row) AS last_row FROM kept GROUP BY shard
"""


def connection() -> duckdb.DuckDBPyConnection:
    """One thread and no disk: the frames are small, and the other cores are scoring."""
    import duckdb

    return duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})


def raw_frames(dataset: Dataset, view: ColumnsView | None, source: str, columns: Sequence[str], size: int) -> Frames:
    """`totals` (1 row), `shards` (one a shard) and `sample` (at most `size` rows) of a dataset as it came.

    Raises:
        DatasetError: a sidecar cannot be read; ColumnError: no such column.
    """
    shards, samples = [], []
    with connection() as db:
        for shard in dataset.shards:
            _open_pairs(db, shard, source)
            counted = _rows(db.sql(SHARD_SQL))[0]
            shards.append({"shard": shard.name, **counted, "unknown": shard.unknown, "problem": shard.problem})
            drawn = _drawn(db, GOOD_SQL, shard, _quota(size, shard.rows, dataset.rows))
            samples.append(_with_columns(drawn, shard, view, columns))
    for entry in shards:
        _add_shares(entry)
    names = ("rows", "failed", "uncaptioned", "imageless", "unlicensed", "unknown")
    totals = {name: sum(entry[name] for entry in shards) for name in names}
    _add_shares(totals)
    sample = _concat(samples, columns)
    totals["repeated_share"] = _repeated_share(sample)
    return {"totals": pa.Table.from_pylist([totals]), "shards": _shard_table(shards), "sample": sample}


def curated_frames(
    view: ColumnsView, kept: pa.Table, ledger: Any, source: str, columns: Sequence[str], size: int
) -> Frames:
    """The same frames of what the rules kept.

    Args:
        kept: columns shard (digest), row, key.
        ledger: has pairs_in, kept, unknown, and dropped and failed by reason.
    """
    shards, samples = [], []
    with connection() as db:
        db.register("kept", kept.select(["shard", "row"]))
        per_shard = {r["shard"]: r for r in _rows(db.sql(KEPT_SQL))}
        strays = sum(per_shard[digest]["kept"] for digest in per_shard if digest not in view.offsets)
        for shard in view.dataset.shards:
            found = per_shard.get(shard.digest, {"kept": 0, "distinct_rows": 0, "last_row": -1})
            strays += max(0, found["last_row"] - shard.rows + 1)
            share = found["kept"] / max(shard.rows, 1)
            counted = {name: found[name] for name in ("kept", "distinct_rows")}
            shards.append({"shard": shard.name, "rows": shard.rows, **counted, "lost_share": 1 - share})
            quota = _quota(size, found["kept"], len(kept))
            if quota:
                _open_pairs(db, shard, source)
                samples.append(_with_columns(_drawn(db, OF_KEPT_SQL, shard, quota), shard, view, columns))
    sample = _concat(samples, columns)
    totals = _curated_totals(ledger, len(kept)) | {
        "repeated_rows": len(kept) - sum(found["distinct_rows"] for found in per_shard.values()),
        "stray_rows": strays,
        "uncaptioned_share": sample["caption"].null_count / max(len(sample), 1),
        "repeated_share": _repeated_share(sample),
    }
    return {"totals": pa.Table.from_pylist([totals]), "shards": _shard_table(shards), "sample": sample}


def _curated_totals(ledger: Any, rows: int) -> dict[str, Any]:
    dropped, failed = sum(ledger.dropped.values()), sum(ledger.failed.values())
    pairs_in = ledger.pairs_in
    return {
        "pairs_in": pairs_in,
        "kept": rows,
        "kept_share": rows / max(pairs_in, 1),
        "failed_share": (failed + ledger.unknown) / max(pairs_in, 1),
        "unaccounted": pairs_in - ledger.kept - dropped - failed - ledger.unknown,
        "ledger_difference": ledger.kept - rows,
        "largest_rule_share": max(ledger.dropped.values(), default=0) / max(pairs_in, 1),
    }


def metric_frames(metrics: Sequence[Any]) -> Frames:
    """`metrics` (one row a metric) and `totals` (one row, a column a metric) of an evaluation.

    Args:
        metrics: `Metric`s or mappings with name, value, n, low, high, definition.
    """
    fields = ("name", "value", "n", "low", "high", "definition")
    rows = [{f: m[f] if isinstance(m, Mapping) else getattr(m, f) for f in fields} for m in metrics]
    for row in rows:
        for field in ("value", "low", "high"):  # NaN and infinity are not values
            row[field] = row[field] if row[field] is not None and math.isfinite(row[field]) else None
        row["interval"] = None if None in (row["low"], row["high"]) else row["high"] - row["low"]
    types = {"name": pa.string(), "n": pa.int64(), "definition": pa.string()}
    schema = pa.schema([(f, types.get(f, pa.float64())) for f in (*fields, "interval")])
    totals = {"count": len(rows)} | {row["name"]: row["value"] for row in rows}
    return {"metrics": pa.Table.from_pylist(rows, schema=schema), "totals": pa.Table.from_pylist([totals])}


def _open_pairs(db: duckdb.DuckDBPyConnection, shard: Shard, source: str) -> None:
    """The shard's sidecar as the table `pairs` (row, key, error, licence, caption, image)."""
    db.register("sidecar", shard.read_sidecar(["key", "media", "captions", "licence", "error"]))
    db.register("pairs", db.sql(PAIRS_SQL, params={"source": source}).to_arrow_table())


def _drawn(db: duckdb.DuckDBPyConnection, query: str, shard: Shard, quota: int) -> pa.Table:
    """`quota` rows of a query over `pairs`, those whose hash is lowest, in row order."""
    lowest = f"SELECT row, key, caption, image, licence FROM ({query}) ORDER BY hash($shard::VARCHAR || row::VARCHAR)"
    drawn = f"SELECT * FROM ({lowest} LIMIT {quota}) ORDER BY row"
    return db.sql(drawn, params={"shard": shard.digest}).to_arrow_table()


def _with_columns(drawn: pa.Table, shard: Shard, view: ColumnsView | None, columns: Sequence[str]) -> pa.Table:
    """The drawn rows with their shard's name and the asked-for columns."""
    table = drawn.append_column("shard", pa.array([shard.name] * len(drawn), pa.string()))
    if not columns:
        return table
    if view is None:
        raise DatasetError(f"gate column {columns[0]} needs scored columns, and there are none before scoring")
    values = view.read_shard(shard, columns).take(drawn["row"])
    for name in columns:
        table = table.append_column(name, values[name])
    return table


def _concat(samples: list[pa.Table], columns: Sequence[str]) -> pa.Table:
    if samples:
        return pa.concat_tables(samples, promote_options="permissive")
    names = ["row", "key", "caption", "image", "licence", "shard", *columns]
    return pa.table({name: pa.array([], pa.string()) for name in names})


def _quota(size: int, rows: int, total: int) -> int:
    """Rows to draw from a part of `rows` out of `total`, so that all parts together give at most `size`."""
    return rows if total <= size else int(size * rows / total)


def _add_shares(entry: dict[str, Any]) -> None:
    """Shares of all pairs, counting those lost with a truncated tar."""
    pairs = max(entry["rows"] + entry["unknown"], 1)
    entry["failed_share"] = (entry["failed"] + entry["unknown"]) / pairs
    good = max(entry["rows"] - entry["failed"], 1)
    for name in ("uncaptioned", "imageless", "unlicensed"):
        entry[f"{name}_share"] = entry[name] / good


def _repeated_share(sample: pa.Table) -> float:
    """Share of sampled captions that are not the first of their text."""
    texts = sample["caption"].drop_null()
    return 1 - pc.count_distinct(texts).as_py() / len(texts) if len(texts) else 0.0


def _shard_table(shards: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(shards) if shards else pa.table({"shard": pa.array([], pa.string())})


def _rows(found: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    table: pa.Table = found.to_arrow_table()
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
