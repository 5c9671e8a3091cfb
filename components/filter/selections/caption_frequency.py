"""Caption frequency: how many pairs carry the same caption, as ALIGN (Jia et al., 2021) filters it.

    selection: {uses: caption_frequency}
    keep:      {not_a_template: "caption_frequency.count <= 10"}

ALIGN drops alt-texts shared by more than 10 pictures: "Part of the Flat Icon Collection" names a
shop, not a picture. Captions are compared without case, punctuation and space.

Memory: about 280 MB a million captions of some fifty letters (benchmarks/global_selections.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.component import Captions, Selection
from pairwright.components.dataset.groups import equal_labels
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.caption_column import caption_column
from pairwright.components.registry import selection
from pairwright.components.settings import Settings


class CaptionFrequencySettings(Settings):
    source: str = "alt"  # a sidecar's source, or a captioner step's name


@selection("caption_frequency")
class CaptionFrequency(Selection[CaptionFrequencySettings]):
    """Columns: `count` of pairs with this caption, itself included; `share` of all pairs. Null without a caption."""

    requires = Captions("source")
    columns = {"count": pa.int32(), "share": pa.float32()}

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        which, _ = equal_labels(caption_column(view, self.settings.source))
        absent = which < 0
        counts = np.bincount(which[~absent], minlength=1)
        count = np.where(absent, 0, counts[np.maximum(which, 0)])
        return {
            "count": pa.array(count, pa.int32(), mask=absent),
            "share": pa.array(count / max(view.rows, 1), pa.float32(), mask=absent),
        }
