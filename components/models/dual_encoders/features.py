"""Tower features as columns, so that training, scoring and six models cost one tower pass.

image_features: {uses: image_features, with: {tower: builtin:efficientnet-lite0}}
text_features:  {uses: text_features, with: {tower: builtin:minilm, source: alt}}

With `precision: int8` a tower runs in integers on a CPU, over four times as fast as by torch, and gives other numbers:
how near is in the columns' record, and a model trained on them should be asked with them. `precision: bfloat16` is for
GPUs, and `compile: true` beside it; on a CPU it works and seldom pays.

`tower` may be a dual encoder's folder, too (a public CLIP or SigLIP, a model of ours): then the side meant is read.

The columns' record names the tower and its weights, so that what is taught on them can be shown a new picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from pairwright.components.component import Captions, Pixels, Scorer
from pairwright.components.models.resolve import TOWER_LIBRARIES, feature_width, image_side, resolve_model
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.pairs import PairBatch


class ImageFeaturesSettings(Settings):
    tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    precision: Literal["float32", "bfloat16", "int8"] = Field(
        "float32", description="bfloat16 for GPUs; int8 needs `calibration`, and a CPU"
    )
    compile: bool = Field(False, description="torch.compile of a bfloat16 tower, where it works; where not, it is said")
    calibration: Path | None = Field(None, description="folder of a dataset whose pictures give int8 its ranges")

    @field_validator("calibration")
    @classmethod
    def _anywhere(cls, folder: Path | None) -> Path | None:
        return folder and folder.resolve()  # workers have other folders of their own

    @model_validator(mode="after")
    def _both_or_none(self) -> ImageFeaturesSettings:
        if (self.precision == "int8") != (self.calibration is not None):
            raise ValueError("`precision: int8` and `calibration` go together; give both or neither")
        if self.compile and self.precision != "bfloat16":
            raise ValueError("`compile` is of a tower in bfloat16; give `precision: bfloat16` or leave it out")
        return self


class TextFeaturesSettings(Settings):
    tower: ModelFolder = ModelFolder(reference="builtin:minilm")
    source: str = Field("alt", description="which caption is encoded")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 for GPUs")
    compile: bool = Field(False, description="torch.compile of a bfloat16 tower, where it works; where not, it is said")

    @model_validator(mode="after")
    def _compiled_in_bfloat16(self) -> TextFeaturesSettings:
        if self.compile and self.precision != "bfloat16":
            raise ValueError("`compile` is of a tower in bfloat16; give `precision: bfloat16` or leave it out")
        return self


@scorer("image_features")
class ImageFeatures(Scorer[ImageFeaturesSettings]):
    """Columns: `vector` float16 (tower's width), null where the picture could not be decoded."""

    requires = Pixels(224)
    runs_model = True
    libraries = (*TOWER_LIBRARIES, "efficientnet-lite-pytorch")

    @property
    def pixels(self) -> int:
        return max(self.requires.pixels, image_side(self.settings.tower))

    def schema(self) -> Mapping[str, pa.DataType]:
        return {"vector": pa.list_(pa.float16(), feature_width(self.settings.tower))}

    def setup(self, device: str) -> None:
        from pairwright.components.models.towers.towers import load_image_tower

        self.tower = load_image_tower(self.settings.tower, device)
        self.made_by = made_of = _tower_of(self.settings.tower, "image")
        if self.settings.calibration is not None:
            from pairwright.components.models.towers.int8_tower import int8_tower

            self.tower = int8_tower(self.tower, str(self.settings.calibration))
            self.made_by = {**made_of, "precision": "int8", **self.tower.facts}
        elif self.settings.precision == "bfloat16":
            from pairwright.components.models.towers.bfloat16_tower import Bfloat16Images

            self.tower = Bfloat16Images(self.tower, self.settings.compile)
            self.tower.halves.facts |= made_of  # more is noted there once it ran
            self.made_by = self.tower.facts

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        return {"vector": self.tower.features(self.tower.pictures(pairs)).half().cpu().numpy()}


@scorer("text_features")
class TextFeatures(Scorer[TextFeaturesSettings]):
    """Columns: `vector` float16 (tower's width), null where there is no caption of this source."""

    requires = Captions("source")
    runs_model = True
    libraries = (*TOWER_LIBRARIES, "tokenizers")

    def schema(self) -> Mapping[str, pa.DataType]:
        return {"vector": pa.list_(pa.float16(), feature_width(self.settings.tower, "text"))}

    def setup(self, device: str) -> None:
        from pairwright.components.models.towers.towers import load_text_tower

        self.tower = load_text_tower(self.settings.tower, device)
        self.made_by = made_of = _tower_of(self.settings.tower, "text")
        if self.settings.precision == "bfloat16":
            from pairwright.components.models.towers.bfloat16_tower import Bfloat16Texts

            self.tower = Bfloat16Texts(self.tower, self.settings.compile)
            self.tower.halves.facts |= made_of
            self.made_by = self.tower.facts

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        texts = [text or "" for text in pairs.captions(self.settings.source)]
        return {"vector": self.tower.features(texts).half().cpu().numpy()}


def _tower_of(tower: ModelFolder, side: str) -> dict[str, Any]:
    found = tower if tower.resolved else resolve_model(tower.reference)
    return {"tower": found.reference, "tower_weights": found.weights, "tower_side": side}
