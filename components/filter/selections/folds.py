"""Two folds of a population, groups whole: one is fitted on, the other judged."""

from __future__ import annotations

import numpy as np


def balanced_folds(group: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(rows,) 0 or 1: groups whole, both halves about equal in known pairs.

    Groups go in the order of their size to folds 0, 1, 1, 0, 0, 1, 1, 0, ...: the halves differ by at
    most the largest group.
    """
    labels, inverse = np.unique(group, return_inverse=True)
    size = np.bincount(inverse, weights=known, minlength=len(labels))
    place = np.empty(len(labels), np.int64)
    place[np.lexsort((labels, -size))] = np.arange(len(labels))
    return np.asarray(((place + 1) // 2 % 2)[inverse], dtype=np.int8)
