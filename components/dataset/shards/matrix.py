"""A vector column of a whole population as one float16 matrix, read shard by shard.

    matrix, known = read_matrix(view, "image_features.vector")      # (rows, d) float16, (rows,) bool

A million 256-d vectors take 512 MB; beyond `memory_bytes` the matrix lies in an unlinked temporary
file, mapped into memory, so that the kernels that read it in blocks need no more than the blocks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pairwright.components.dataset.shards.columns import ColumnsView, to_numpy
from pairwright.components.errors import ColumnError

MEMORY_BYTES = 2 << 30
LARGEST_HALF = float(np.finfo(np.float16).max)


def read_matrix(view: ColumnsView, name: str, memory_bytes: int = MEMORY_BYTES) -> tuple[np.ndarray, np.ndarray]:
    """The vectors, (rows, d) float16 with zeros where null, and which rows have one, (rows,) bool.

    A vector that holds NaN or infinity counts as none.

    Raises:
        ColumnError: the column holds no vectors of one width.
    """
    known = np.zeros(view.rows, bool)
    matrix: np.ndarray | None = None
    start = 0
    for _, table in view.iter_shards([name]):
        column = table[name]
        if not pa.types.is_fixed_size_list(column.type):
            raise ColumnError(f'"{name}" is {column.type}, not vectors of one width; name a column of embeddings')
        if matrix is None:
            matrix = _empty(view.rows, column.type.list_size, memory_bytes)
        part = to_numpy(column)
        whole = np.isfinite(part).all(axis=1)
        part[~whole] = 0
        matrix[start : start + len(part)] = np.clip(part, -LARGEST_HALF, LARGEST_HALF)
        known[start : start + len(part)] = whole & column.is_valid().to_numpy()
        start += len(part)
    return (matrix if matrix is not None else np.zeros((0, 1), np.float16)), known


def _empty(rows: int, width: int, memory_bytes: int) -> np.ndarray:
    if rows * width * 2 <= memory_bytes:
        return np.empty((rows, width), np.float16)
    with tempfile.TemporaryFile(prefix="pairwright-matrix-") as file:  # the mapping outlives the name
        return np.memmap(file, np.float16, "w+", shape=(rows, width))


def blocks(rows: int | np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Row numbers 0..rows-1, or these row numbers, `size` at a time."""
    order = np.arange(rows) if isinstance(rows, int) else rows
    for start in range(0, len(order), size):
        yield order[start : start + size]
