"""Cross-fitted alignment: how well captions fit their pictures, where no public dual encoder is given.

    selection: {uses: crossfit_alignment, with: {image: image_features.vector, text: text_features.vector}}
    keep:      {well_aligned: "crossfit_alignment.score >= quantile(crossfit_alignment.score, 0.3)"}

The pairs are halved by group; projection heads on the locked towers' features are fitted on one half
and score the other (2-fold cross-fitting, Chernozhukov et al., 2018), so no pair is scored by heads
that saw it, its near-duplicates, its caption under another picture, or its sidecar group. A warning
from this corpus: such a score likes what is easy and repeated; show a random selection beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.shards.columns import ColumnsView, to_numpy
from pairwright.components.filter.selections.crossfit import CrossFitSettings, CrossFitted, valid
from pairwright.components.registry import selection


class CrossfitAlignmentSettings(CrossFitSettings):
    scored_image: str | None = None  # features scored instead of those fitted on, e.g. without rendered text


@selection("crossfit_alignment")
class CrossfitAlignment(CrossFitted[CrossfitAlignmentSettings]):
    """Columns over every pair; null where it has no features, or its fold could not be scored.

    Columns:
        score: cosine in [-1, 1] by the heads fitted on the other fold.
        fold: 0 or 1, the half the pair is in.
        group: row number, in the dataset's order, of its group's first pair; a group is in one fold.
    """

    requires = Columns("image", "scored_image", "text", "near") + Captions("source")
    columns = {"score": pa.float32(), "fold": pa.int8(), "group": pa.int64()}

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        judged = None if self.settings.scored_image is None else view.column(self.settings.scored_image)
        halves = self.halves(view, None if judged is None else valid(judged))
        seen = halves.image if judged is None else to_numpy(judged)
        score = np.full(view.rows, np.nan, np.float32)
        for heads, test in self.fitted(halves):
            cosines = (heads.image(seen[test]) * heads.text(halves.text[test])).sum(-1)
            score[test] = np.asarray(cosines.clamp(-1, 1), dtype=np.float32)
        return {
            "score": pa.array(score, pa.float32(), mask=np.isnan(score)),
            "fold": pa.array(halves.fold, pa.int8(), mask=~halves.known),
            "group": pa.array(halves.group, pa.int64()),
        }
