"""Top 10 by an inverted index against one dense product plus its top-k, in one run; the answers must be the same.

    python -m benchmarks.sparse_retrieval                         # 100,000 items over 4,000 words, 64 of them each
    python -m benchmarks.sparse_retrieval --items 10000 --repeats 1

Weights are as VDR's: of every item and query the k heaviest words are kept, and words are as unevenly common as those
of a language (Zipf), so the lists of common words are long. The dense way is `torch.mm` of all queries at once, which
suits it, and `topk(10)`; the index is asked query by query. Both are done in turn, `--repeats` times, and the ratio is
that of the fastest rounds and, beside it, the median over rounds. The goal is at least 5. Beside them stands scipy's
product of the same sparse matrices. What both give is then held against each other: a query's ten numbers must be those
of the dense product in float64, of equal scores the smaller number first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse
import torch

from benchmarks.machine import add_output_option, publish
from pairwright.components.models.dual_encoders.inverted_index import InvertedIndex, SparseRows

K = 10
GOAL = 5.0
ROWS = 5000  # dense rows made at once


def weights(rows: int, width: int, top: int, seed: int) -> torch.Tensor:
    """(rows, width) float32, `top` of each row above 0, the words' popularity as 1 / (rank + 10)."""
    noise = torch.Generator().manual_seed(seed)
    popular = -torch.log(torch.arange(width, dtype=torch.float32) + 10)
    made = torch.zeros(rows, width)
    for start in range(0, rows, ROWS):
        block = made[start : start + ROWS]
        keys = popular - torch.empty(block.shape).exponential_(generator=noise).log()  # Gumbel: drawn by popularity
        found = keys.topk(top, dim=1)
        block.scatter_(1, found.indices, torch.nn.functional.softplus(found.values - found.values[:, -1:] - 1))
    return torch.nn.functional.normalize(made, dim=1)


def dense_top(queries: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    return (queries @ items.T).topk(K, dim=1).indices


def exact_top(queries: torch.Tensor, items: torch.Tensor) -> np.ndarray:
    """By a float64 product in blocks and a full order: score down, number up."""
    scores = torch.empty(len(queries), len(items), dtype=torch.float64)
    for start in range(0, len(items), ROWS):
        scores[:, start : start + ROWS] = queries.double() @ items[start : start + ROWS].double().T
    number = np.broadcast_to(np.arange(len(items)), scores.shape)
    return np.lexsort((number, -scores.numpy()), axis=1)[:, :K]


def seconds(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--words", type=int, default=4000)
    parser.add_argument("--top", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    add_output_option(parser)
    wish = parser.parse_args()
    items = weights(wish.items, wish.words, wish.top, 0)
    queries = weights(wish.queries, wish.words, wish.top, 1)
    rows, asked = SparseRows.of(items), SparseRows.of(queries)
    built = time.perf_counter()
    index = InvertedIndex(rows)
    built = time.perf_counter() - built
    left, right = (scipy.sparse.csr_array((m.weights, m.tokens, m.starts), (len(m), m.width)) for m in (asked, rows))
    right = right.T.tocsr()
    index.search(SparseRows.of(queries[:1]), K)  # compiles, or finds what was compiled
    rounds = [
        (
            seconds(lambda: dense_top(queries, items)),
            seconds(lambda: index.search(asked, K)),
            seconds(lambda: np.argpartition(-(left @ right).toarray(), K, axis=1)),
        )
        for _ in range(wish.repeats)
    ]
    dense, sparse, library = (min(one[way] for one in rounds) for way in range(3))
    numbers, _ = index.search(asked, K)
    exact = exact_top(queries, items)
    result = {
        "items": wish.items,
        "queries": wish.queries,
        "words": wish.words,
        "kept_of_each": wish.top,
        "postings": index.postings,
        "index_mib": round(index.postings * 8 / 2**20, 1),
        "dense_mib": round(items.numel() * 4 / 2**20, 1),
        "index_built_seconds": round(built, 3),
        "dense_and_topk_ms_a_query": round(1000 * dense / wish.queries, 3),
        "index_ms_a_query": round(1000 * sparse / wish.queries, 3),
        "scipy_ms_a_query": round(1000 * library / wish.queries, 3),
        "ratio": round(dense / sparse, 2),
        "ratio_median": round(statistics.median(one[0] / one[1] for one in rounds), 2),
        "goal": GOAL,
        "queries_with_the_same_top_10": int((numbers == exact).all(axis=1).sum()),
    }
    publish(result, wish.json, ("torch", "numpy", "scipy"))
    if not (numbers == exact).all():
        raise SystemExit("the index and the dense product differ")


if __name__ == "__main__":
    main()
