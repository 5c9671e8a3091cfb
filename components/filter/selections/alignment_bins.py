"""Alignment bins: how well a caption fits, as one of a few levels a captioner can be told (NoC).

    select: {level: {uses: alignment_bins, with: {score: align.score, bins: 8}}}

Kang et al., 2023, "Noise-aware learning from web-crawled image-text data": nothing is dropped; each
pair's cosine falls into one of 8 bins, whose number becomes a control token when the captioner is
trained, and captions are then asked for at the top bin. Bins are uniform in cosine between the lowest
and the highest score, as the released code fits them; `mode: equal` fills them equally instead. The
token itself belongs to the captioner that reads `bin`. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from pairwright.components.component import Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.registry import selection
from pairwright.components.settings import Settings


class AlignmentBinsSettings(Settings):
    score: str = Field("align.score", description="step.column of cosines, or of any score that rises with fit")
    bins: int = Field(8, ge=2, le=127)
    mode: Literal["uniform", "equal"] = Field("uniform", description="equal in width, or in pairs (+-1)")
    lowest: float | None = Field(None, description="lower edge of bin 1 when uniform; None: the lowest score seen")
    highest: float | None = Field(None, description="upper edge of the last bin; None: the highest score seen")
    among: dict[str, str] = Field({}, description="keep-rules; only pairs that pass them make the edges and have a bin")

    @model_validator(mode="after")
    def _edges_in_order(self) -> Self:
        if self.lowest is not None and self.highest is not None and self.lowest >= self.highest:
            raise ValueError("lowest must be below highest")
        if self.mode == "equal" and (self.lowest is not None or self.highest is not None):
            raise ValueError("lowest and highest go with mode: uniform; equal bins find their own edges")
        return self


@selection("alignment_bins")
class AlignmentBins(Selection[AlignmentBinsSettings]):
    """Columns over every pair; null where it has no score or does not take part.

    Columns:
        bin: 1..bins, the last one the best aligned. A score beyond given edges is in the outermost bin.
        low, high: the bin's edges, so that the same bins can be given to later data.
    """

    columns = {"bin": pa.int8(), "low": pa.float32(), "high": pa.float32()}

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([self.settings.score, *among_columns(self.settings.among)]))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish = self.settings
        score = view.column(wish.score).cast(pa.float64()).to_numpy()
        known = np.isfinite(score) & participants(view, wish.among)
        rows = np.flatnonzero(known)
        number, edges = np.ones(view.rows, np.int64), np.zeros(wish.bins + 1)
        if len(rows) and wish.mode == "uniform":
            low = float(score[rows].min()) if wish.lowest is None else wish.lowest
            high = float(score[rows].max()) if wish.highest is None else wish.highest
            number[rows], edges = uniform_bins(score[rows], wish.bins, low, high)
        elif len(rows):
            keys = view.sidecar(["key"])["key"].take(pa.array(rows))
            number[rows], edges = equal_bins(score[rows], keys, wish.bins)
        return {
            "bin": pa.array(number, pa.int8(), mask=~known),
            "low": pa.array(edges[number - 1], pa.float32(), mask=~known),
            "high": pa.array(edges[number], pa.float32(), mask=~known),
        }


def uniform_bins(score: np.ndarray, bins: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Bin 1..bins of each score, and the bins + 1 edges; an upper edge belongs to the bin above it."""
    edges = np.linspace(low, high, bins + 1)
    return np.clip(np.searchsorted(edges, score, side="right"), 1, bins), edges


def equal_bins(score: np.ndarray, keys: pa.ChunkedArray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins whose numbers of pairs differ by at most 1; equal scores are parted by key, not by shard order."""
    table = pa.table({"score": score, "key": keys})
    order = pc.sort_indices(table, [("score", "ascending"), ("key", "ascending")]).to_numpy()
    number = np.empty(len(score), np.int64)
    number[order] = np.arange(len(score)) * bins // len(score) + 1
    ranked = score[order]
    starts = np.minimum(-(-np.arange(bins) * len(score) // bins), len(score) - 1)
    return number, np.append(ranked[starts], ranked[-1])
