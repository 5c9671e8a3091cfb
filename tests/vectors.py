"""Vectors with planted structure, as numpy and as Arrow columns: for tests of selections over embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def vector_column(values: np.ndarray, absent: Sequence[int] = (), kind: pa.DataType | None = None) -> pa.Array:
    """(n, d) floats as a fixed-size list column, null at `absent`."""
    rows = [None if i in set(absent) else row for i, row in enumerate(values.tolist())]
    return pa.array(rows, pa.list_(kind or pa.float16(), values.shape[1]))


def unit(values: np.ndarray) -> np.ndarray:
    """Rows at unit norm, float32."""
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def around_centres(
    seed: int, centres: int, rows: int, width: int = 32, spread: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, width) unit vectors around random directions, and which direction each came from."""
    random = np.random.default_rng(seed)
    directions = unit(random.normal(size=(centres, width)))
    truth = random.integers(0, centres, rows)
    return unit(directions[truth] + spread * random.normal(size=(rows, width)) / width**0.5), truth


def near_copies(seed: int, rows: np.ndarray, cosine: float) -> np.ndarray:
    """A unit vector at exactly this cosine from each row, in a random direction."""
    random = np.random.default_rng(seed)
    side = random.normal(size=rows.shape)
    side -= (side * rows).sum(1, keepdims=True) * rows
    return unit(cosine * rows + (1 - cosine**2) ** 0.5 * unit(side))
