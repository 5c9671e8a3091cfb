"""Groups of pairs that belong together, as integer labels; shared by selections and by whatever splits by group.

`components_of` joins an edge list into connected components; `joined` joins several labellings, so
that two pairs with any label in common share a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pairwright.components.dataset.shards.columns import ColumnsView

OVERLAP = "evaluation_overlap"  # the step that says which pairs share a group with a pair evaluated on
ALONE = -1  # a label of a pair that shares nothing
LONG = 1 << 30  # bytes: a column longer than this outgrows Arrow's 32-bit offsets when it is put together


def components_of(rows: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Connected components of edges a[i] - b[i] over 0..rows-1: (rows,) int64, each its smallest member."""
    return merged(np.arange(rows, dtype=np.int64), a, b)


def merged(label: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Components after adding edges a[i] - b[i] to those in `label`, each its smallest member.

    Min-label hooking with pointer jumping; every pass joins each component that still has an edge out.
    """
    label = label.copy()
    while len(a):
        low, high = np.minimum(label[a], label[b]), np.maximum(label[a], label[b])
        apart = low != high
        if not apart.any():
            break
        a, b = a[apart], b[apart]
        np.minimum.at(label, high[apart], low[apart])
        while not np.array_equal(shorter := label[label], label):
            label = shorter
    return label


def joined(labellings: Sequence[np.ndarray]) -> np.ndarray:
    """One group id a row, (rows,) int64, so that rows that share a label in any labelling share a group.

    Args:
        labellings: (rows,) integer arrays; ALONE (-1) shares with nobody.
    """
    rows = len(labellings[0])
    left, right = [], []
    for labels in labellings:
        order = np.argsort(labels, kind="stable")
        ordered = labels[order]
        same = (ordered[1:] == ordered[:-1]) & (ordered[1:] != ALONE)
        left.append(order[1:][same])
        right.append(order[:-1][same])
    return components_of(rows, np.concatenate(left), np.concatenate(right))


def held_out(view: ColumnsView) -> np.ndarray:
    """(rows,) bool: the pair shares a group with one that models are evaluated on, so nothing may learn from it."""
    if OVERLAP not in view.steps:
        return np.zeros(view.rows, bool)
    return np.asarray(view.column(f"{OVERLAP}.drop").fill_null(False).to_numpy(), bool)


def labels_of(values: Sequence[str | bytes | None]) -> np.ndarray:
    """Equal values -> equal labels, (rows,) int64; None and "" -> ALONE."""
    labels, distinct = equal_labels(values)
    empty = _empty(distinct)
    if empty.any():
        labels[(labels != ALONE) & empty[labels]] = ALONE
    return labels


def equal_labels(values: Sequence[str | bytes | None]) -> tuple[np.ndarray, Any]:
    """Equal values -> equal labels, (rows,) int64, None -> ALONE; and the value of each label, as an Arrow array."""
    import pyarrow as pa

    array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(list(values))
    column = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    if column.nbytes > LONG and (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        column = column.cast(pa.large_string() if pa.types.is_string(column.type) else pa.large_binary())
    whole = column.combine_chunks()  # encoded in chunks, each would carry all values so far
    del array, column
    encoded = whole.dictionary_encode()
    return encoded.indices.fill_null(ALONE).to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary


def _empty(values: Any) -> np.ndarray:
    """(n,) bool: a text or bytes of no length, or another kind of nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_fixed_size_binary(values.type):
        return np.zeros(len(values), bool)
    if values.type in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        return np.asarray(pc.equal(pc.binary_length(values), 0).to_numpy(zero_copy_only=False), bool)
    return np.array([not value for value in values.to_pylist()], bool)
