"""The best share of the pairs by any score, over all of them or inside each cluster, language or source.

    select: {best: {uses: top_share, with: {score: judged.score, share: 0.1, within: clusters.cluster}}}
    keep:   {preferred: "best.keep"}

Compress & Align keeps the top p of the crawl by reward (section 3.3 of the paper). A plain top share
keeps what is easy and repeated; inside clusters every kind of picture keeps its best (TRAPS: quality
and diversity together). Shares are nested: what a smaller one keeps, a larger one keeps too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pairwright.components.component import Columns, Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.registry import selection
from pairwright.components.settings import Settings


class TopShareSettings(Settings):
    score: str = Field(description="`step.column` that ranks, higher is better")
    share: float = Field(gt=0, le=1, description="of the pairs that have a score and take part")
    within: str | None = None  # `step.column` of labels; the share is taken of each label's pairs
    at_least: int = Field(0, ge=0, description="pairs kept of every label, however small its share of them")
    among: dict[str, str] = {}  # keep-rules; only pairs that pass them are ranked and counted


@selection("top_share")
class TopShare(Selection[TopShareSettings]):
    """Columns over every pair; null where it has no score or does not take part.

    Columns:
        rank: share of the group's pairs that are better, plus half of its own, in (0, 1): the best of
            four has 0.125. Of equal scores the one with the smaller key is better.
        keep: rank <= share, so a group of n keeps n * share of them, rounded.
    """

    requires = Columns("score", "within")
    columns = {"rank": pa.float64(), "keep": pa.bool_()}

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*super().column_names(), *among_columns(self.settings.among)]))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish = self.settings
        score = view.column(wish.score).cast(pa.float64()).fill_null(np.nan).to_numpy()
        ranked = ~np.isnan(score) & participants(view, wish.among)
        labels = _labels(view, wish.within)
        rank, keep = np.full(view.rows, np.nan), np.zeros(view.rows, dtype=bool)
        keys = view.sidecar(["key"])["key"].filter(pa.array(ranked))
        rank[ranked], keep[ranked] = best(labels[ranked], score[ranked], keys, wish.share, wish.at_least)
        return {
            "rank": pa.array(rank, pa.float64(), mask=~ranked),
            "keep": pa.array(keep, pa.bool_(), mask=~ranked),
        }


def best(
    labels: np.ndarray, score: np.ndarray, keys: pa.ChunkedArray | pa.Array, share: float, at_least: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rank in (0, 1) of each row among those of its label, and whether it is of their best share: (n,), (n,)."""
    table = pa.table({"label": labels, "score": score, "key": keys})
    order = pc.sort_indices(table, [("label", "ascending"), ("score", "descending"), ("key", "ascending")]).to_numpy()
    _, first, inverse, counts = np.unique(labels[order], return_index=True, return_inverse=True, return_counts=True)
    place, size = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels)) - first[inverse]
    size[order] = counts[inverse]
    rank = (place + 0.5) / size
    return rank, (rank <= share) | (place < at_least)


def _labels(view: ColumnsView, name: str | None) -> np.ndarray:
    """(rows,) integers, equal where the column's values are; rows without a value share one."""
    if name is None:
        return np.zeros(view.rows, np.int64)
    column = view.column(name).combine_chunks()
    return pc.fill_null(column.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
