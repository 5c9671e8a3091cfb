"""Rows of scores searched by parts: a part whose maximum is below what is asked for is looked at no more.

parts = Parts(scores)
parts.at_least(low)         # the few scores that reach their row's `low`, found in a fraction of a pass
parts.largest(10)           # each row's best ten
"""

from __future__ import annotations

import numpy as np
import torch

PARTS = ((4096, 64), (256, 32))  # of a row of so many scores at least
FEW = 32  # fewer than one score in so many is looked at by itself
FEW_PARTS = 6


class Parts:
    """Scores (rows, size) float32 or float64, finite or -inf."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores
        self.rows, self.size = scores.shape
        self.parts = next((parts for size, parts in PARTS if self.size >= size), 1)
        self.width = self.size // self.parts
        self._rest = self.parts * self.width  # columns beyond are of no part
        self._found: np.ndarray | None = None

    @property
    def _peaks(self) -> np.ndarray:
        """(rows, parts), each part's maximum, found once."""
        if self._found is None:  # a cached_property of Python 3.11 has threads wait for each other's
            whole = torch.from_numpy(self.scores)[:, : self._rest].unflatten(1, (self.parts, self.width))
            self._found = whole.amax(dim=2).numpy()
        return self._found

    def at_least(self, low: np.ndarray) -> np.ndarray | None:
        """Flat places of the scores that are at least `low` (rows, 1), in no order; None where they are not few."""
        chosen = self._peaks >= low
        if np.count_nonzero(chosen) * FEW_PARTS > chosen.size:
            reached = self.scores >= low
            return np.flatnonzero(reached) if np.count_nonzero(reached) * FEW < reached.size else None
        row, part = np.nonzero(chosen)
        found, column = np.nonzero(self._view()[row, part] >= low[row])
        inside = row[found] * self.size + part[found] * self.width + column
        row, column = np.nonzero(self.scores[:, self._rest :] >= low)
        return np.concatenate([inside, row * self.size + self._rest + column])

    def _view(self) -> np.ndarray:
        """(rows, parts, width) without a copy."""
        step, item = self.scores.strides
        shape = (self.rows, self.parts, self.width)
        return np.lib.stride_tricks.as_strided(self.scores, shape, (step, self.width * item, item), writeable=False)

    def largest(self, k: int, floor: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Each row's k largest, the largest first: places (rows, k) and values, -1 and -inf where there are fewer.

        Args:
            floor: (rows, 1), below which none is asked for.
        """
        place, value = np.full((self.rows, k), -1, np.int64), np.full((self.rows, k), -np.inf, self.scores.dtype)
        bound = floor if floor is not None and np.isfinite(floor).all() else self._bound(k)
        near = None if bound is None else self.at_least(bound)
        if near is None:
            most = min(k, self.size)
            found = torch.from_numpy(self.scores).topk(most, dim=1)
            place[:, :most], value[:, :most] = found.indices.numpy(), found.values.numpy()
            return place, value
        row, column = divmod(near, self.size)
        score = self.scores[row, column]
        order = np.lexsort((-score, row))
        row, column, score = row[order], column[order], score[order]
        at = np.arange(len(row)) - np.searchsorted(row, row)
        kept = at < k
        place[row[kept], at[kept]], value[row[kept], at[kept]] = column[kept], score[kept]
        return place, value

    def _bound(self, k: int) -> np.ndarray | None:
        """(rows, 1): each row's k-th largest score is at least its parts' k-th largest maximum."""
        if k > self.parts:
            return None
        return np.partition(self._peaks, self.parts - k, axis=1)[:, self.parts - k, None]
