"""An inverted index: for each token the items that have it, so that a sparse query touches only its own tokens.

    index = InvertedIndex(SparseRows.of(items))         # (n, V), mostly zeros
    numbers, scores = index.search(SparseRows.of(queries), k=10)
    tokens, parts = index.contributions(SparseRows.of(queries), 0, item=numbers[0, 0])

Exact. A score is the sum of products over tokens in ascending order, in float64, where a product of two float32
weights is exact; so an item's score depends on nothing but the two vectors, equal vectors tie, and the parts that
`contributions` names add up to it bit for bit. Of equal scores the smaller item number is first, zeros among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.finite import require_finite
from pairwright.components.models.dual_encoders.posting_kernels import add_lists, best


@dataclass(frozen=True)
class SparseRows:
    """Rows of a matrix that is mostly zeros (CSR).

    Attributes:
        starts: int64 (n + 1,): row i is `starts[i]:starts[i + 1]` of the others.
        tokens: int32, a row's ascending; weights: float32, none of them 0.
        width: V, how many tokens there are.
    """

    starts: np.ndarray
    tokens: np.ndarray
    weights: np.ndarray
    width: int

    @classmethod
    def of(cls, dense: Any) -> SparseRows:
        """From (n, V) weights, an array or a tensor.

        Raises:
            NotFinite: a weight is not.
        """
        matrix = np.asarray(dense.detach().cpu() if hasattr(dense, "detach") else dense, np.float32)
        require_finite(matrix, "the weights to be indexed")
        row, token = np.nonzero(matrix)
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(matrix)))])
        return cls(starts.astype(np.int64), token.astype(np.int32), matrix[row, token], matrix.shape[1])

    @classmethod
    def concatenated(cls, parts: list[SparseRows]) -> SparseRows:
        """Rows of all parts, in order; one part at least, all as wide."""
        ends = np.cumsum([0, *(len(part.tokens) for part in parts)])
        starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
        return cls(
            np.concatenate([*starts, ends[-1:]]),
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.weights for part in parts]),
            parts[0].width,
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens, ascending, and weights of a row."""
        own = slice(self.starts[number], self.starts[number + 1])
        return self.tokens[own], self.weights[own]


class InvertedIndex:
    """Items by token.

    Attributes:
        items: how many; `width`: tokens there are. `postings`: weights kept, 8 bytes each.
    """

    def __init__(self, rows: SparseRows) -> None:
        order = np.argsort(rows.tokens, kind="stable")  # within a token items stay in their order
        item = np.repeat(np.arange(len(rows), dtype=np.int32), np.diff(rows.starts))
        self.items, self.width, self.postings = len(rows), rows.width, len(rows.tokens)
        self._rows = rows
        self._item, self._weight = item[order], rows.weights[order]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(rows.tokens, minlength=rows.width))])

    def search(self, queries: SparseRows, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each query, best first: numbers int64 and scores float64, both (q, min(k, items)).

        Raises:
            ValueError: queries of another vocabulary.
        """
        self._check(queries)
        k = min(k, self.items)
        numbers, scores = np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k))
        for query in range(len(queries)):
            every = self.scores(*queries.row(query))
            numbers[query] = best(every, k)
            scores[query] = every[numbers[query]]
        return numbers, scores

    def scores(self, tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """float64 (items,): of one query, its tokens ascending."""
        found = np.zeros(self.items)
        add_lists(self._starts, self._item, self._weight, tokens, weights, found)
        return found

    def contributions(self, queries: SparseRows, query: int, item: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens, ascending, that a query and an item share, and what each adds to the score, float64.

        Added one by one from 0 they are the score that `search` gives, bit for bit.
        """
        self._check(queries)
        tokens, weights = queries.row(query)
        own_tokens, own_weights = self._rows.row(item)
        shared, of_query, of_item = np.intersect1d(tokens, own_tokens, assume_unique=True, return_indices=True)
        return shared, own_weights[of_item].astype(np.float64) * weights[of_query].astype(np.float64)

    def _check(self, queries: SparseRows) -> None:
        if queries.width != self.width:
            raise ValueError(f"queries have {queries.width} tokens, the index has {self.width}: two models' vectors")
