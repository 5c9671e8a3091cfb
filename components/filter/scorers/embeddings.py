"""Embeddings: pictures, or captions, as vectors of one dual encoder's shared space.

    fit:   {space: {uses: dual_encoder, with: {dim: 256}}}
    score: {pictures: {uses: image_embedding, with: {model: "step:space", features: image_features.vector}},
            captions: {uses: text_embedding, with: {model: "step:space", features: text_features.vector}}}

Unit vectors whose product is the model's cosine: what captioners that are trained on text alone take either of. With
`features` (columns of the same towers) nothing is decoded and no tower runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Columns, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.models.resolve import TOWER_LIBRARIES, image_side
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from torch import Tensor


class EmbeddingSettings(Settings):
    model: ModelFolder = Field(description="dual encoder whose space it is")
    width: int = Field(256, ge=2, description="numbers of `vector`: the width of the model's space (its `dim`)")
    features: str | None = Field(
        None, description="step.column of what its tower makes of the same; if none, the tower runs"
    )


class TextEmbeddingSettings(EmbeddingSettings):
    source: str = Field("alt", description="which caption is embedded")


S = TypeVar("S", bound=EmbeddingSettings)


class Embedding(Scorer[S], Generic[S]):
    """Column `vector`, float16 (width), a unit vector; null where there is nothing to embed."""

    libraries = TOWER_LIBRARIES
    runs_model = True

    def schema(self) -> Mapping[str, pa.DataType]:
        return {"vector": pa.list_(pa.float16(), self.settings.width)}

    def setup(self, device: str) -> None:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        self.model = load_dual_encoder(self.settings.model, device)
        if self.model.dim != self.settings.width:
            raise ModelError(
                f"{self.settings.model.reference} is a space of {self.model.dim} numbers, width says "
                f"{self.settings.width}; set width: {self.model.dim}"
            )

    def vectors(self, pairs: PairBatch) -> Tensor:
        """(n, width) by the tower."""
        raise NotImplementedError

    def of_features(self, features: np.ndarray) -> Tensor:
        """(n, tower's width) -> (n, width)."""
        raise NotImplementedError

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        column = self.settings.features
        if column is None:
            return {"vector": self.vectors(pairs).half().cpu().numpy()}
        return {"vector": self.of_features(np.asarray(pairs.columns[column], np.float32)).half().cpu().numpy()}


@scorer("image_embedding")
class ImageEmbedding(Embedding[EmbeddingSettings]):
    """Of the picture."""

    requires = Columns("features")

    @property
    def pixels(self) -> int:
        return 0 if self.settings.features is not None else image_side(self.settings.model)

    def vectors(self, pairs: PairBatch) -> Tensor:
        return self.model.encode_image([image for image in pairs.images if image is not None])

    def of_features(self, features: np.ndarray) -> Tensor:
        return self.model.encode_image_features(features)


@scorer("text_embedding")
class TextEmbedding(Embedding[TextEmbeddingSettings]):
    """Of the caption; its picture is not looked at."""

    requires = Columns("features") + Captions("source")

    def vectors(self, pairs: PairBatch) -> Tensor:
        return self.model.encode_text([text or "" for text in pairs.captions(self.settings.source)])

    def of_features(self, features: np.ndarray) -> Tensor:
        return self.model.encode_text_features(features)
