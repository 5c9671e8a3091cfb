"""Image frequency: how many texts one picture goes by, as ALIGN (Jia et al., 2021) filters it.

    selection: {uses: image_frequency, with: {image: exact_hash.pixels}}
    keep:      {not_a_stock_picture: "image_frequency.texts <= 1000"}

ALIGN drops pictures with more than 1,000 alt-texts: a banner or a spacer goes by any name. Pictures are
one where the column named by `image` is equal: decoded pixels, or a near-duplicate group's number.
Texts are compared without case, punctuation and space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.component import Captions, Columns, Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.caption_column import caption_column
from pairwright.components.filter.selections.groups import labels_of
from pairwright.components.registry import selection
from pairwright.components.settings import Settings


class ImageFrequencySettings(Settings):
    image: str = "exact_hash.pixels"  # bytes, text or numbers that are equal for one picture
    source: str = "alt"


@selection("image_frequency")
class ImageFrequency(Selection[ImageFrequencySettings]):
    """Columns: `pairs` with this picture, itself included; `texts` they differ in, empty ones aside.

    Null where the picture has no identity (it did not decode).
    """

    requires = Columns("image") + Captions("source")
    columns = {"pairs": pa.int32(), "texts": pa.int32()}

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        picture = _numbered(view.column(self.settings.image))
        text = labels_of(caption_column(view, self.settings.source))
        known = picture >= 0
        pairs = np.bincount(picture[known], minlength=1)
        told = np.unique(np.stack([picture, text])[:, known & (text >= 0)], axis=1)[0]
        texts = np.bincount(told, minlength=len(pairs))
        at = np.maximum(picture, 0)
        return {
            "pairs": pa.array(pairs[at], pa.int32(), mask=~known),
            "texts": pa.array(texts[at], pa.int32(), mask=~known),
        }


def _numbered(column: pa.ChunkedArray) -> np.ndarray:
    """(rows,) int64, equal where the values are; -1 where null."""
    codes = column.combine_chunks().dictionary_encode().indices
    return np.asarray(codes.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
