"""Cross-fitted rotation stability: the caption whose rank turning the picture changes least, offline.

    stable:
      uses: crossfit_rotation_stability
      with:
        rotated: [rotated.r90, rotated.r180, rotated.r270]
        candidates: {alt: text_features.vector, fused: fused_features.vector}

What `rotation_stability` does with a public dual encoder (RS5M, Zhang et al., 2024), with heads fitted
on the other half of the pairs by group: no caption is chosen by heads that saw its pair. The heads are
fitted on `source`'s captions of the pictures as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.shards.columns import ColumnsView, to_numpy
from pairwright.components.filter.scorers.rotation_stability import COLUMNS, chosen_columns
from pairwright.components.filter.selections.crossfit import CrossFitSettings, CrossFitted, valid
from pairwright.components.filter.selections.rank_stability import ROTATIONS
from pairwright.components.registry import selection


class CrossfitRotationStabilitySettings(CrossFitSettings):
    rotated: tuple[str, str, str] = ("rotated.r90", "rotated.r180", "rotated.r270")
    candidates: dict[str, str] = Field(min_length=2, description="source -> column of its captions' text features")
    shortlist: int | None = Field(None, ge=1, description="only so many of the best by mean score compete; None: all")


@selection("crossfit_rotation_stability")
class CrossfitRotationStability(CrossFitted[CrossfitRotationStabilitySettings]):
    """Columns as `rotation_stability`'s; null where the pair has no features, turned or not, or no candidate."""

    requires = Columns("image", "text", "near", "rotated") + Captions("source")
    columns = COLUMNS

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*super().column_names(), *self.settings.candidates.values()]))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        halves = self.halves(view)
        turned = [view.column(name) for name in self.settings.rotated]
        seen = np.logical_and.reduce([valid(column) for column in turned])
        images = [halves.image, *(to_numpy(column) for column in turned)]
        texts = {source: view.column(name) for source, name in self.settings.candidates.items()}
        scores = np.full((view.rows, len(ROTATIONS), len(texts)), np.nan, np.float32)
        for heads, test in self.fitted(halves):
            rows = test[seen[test]]
            pictures = [heads.image(image[rows]) for image in images]
            for place, column in enumerate(texts.values()):
                cosines = np.stack([(picture * heads.text(to_numpy(column)[rows])).sum(-1) for picture in pictures], 1)
                cosines[~valid(column)[rows]] = np.nan
                scores[rows, :, place] = cosines
        return chosen_columns(scores, tuple(texts), self.settings.shortlist)
