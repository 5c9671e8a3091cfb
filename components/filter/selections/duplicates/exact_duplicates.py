"""Exact duplicates: the same picture again, by the hash of its pixels or of its bytes.

    selection: {uses: exact_duplicates, with: {hash: exact_hash.pixels}}
    keep:      {first_copy: "not exact_duplicates.drop"}

Of several copies the one with the best caption stays; each other one names it.

Memory: about 230 MB a million pairs (benchmarks/global_selections.py), most of it the table of distinct hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pairwright.components.component import Columns
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.duplicates.duplicates import (
    DuplicateSelection,
    DuplicateSettings,
    duplicate_columns,
    first_of_equals,
    participants,
    quality_order,
)
from pairwright.components.filter.selections.groups import ALONE, labels_of
from pairwright.components.registry import selection


class ExactDuplicatesSettings(DuplicateSettings):
    hash: str = "exact_hash.pixels"  # or exact_hash.bytes


@selection("exact_duplicates")
class ExactDuplicates(DuplicateSelection[ExactDuplicatesSettings]):
    """Columns over every pair; null where the picture has no hash.

    Columns:
        drop: a better copy of the same picture takes part.
        of: that copy's key. distance: 0.
        group: row number, in the dataset's order, of the group's first pair.
    """

    requires = Columns("hash", "quality")

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        keys = view.sidecar(["key"])["key"]
        hashes = labels_of(view.column(self.settings.hash))
        taking_part = participants(view, self.settings.among)
        order = quality_order(view, self.settings.quality, keys)
        original = first_of_equals(np.where(taking_part, hashes, ALONE), order)
        group = _first_row(hashes)
        return duplicate_columns(keys, original, np.zeros(len(keys)), group, hashes != ALONE)


def _first_row(labels: np.ndarray) -> np.ndarray:
    """(rows,) the first row with the same label; a row that is ALONE is its own."""
    known = labels != ALONE
    group = np.arange(len(labels))
    _, first, inverse = np.unique(labels[known], return_index=True, return_inverse=True)
    group[known] = np.flatnonzero(known)[first][inverse]
    return group
