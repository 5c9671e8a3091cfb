"""Masked image features: an image tower's features of each picture without the text drawn on it.

    score:
      ocr: ocr_text
      image_features: image_features
      masked: {uses: masked_image_features, with: {boxes: ocr.boxes}}
    select:
      seen: {uses: crossfit_alignment, with: {scored_image: masked.vector}}

What `masked_alignment` is to a public dual encoder, this is to the cross-fitted heads of the offline
default (T-MARS, Maini et al., 2023): heads are fitted on pictures as they are and score them without
their text. A picture without text has its features copied, so the tower runs on lettered ones alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Columns, Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.resolve import TOWER_LIBRARIES, feature_width, image_side
from pairwright.components.models.text_in_pictures.text_mask import TextMask, TextMaskSettings
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder


class MaskedImageFeaturesSettings(TextMaskSettings):
    tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    features: str = Field("image_features.vector", description="column of the same tower's features, unmasked")


@scorer("masked_image_features")
class MaskedImageFeatures(Scorer[MaskedImageFeaturesSettings]):
    """Columns: `vector` float16 (tower's width), the unmasked one where there is no text; `lines` covered."""

    requires = Pixels(size=224) + Columns("boxes", "features")
    libraries = (
        *TOWER_LIBRARIES,
        "efficientnet-lite-pytorch",
        "rapidocr-onnxruntime",
        "opencv-python-headless",
    )
    runs_model = True

    @property
    def pixels(self) -> int:
        looked_at = self.settings.side if self.settings.boxes is None else 0
        return max(self.requires.pixels, looked_at, image_side(self.settings.tower))

    def schema(self) -> Mapping[str, pa.DataType]:
        return {"vector": pa.list_(pa.float16(), feature_width(self.settings.tower)), "lines": pa.int32()}

    def setup(self, device: str) -> None:
        from pairwright.components.models.towers.towers import load_image_tower

        self.tower = load_image_tower(self.settings.tower, device)
        self.mask = TextMask(self.settings)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        covered, boxes = self.mask(pairs)
        vectors = np.stack([np.asarray(v, np.float16) for v in pairs.columns[self.settings.features]])
        written = np.flatnonzero([len(found) > 0 for found in boxes])
        if len(written):
            vectors[written] = self.tower.features([covered[i] for i in written]).half().cpu().numpy()
        return {"vector": vectors, "lines": [len(found) for found in boxes]}
