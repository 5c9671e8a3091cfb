"""Alignment: how well a caption fits its picture, by a dual encoder.

    pairwright score data/raw alignment --set model=models:/quickstart@champion

CLIPScore (Hessel et al., 2021) without its 2.5x rescaling: the cosine in [-1, 1], so thresholds
read as cosines everywhere in this project. The model must not have seen the pairs it judges: name
a public one, or use `crossfit_alignment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pairwright.components.component import Captions, Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.resolve import TOWER_LIBRARIES, image_side
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings


class AlignmentSettings(Settings):
    model: ModelFolder  # resolved by the flow: a folder and its weights' hash
    source: str = "alt"  # which caption is scored


@scorer("alignment")
class Alignment(Scorer[AlignmentSettings]):
    """Columns: `score` float32, null where the picture does not decode or the caption is absent."""

    requires = Pixels(size=224) + Captions("source")
    runs_model = True
    libraries = TOWER_LIBRARIES
    columns = {"score": pa.float32()}

    @property
    def pixels(self) -> int:
        return max(self.requires.pixels, image_side(self.settings.model))

    def setup(self, device: str) -> None:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        self.model = load_dual_encoder(self.settings.model, device)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        images = self.model.encode_image([i for i in pairs.images if i is not None])  # (n, d), unit norm
        texts = self.model.encode_text([text or "" for text in pairs.captions(self.settings.source)])
        return {"score": (images * texts).sum(-1)}
