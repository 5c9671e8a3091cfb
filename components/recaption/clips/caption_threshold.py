"""Caption threshold: the score that so many captions of all clips reach.

    select: {threshold: {uses: caption_threshold, with: {score: windows.score, target: 200}}}
    keep:   {captioned: "threshold.kept >= 1"}

HowToCaption (Shvetsova et al., 2023) keeps the 25 million best of its captions: the threshold is the quantile of all
scores that the target count hits, so that a larger target never loses a caption that a smaller one kept. (The paper
takes the quantile of 5,000 random videos; here of all.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from pairwright.components.component import Columns, Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.registry import selection
from pairwright.components.settings import Settings


class CaptionThresholdSettings(Settings):
    score: str = Field(description="step.column of lists of scores, one a caption, higher is better")
    target: int | None = Field(None, ge=1, description="captions to keep, of all clips")
    share: float | None = Field(None, gt=0, le=1, description="... or which share of them")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.target is None) == (self.share is None):
            raise ValueError("say either target (captions) or share (of all captions)")
        return self


@selection("caption_threshold")
class CaptionThreshold(Selection[CaptionThresholdSettings]):
    """Columns over every clip; null where it has no scores.

    Columns:
        threshold: the least score that is kept, the same for all.
        kept: captions of the clip that reach it. best: the clip's best score, null where it has no caption.
    """

    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "threshold": pa.float64(),
        "kept": pa.int32(),
        "best": pa.float64(),
    }
    requires = Columns("score")

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        column = view.column(self.settings.score)
        lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        known = lists.is_valid().to_numpy(zero_copy_only=False)
        sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        scores = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        clip = np.repeat(np.arange(len(sizes)), sizes)
        wish = self.settings
        target = wish.target if wish.target is not None else max(1, round((wish.share or 1.0) * len(scores)))
        threshold = threshold_of(scores, target)
        kept = np.bincount(clip[scores >= threshold], minlength=len(sizes)) if len(scores) else np.zeros(len(sizes))
        best = np.full(len(sizes), -np.inf)
        np.maximum.at(best, clip, scores)
        return {
            "threshold": pa.array(np.full(len(sizes), threshold), mask=~known | ~np.isfinite(threshold)),
            "kept": pa.array(kept.astype(np.int32), mask=~known),
            "best": pa.array(best, mask=~known | ~np.isfinite(best)),
        }


def threshold_of(scores: np.ndarray, target: int) -> float:
    """The `target`-th best score; the least where there are fewer, infinity where there is none."""
    if not len(scores):
        return float("inf")
    return float(np.sort(scores)[::-1][min(target, len(scores)) - 1])
