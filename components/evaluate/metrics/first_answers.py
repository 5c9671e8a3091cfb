"""How many of a query's right answers stand among the first K, where it has several: exact, by block.

What decides is the K best right and the K best wrong scores of each query: the r-th best right answer stands among
the first k if it is ahead of the (k - r + 1)-th best wrong one. Those are held of each query, and no more. Wrong
scores come in float32; where its rounding could decide, those held are made again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pairwright.components.evaluate.metrics.parts import Parts

SPARE = 6  # wrong answers held beyond K: among them is who rounding may have put behind
QUERIES_AT_ONCE = 64
Pairs = Callable[[np.ndarray, np.ndarray], np.ndarray]  # queries and answers (n,) -> scores (n,) float64
Wrong = Callable[[np.ndarray], np.ndarray]  # queries (q,) -> scores (q, gallery) float64, right answers' -inf


class FirstAnswers:
    """The best answers so far of the queries that have several right ones.

    Attributes:
        queries: their numbers, ascending; `slice`s below are of these.
        right: (q, K) float64, the best right answers' scores, -inf where there are fewer.
    """

    def __init__(self, right: np.ndarray, most: int) -> None:
        """Of queries with right[i] right answers each, up to the first `most`."""
        self.queries = np.flatnonzero(right > 1)
        self._row = np.full(len(right), -1)
        self._row[self.queries] = np.arange(len(self.queries))
        self._counts = right[self.queries]
        self._most, held = most, most + SPARE
        self.right = np.full((len(self.queries), most), -np.inf)
        self._wrong = np.full((len(self.queries), held), -np.inf, np.float32)
        self._answer = np.full((len(self.queries), held), -1, np.int32)

    def rows_of(self, start: int, stop: int) -> slice:
        """Those of the queries numbered `start` to `stop`."""
        return slice(*np.searchsorted(self.queries, [start, stop]))

    def see_right(self, query: np.ndarray, score: np.ndarray) -> None:
        """Right answers' scores, float64, of any queries."""
        row = self._row[query]
        row, score = row[row >= 0], score[row >= 0]
        touched = np.unique(row)
        row = np.concatenate([row, np.repeat(touched, self._most)])
        score = np.concatenate([score, self.right[touched].reshape(-1)])
        order = np.lexsort((-score, row))
        row, score = row[order], score[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        kept = place < self._most
        self.right[row[kept], place[kept]] = score[kept]

    def see_wrong(self, queries: slice, first: int, scores: Parts) -> None:
        """Scores float32 of these queries with the answers from number `first` on; right answers' -inf."""
        self.hold(queries, *self.best_wrong(queries, first, scores))

    def best_wrong(self, queries: slice, first: int, scores: Parts) -> tuple[np.ndarray, np.ndarray]:
        """Answers and scores (q, K + SPARE) of those that could be held; changes nothing."""
        least = self._wrong[queries][:, -1:]
        answer, score = scores.largest(self._wrong.shape[1], least if np.isfinite(least).any() else None)
        return answer + first, score

    def hold(self, queries: slice, answer: np.ndarray, score: np.ndarray) -> None:
        """Keep the best of these and of those that are held."""
        held = self._wrong.shape[1]
        if np.isfinite(self._wrong[queries]).any():
            answer = np.concatenate([self._answer[queries], answer], axis=1)
            score = np.concatenate([self._wrong[queries], score], axis=1)
            order = np.argsort(-score, axis=1, kind="stable")[:, :held]
            answer, score = np.take_along_axis(answer, order, 1), np.take_along_axis(score, order, 1)
        self._answer[queries], self._wrong[queries] = answer, score

    def shares(self, ks: tuple[int, ...], doubt: float, tie: float, pairs: Pairs, wrong: Wrong) -> np.ndarray:
        """Share of each query's right answers that stand among the first k: (len(ks), q).

        Args:
            doubt: how far a wrong score may be from the exact one.
            tie: how much less a wrong answer may score and still be ahead.
        """
        ahead_of = self._settled(doubt + tie, pairs, wrong) + tie
        found = np.zeros((len(ks), len(self.queries)))
        for at, k in enumerate(ks):
            for r in range(min(k, self._most)):
                found[at] += self.right[:, r] > ahead_of[:, k - r - 1]
        return found / self._counts

    def _settled(self, doubt: float, pairs: Pairs, wrong: Wrong) -> np.ndarray:
        """(q, K) float64: the best wrong scores, exact where a right one is as near as rounding."""
        held = self._wrong.astype(np.float64)
        best = held[:, : self._most].copy()
        known = np.isfinite(best)
        near = np.zeros(len(best), bool)
        for r in range(self._most):
            right = np.where(np.isfinite(self.right[:, r]), self.right[:, r], np.inf)[:, None]
            near |= (np.abs(np.where(known, best, 0) - right) <= doubt).any(axis=1) & known.any(axis=1)
        beyond = held[:, -1] >= np.where(known[:, -1], best[:, -1], np.inf) - 2 * doubt  # who else is near is not held
        few = np.flatnonzero(near & ~beyond)
        if len(few):
            row, place = np.nonzero(np.isfinite(held[few]))
            made = np.full(held[few].shape, -np.inf)
            made[row, place] = pairs(self.queries[few[row]], self._answer[few[row], place])
            best[few] = -np.sort(-made, axis=1)[:, : self._most]
        many = np.flatnonzero(near & beyond)
        for at in range(0, len(many), QUERIES_AT_ONCE):
            rows = many[at : at + QUERIES_AT_ONCE]
            best[rows] = Parts(wrong(self.queries[rows])).largest(self._most)[1]
        return best
