"""Verdicts: one row a pair with its status and reason, counted while they stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.filter.rules.expression import Bound
from pairwright.components.filter.rules.ledger import Ledger

STATUSES = ("kept", "dropped", "failed")
KEPT, DROPPED, FAILED = range(3)
MISSING_PREFIX = "missing:"

_NAME = pa.dictionary(pa.int32(), pa.string())
VERDICT = pa.schema(
    [
        ("shard", _NAME),  # the shard's digest
        ("row", pa.int32()),
        ("key", pa.string()),
        ("status", _NAME),
        ("rule", _NAME),  # the first rule the pair failed; null if it was kept
        ("value", pa.string()),  # JSON: the columns that rule read, and their values
        ("threshold", _NAME),  # what the value was compared with
        ("detail", pa.string()),  # an error, missing:<column>, or near_duplicate_of:<key>
    ]
)
KEPT_COLUMNS = ("shard", "row", "key")


class Tally:
    """Counts of codes (components/filter/rules/rules.py) as batches pass, and the verdicts they mean.

    A code is 0 for a kept pair, negative for one that failed outside any rule, and 3 i + 1, 2 or 3 for
    one that failed, was missing a value or was refused at rule i.
    """

    def __init__(self, bounds: Sequence[Bound], rows: int) -> None:
        self.bounds = list(bounds)
        self.rows = rows
        self.codes: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()

    def add(self, batch: pa.RecordBatch, digests: pa.Array, limits: Sequence[str]) -> pa.RecordBatch:
        """Count one batch of (shard, row, key, code, value, detail); returns its verdicts."""
        code = batch.column("code").to_numpy(zero_copy_only=False).astype(np.int32)
        numbers, counts = np.unique(code, return_counts=True)
        self.codes.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        rule = np.where(code > 0, (code - 1) // 3, -1)
        failed = (code < 0) | ((code > 0) & (code % 3 == 1))
        status = np.where(failed, FAILED, np.where(code == 0, KEPT, DROPPED))
        self._count_errors(batch.column("detail"), failed)
        names = pa.array([one.rule.name for one in self.bounds], pa.string())
        shown = pa.array(list(limits), pa.string())
        return pa.record_batch(
            [
                _named(batch.column("shard").to_numpy(zero_copy_only=False), digests),
                batch.column("row"),
                batch.column("key"),
                _named(status, pa.array(STATUSES)),
                _named(rule, names),
                batch.column("value"),
                _named(np.where(failed, -1, rule), shown),
                batch.column("detail"),
            ],
            schema=VERDICT,
        )

    def _count_errors(self, details: pa.Array, failed: np.ndarray) -> None:
        if failed.any():
            for entry in pc.value_counts(details.filter(pa.array(failed))).to_pylist():
                self.errors[error_kind(entry["values"])] += entry["counts"]

    def funnel(self) -> list[dict[str, Any]]:
        """One dict a rule, in order; `pairs_in` of each is `kept` of the one before."""
        steps = []
        remaining = self.rows - self.codes[-1]
        for i, one in enumerate(self.bounds):
            failed, missing, refused = (self.codes[3 * i + outcome] for outcome in (1, 2, 3))
            kept = remaining - failed - missing - refused
            steps.append(
                {
                    "rule": one.rule.name,
                    "expression": one.rule.expression,
                    "pairs_in": remaining,
                    "kept": kept,
                    "dropped": missing + refused,
                    "missing": missing,
                    "failed": failed,
                }
            )
            remaining = kept
        return steps

    def ledger(self, unknown: int = 0) -> Ledger:
        """The run's balance, checked; `unknown` pairs were lost with truncated tars."""
        dropped = {one.rule.name: self.codes[3 * i + 2] + self.codes[3 * i + 3] for i, one in enumerate(self.bounds)}
        ledger = Ledger(self.rows + unknown, self.codes[0], dropped, dict(sorted(self.errors.items())), unknown)
        ledger.check()
        return ledger


def error_kind(error: str | None) -> str:
    """The part of an error that is the same for every pair: "decode:too_large:168000000px" -> "decode:too_large"."""
    text = error or "unknown"
    parts = text.split(":")
    return ":".join(parts[:2]) if parts[0] in ("decode", "read") else parts[0]


def _named(indices: np.ndarray, names: pa.Array) -> pa.DictionaryArray:
    """Names by index; a negative index is null."""
    positions = pa.array(indices.astype(np.int32), pa.int32(), mask=indices < 0)
    return pa.DictionaryArray.from_arrays(positions, names)


def verdict_table(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(list(batches), VERDICT)


def kept_of(verdicts: pa.Table) -> pa.Table:
    """(shard, row, key) of the verdicts that keep their pair."""
    return verdicts.filter(pc.equal(verdicts["status"].cast(pa.string()), "kept")).select(list(KEPT_COLUMNS))
