"""A vector column as one matrix: shard by shard, nulls and NaN as none, spilt to a file beyond its budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from populations import view_of
from vectors import vector_column

from pairwright.components.dataset.shards.matrix import blocks, read_matrix


@pytest.mark.parametrize("memory_bytes", [1 << 30, 0])
def test_the_matrix_is_the_column_wherever_it_lies(tmp_path: Path, memory_bytes: int) -> None:
    values = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float16)
    values[7, 2] = np.nan
    view = view_of(tmp_path, {"f.vector": vector_column(values, absent=[3, 49])}, shards=4)
    matrix, known = read_matrix(view, "f.vector", memory_bytes)
    assert isinstance(matrix, np.memmap) == (memory_bytes == 0)
    assert np.flatnonzero(~known).tolist() == [3, 7, 49]
    assert np.array_equal(matrix[known], values[known])
    assert not matrix[~known].any()


def test_values_beyond_half_precision_are_clipped_and_not_infinite(tmp_path: Path) -> None:
    column = vector_column(np.array([[1e9, -1e9, 1.0]]), kind=pa.float32())
    matrix, known = read_matrix(view_of(tmp_path, {"f.vector": column}), "f.vector")
    assert known.all()
    assert np.isfinite(matrix).all()


def test_blocks_cover_every_row_once_in_order() -> None:
    assert [part.tolist() for part in blocks(5, 2)] == [[0, 1], [2, 3], [4]]
    assert [part.tolist() for part in blocks(np.array([9, 4, 6]), 2)] == [[9, 4], [6]]
    assert list(blocks(0, 3)) == []
