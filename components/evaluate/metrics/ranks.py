"""Ranks of right answers, both ways, from one product made in blocks, one a thread: exact, in bounded memory.

    i2t, t2i = retrieval_ranks(image, text, positives)      # (n,), (m,), from 1
    retrieval_shares(image, text, positives, (1, 5, 10))    # and how many right answers stand among the first

What decides is the cosine of the float32 vectors as float64 has it. The product is made in float32, as that is
twice as fast, and what its rounding could decide, a score within `d 2^-24 |x| |y|` of the best right answer's
(Higham, 2002, section 3.1), is made again. So neither the block's size nor the order in which a library sums
changes a rank, and equal vectors tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
import torch

from pairwright.components.evaluate.metrics.first_answers import FirstAnswers
from pairwright.components.evaluate.metrics.parts import FEW, Parts
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.finite import require_finite

BLOCK_BYTES = 56 << 20  # of float32 scores a thread makes at once: smaller products are slower
ALL_BYTES = 448 << 20  # of those of all threads
ROWS_AT_ONCE = 64  # of a product: others take a twentieth longer
TILE_BYTES = 4 << 20  # of scores compared at once, while they are in a core's cache
PAIRS_AT_ONCE = 512  # of vectors made float64 at once: more do not fit into a core's cache
COLUMNS_AT_ONCE = 4096
QUERIES_AT_ONCE = 2048
ROUNDING = 2.0**-24  # of float32, relative
_ALONE = Lock()  # how many threads torch takes is the process's, and is put back at the end
TIE = 1e-12  # of unit vectors: more than float64 rounds, less than any two float32 directions differ by


def retrieval_ranks(
    image: np.ndarray, text: np.ndarray, positives: Positives, block_bytes: int = BLOCK_BYTES
) -> tuple[np.ndarray, np.ndarray]:
    """Rank, from 1, of each picture's best right caption and of each caption's best right picture.

    Everything ahead of the first right answer is a wrong one, so a rank is 1 + the wrong answers that score at
    least as high: a tie counts against, and a model that says the same of all earns nothing.

    Args:
        image, text: (n, d) and (m, d) float32 vectors; their products are the scores.

    Returns:
        int64 (n,) and (m,).

    Raises:
        NotFinite: a vector is not: NaN is beaten by nothing, and would be first.
    """
    ranking = _ranked(image, text, positives, block_bytes)
    return ranking.ahead[0] + 1, ranking.ahead[1] + 1


@dataclass(frozen=True)
class Found:
    """What each query of one direction finds.

    Attributes:
        ranks: int64 (q,), from 1, of the first right answer.
        shares: (len(ks), q), the share of its right answers that stand among the first k.
    """

    ranks: np.ndarray
    shares: np.ndarray


def retrieval_shares(
    image: np.ndarray, text: np.ndarray, positives: Positives, ks: tuple[int, ...], block_bytes: int = BLOCK_BYTES
) -> tuple[Found, Found]:
    """Of pictures and of captions the ranks as `retrieval_ranks` has them, and the shares, in the same pass.

    Raises:
        NotFinite: as there.
    """
    firsts = tuple(FirstAnswers(right, max(ks)) for right in positives.counts())
    ranking = _ranked(image, text, positives, block_bytes, firsts)
    found = []
    for side, first in enumerate(firsts):
        ranks = ranking.ahead[side] + 1
        shares = np.stack([(ranks <= k).astype(np.float64) for k in ks])
        shares[:, first.queries] = ranking.shares(side, first, ks)
        found.append(Found(ranks, shares))
    return found[0], found[1]


def _ranked(
    image: np.ndarray,
    text: np.ndarray,
    positives: Positives,
    block_bytes: int,
    firsts: tuple[FirstAnswers, ...] = (),
) -> _Ranking:
    require_finite(image, "the vectors of the pictures to be ranked")
    require_finite(text, "the vectors of the captions to be ranked")
    image, text = (np.ascontiguousarray(side, np.float32) for side in (image, text))
    with _ALONE:
        return _by_threads(image, text, positives, block_bytes, firsts)


def _by_threads(
    image: np.ndarray,
    text: np.ndarray,
    positives: Positives,
    block_bytes: int,
    firsts: tuple[FirstAnswers, ...],
) -> _Ranking:
    threads = torch.get_num_threads()
    block_bytes = min(block_bytes, ALL_BYTES // threads)
    rows = _rows_of_a_block(len(image), block_bytes // (4 * len(text)), threads)
    ranking = _Ranking(image, text, positives, rows, firsts)
    blocks = [(start, min(start + rows, len(image))) for start in range(0, len(image), rows)]
    try:
        # Each thread makes and compares blocks of its own: nobody waits for the others at the end of a product.
        workers = min(threads, len(blocks))
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for work in (ranking.find_best, ranking.count_all):
                taken = iter(blocks)
                for done in [pool.submit(work, taken) for _ in range(workers)]:
                    done.result()
    finally:
        torch.set_num_threads(threads)
    return ranking


def _rows_of_a_block(rows: int, most: int, threads: int) -> int:
    """At most `most`, so many that threads make equally many blocks and no product is slower than it need be."""
    most = max(1, most - most % ROWS_AT_ONCE if most > ROWS_AT_ONCE else most)
    blocks = _ceil(_ceil(rows, most), threads) * threads
    return min(most, _ceil(_ceil(rows, blocks), ROWS_AT_ONCE) * ROWS_AT_ONCE)


def _ceil(one: int, other: int) -> int:
    return -(-one // other)


class _Ranking:
    """Wrong answers ahead so far: `ahead[0]` of each picture's best right answer, `ahead[1]` of each caption's."""

    def __init__(
        self,
        image: np.ndarray,
        text: np.ndarray,
        positives: Positives,
        rows: int,
        firsts: tuple[FirstAnswers, ...] = (),
    ) -> None:
        self.image, self.text, self.positives, self.firsts = image, text, positives, firsts
        self.ahead = np.zeros(len(image), np.int64), np.zeros(len(text), np.int64)
        longest = [np.sqrt(np.einsum("ij,ij->i", side, side).max()) for side in (image, text)]
        with np.errstate(over="ignore"):
            self.scale = float(longest[0] * longest[1])  # no score, nor any part of its sum, is larger
        require_finite(self.scale, "the product of the longest vectors to be ranked")
        self.best = np.full(len(image), -np.inf), np.full(len(text), -np.inf)
        self.doubt = (image.shape[1] + 2) * ROUNDING * self.scale
        self.rows, self._one_at_a_time = rows, Lock()

    def find_best(self, blocks: Iterator[tuple[int, int]]) -> None:
        """See the right answers of the pictures of every block that no other thread took."""
        for start, stop in blocks:
            picture, caption = self.positives.pairs(start, stop)
            scores = self._exact(start, stop, picture, caption)
            with self._one_at_a_time:
                for best, query in zip(self.best, (picture, caption), strict=True):
                    np.maximum.at(best, query, scores)
                for first, query in zip(self.firsts, (picture, caption), strict=False):
                    first.see_right(query, scores)

    @cached_property
    def low(self) -> tuple[np.ndarray, ...]:
        """What a score of each query has to reach to be ahead of its best right answer, for all rounding can do."""
        return tuple((best - self.doubt).astype(np.float32) for best in self.best)

    @cached_property
    def high(self) -> tuple[np.ndarray, ...]:
        """Beyond which it is, whatever rounding does."""
        return tuple((best + self.doubt).astype(np.float32) for best in self.best)

    def count_all(self, blocks: Iterator[tuple[int, int]]) -> None:
        """Compare the scores of the pictures of every block that no other thread took."""
        # torch's memory begins where a vector register's does; in numpy's a product takes a third longer.
        scores = torch.empty(self.rows, len(self.text)).numpy()
        for start, stop in blocks:
            self._count(start, stop, scores[: stop - start])

    def _count(self, start: int, stop: int, scores: np.ndarray) -> None:
        """Compare the scores of pictures `start` to `stop` with the best right answers of both sides."""
        torch.mm(torch.from_numpy(self.image[start:stop]), torch.from_numpy(self.text).T, out=torch.from_numpy(scores))
        picture, caption = self.positives.pairs(start, stop)
        scores[picture - start, caption] = -np.inf  # a right answer is ahead of none
        tile = max(1, TILE_BYTES // (4 * len(self.text)))
        ahead = np.zeros(len(self.text), np.int64)
        for at in range(start, stop, tile):
            rows = slice(at, min(at + tile, stop))
            self.ahead[0][rows], captions = self._told(rows, scores[at - start : rows.stop - start])
            ahead += captions
        with self._one_at_a_time:
            self.ahead[1][:] += ahead
        for first in self.firsts[1:]:
            for at in range(0, len(first.queries), QUERIES_AT_ONCE):
                some = slice(at, at + QUERIES_AT_ONCE)
                best = first.best_wrong(some, start, Parts(np.ascontiguousarray(scores[:, first.queries[some]].T)))
                with self._one_at_a_time:
                    first.hold(some, *best)

    def _told(self, rows: slice, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many of these scores are ahead of each picture's best right answer (rows,) and each caption's (m,)."""
        parts = Parts(scores)
        for first in self.firsts[:1]:
            several = first.rows_of(rows.start, rows.stop)
            own = first.queries[several] - rows.start
            first.see_wrong(several, 0, parts if len(own) == len(scores) else Parts(scores[own]))
        low = self.low[0][rows, None]
        pictures = self._ahead(0, rows, scores, low, self.high[0][rows, None], parts.at_least(low))
        reached = scores >= self.low[1]
        near = np.flatnonzero(reached) if np.count_nonzero(reached) * FEW < scores.size else None
        return pictures, self._ahead(1, rows, scores, self.low[1], self.high[1], near)

    def _ahead(
        self, side: int, rows: slice, scores: np.ndarray, low: np.ndarray, high: np.ndarray, near: np.ndarray | None
    ) -> np.ndarray:
        """How many of these scores are ahead of each query of a side; `near`: places of those from `low` on, if few."""
        if near is not None:
            above = scores.reshape(-1)[near] > np.broadcast_to(high, scores.shape)[divmod(near, scores.shape[1])]
            sure = np.bincount(divmod(near[above], scores.shape[1])[side], minlength=scores.shape[side])
            doubtful = near[~above]
        else:
            whole = scores > high
            sure = np.add.reduce(whole, axis=1 - side, dtype=np.int64)
            doubtful = np.flatnonzero((scores >= low) ^ whole)
        # What rounding may have put there or not, float64 tells apart.
        picture, caption = divmod(doubtful, scores.shape[1])
        exact = self._exact(rows.start, rows.stop, picture + rows.start, caption)
        query = (picture, caption)[side]
        best = (self.best[0][rows], self.best[1])[side][query]
        return sure + np.bincount(query[exact >= best - TIE * self.scale], minlength=len(sure))

    def _exact(self, start: int, stop: int, picture: np.ndarray, caption: np.ndarray) -> np.ndarray:
        """Scores of pairs of pictures `start` to `stop`, in float64: one by one where they are few, else by product."""
        if len(picture) * 64 < (stop - start) * len(self.text):
            return _dots(self.image, self.text, picture, caption)
        made = np.empty(len(picture))
        left = self.image[start:stop].astype(np.float64)
        for at in range(0, len(self.text), COLUMNS_AT_ONCE):
            inside = np.flatnonzero((caption >= at) & (caption < at + COLUMNS_AT_ONCE))
            product = left @ self.text[at : at + COLUMNS_AT_ONCE].astype(np.float64).T
            made[inside] = product[picture[inside] - start, caption[inside] - at]
        return made

    def shares(self, side: int, first: FirstAnswers, ks: tuple[int, ...]) -> np.ndarray:
        """Shares of the right answers among the first k, of pictures' queries (side 0) or captions'."""
        queries, gallery = ((self.image, self.text), (self.text, self.image))[side]

        def pairs(query: np.ndarray, answer: np.ndarray) -> np.ndarray:
            return _dots(queries, gallery, query, answer)

        def wrong(query: np.ndarray) -> np.ndarray:
            left = queries[query].astype(np.float64)
            parts = [gallery[at : at + COLUMNS_AT_ONCE] for at in range(0, len(gallery), COLUMNS_AT_ONCE)]
            scores = np.concatenate([left @ part.astype(np.float64).T for part in parts], axis=1)
            row, answer = self.positives.answers(side, query)
            scores[row, answer] = -np.inf
            return scores

        return first.shares(ks, self.doubt, TIE * self.scale, pairs, wrong)


def _dots(left: np.ndarray, right: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Dot products in float64 of left[rows] and right[others], one by one."""
    made = np.empty(len(rows))
    for at in range(0, len(rows), PAIRS_AT_ONCE):
        few = slice(at, at + PAIRS_AT_ONCE)
        made[few] = np.einsum("ij,ij->i", left[rows[few]].astype(np.float64), right[others[few]].astype(np.float64))
    return made


def chance_recall(right: np.ndarray, gallery: int, k: int) -> float:
    """R@k expected of random scores: 1 - C(m - p, k) / C(m, k), averaged over queries of p right answers (n,)."""
    miss = np.ones(len(right))
    for i in range(min(k, gallery)):
        miss *= np.maximum(gallery - right - i, 0) / (gallery - i)
    return float(np.mean(1 - miss))
