"""Histograms of score columns over kept and dropped pairs, shard by shard: memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.report.data import Distribution

BINS = 40


def distributions(
    view: ColumnsView, names: Sequence[str], verdicts: pa.Table, *, thresholds: Mapping[str, float] | None = None
) -> list[Distribution]:
    """One histogram a numeric column; columns that hold no number are left out.

    The range is the 0.5th to the 99.5th percentile of the shards' own, so that one wild value does not
    flatten the rest; what lies outside is counted in the first and last bin, and the note says so.
    """
    kept = _kept_rows(verdicts)
    shown = []
    for name in names:
        span = _range(view, name)
        if span is not None:
            shown.append(_histogram(view, name, kept, span, (thresholds or {}).get(name)))
    return shown


def _kept_rows(verdicts: pa.Table) -> dict[str, np.ndarray]:
    """Row numbers of the kept pairs, by shard digest."""
    status, shard = (_plain(verdicts[name]) for name in ("status", "shard"))
    mask = pc.equal(status, "kept")
    encoded = shard.filter(mask).combine_chunks().dictionary_encode()
    codes, rows = encoded.indices.to_numpy(), verdicts["row"].filter(mask).to_numpy()
    return {digest: rows[codes == code] for code, digest in enumerate(encoded.dictionary.to_pylist())}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _values(table: pa.Table) -> np.ndarray:
    """The column as float64, NaN where null or not finite."""
    values: np.ndarray = table[0].cast(pa.float64()).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _range(view: ColumnsView, name: str) -> tuple[float, float] | None:
    low, high = [], []
    for _, table in view.iter_shards([name]):
        kind = table.schema.field(0).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return None
        values = _values(table)
        values = values[~np.isnan(values)]
        if len(values):
            low.append(float(np.percentile(values, 0.5)))
            high.append(float(np.percentile(values, 99.5)))
    if not low:
        return None
    return (min(low), max(high)) if max(high) > min(low) else (min(low) - 0.5, max(high) + 0.5)


def _histogram(
    view: ColumnsView, name: str, kept: Mapping[str, np.ndarray], span: tuple[float, float], threshold: float | None
) -> Distribution:
    edges = np.linspace(*span, BINS + 1)
    counts = {True: np.zeros(BINS, np.int64), False: np.zeros(BINS, np.int64)}
    outside = nulls = 0
    for shard, table in view.iter_shards([name]):
        values = _values(table)
        is_kept = np.zeros(len(values), bool)
        is_kept[kept.get(shard.digest, np.zeros(0, np.int64))] = True
        known = ~np.isnan(values)
        nulls += int((~known).sum())
        outside += int(((values[known] < span[0]) | (values[known] > span[1])).sum())
        for status, total in counts.items():
            total += np.histogram(np.clip(values[known & (is_kept == status)], *span), edges)[0]
    notes = [f"{outside:,} beyond the ends"] * bool(outside) + [f"{nulls:,} without a value"] * bool(nulls)
    return Distribution(
        name, edges.tolist(), counts[True].tolist(), counts[False].tolist(), threshold, ", ".join(notes)
    )
