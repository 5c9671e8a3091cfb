"""Tower features as columns, so that training, scoring and six models cost one tower pass.

image_features: {uses: image_features, with: {tower: builtin:efficientnet-lite0}}
text_features:  {uses: text_features, with: {tower: builtin:minilm, source: alt}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from components.component import Captions, Pixels, Scorer
from components.models.resolve import feature_width
from components.registry import scorer
from components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from components.dataset.pairs import PairBatch


class ImageFeaturesSettings(Settings):
    tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")


class TextFeaturesSettings(Settings):
    tower: ModelFolder = ModelFolder(reference="builtin:minilm")
    source: str = Field("alt", description="which caption is encoded")


@scorer("image_features")
class ImageFeatures(Scorer[ImageFeaturesSettings]):
    """Columns: `vector` float16 (tower's width), null where the picture could not be decoded."""

    requires = Pixels(224)
    runs_model = True
    libraries = ("torch", "efficientnet-lite-pytorch")

    def schema(self) -> Mapping[str, pa.DataType]:
        return {"vector": pa.list_(pa.float16(), feature_width(self.settings.tower))}

    def setup(self, device: str) -> None:
        from components.models.towers import load_image_tower

        self.tower = load_image_tower(self.settings.tower, device)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        return {"vector": self.tower.features(pairs.squares(self.tower.side)).half().cpu().numpy()}


@scorer("text_features")
class TextFeatures(Scorer[TextFeaturesSettings]):
    """Columns: `vector` float16 (tower's width), null where there is no caption of this source."""

    requires = Captions("source")
    runs_model = True
    libraries = ("torch", "transformers", "tokenizers")

    def schema(self) -> Mapping[str, pa.DataType]:
        return {"vector": pa.list_(pa.float16(), feature_width(self.settings.tower))}

    def setup(self, device: str) -> None:
        from components.models.towers import load_text_tower

        self.tower = load_text_tower(self.settings.tower, device)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        texts = [text or "" for text in pairs.captions(self.settings.source)]
        return {"vector": self.tower.features(texts).half().cpu().numpy()}
