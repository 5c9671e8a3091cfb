"""Pairs a pass does not look at, because an earlier keep-rule dropped them already (`lazy: true`).

    store.write(place, shard.digest, {RULE: pa.array([None, "large_enough"])}, 2)   # row 1 is spared
    seen = Seen.of(store, place, shard)
    seen.rows                       # [0]: what is read, decoded and scored
    seen.spread({"score": ...})     # the shard's column: null where a pair was spared

A spared pair's picture is neither read nor decoded. Its `_error` is "lazy:<rule>", so that whoever
meets the null later learns why there is no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.shards.columns import ERROR, ColumnStore, StepColumns

COMPONENT = "spared"  # the folder of the store that holds these columns
RULE = "rule"  # the keep-rule that dropped the pair; null: the pair is seen
LAZY = "lazy:"


@dataclass(frozen=True)
class Seen:
    """The rows of one shard that a pass sees.

    Attributes:
        rows: ascending row numbers, int32 (n,).
        reasons: (shard rows,) string, "lazy:<rule>" of each spared pair, null of each seen one.
    """

    rows: np.ndarray
    reasons: pa.Array

    @classmethod
    def of(cls, store: ColumnStore, place: StepColumns, shard: Shard) -> Seen:
        """What the column at `place` leaves of the shard.

        Raises:
            ColumnError: it is not committed for this shard.
        """
        rules = pa.concat_arrays(
            store.read(place, shard, [RULE])[RULE].cast(pa.string()).chunks or [pa.array([], pa.string())]
        )
        rows = np.flatnonzero(rules.is_null().to_numpy(zero_copy_only=False)).astype(np.int32)
        return cls(rows, pc.binary_join_element_wise(LAZY, rules, ""))

    @property
    def spared(self) -> int:
        """Pairs not seen."""
        return len(self.reasons) - len(self.rows)

    def spread(self, columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
        """Columns of the rows seen, in their order, as columns of the shard; `_error` says why of the others."""
        place = np.zeros(len(self.reasons), np.int64)
        place[self.rows] = np.arange(len(self.rows))
        index = pa.array(place, mask=self.reasons.is_valid().to_numpy(zero_copy_only=False))
        return {
            name: pc.coalesce(self.reasons, array.take(index)) if name == ERROR else array.take(index)
            for name, array in columns.items()
        }
