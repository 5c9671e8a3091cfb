"""Codebook codes: which codes of a fitted codebook a picture's features take (TL;DR, stage 1).

    score: {codes: {uses: codebook_codes, with: {model: "step:codebook", features: image_features.vector}}}

`vector` is the codes' own vectors end to end: pictures of the same codes are the same point, so `clusters`
over it clusters by codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Columns, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings


class CodebookCodesSettings(Settings):
    model: ModelFolder
    features: str = Field("image_features.vector", description="step.column the codebook was fitted on")
    width: int = Field(256, ge=1, description="numbers of `vector`: the codebook's positions times its code_width")


@scorer("codebook_codes")
class CodebookCodes(Scorer[CodebookCodesSettings]):
    """Columns; null without features.

    Columns:
        codes: code numbers, one a position.
        vector: the codes' vectors, end to end.
        error: mean squared distance from the encoder's output to its codes; high for what the codebook lacks.
    """

    requires = Columns("features")
    libraries = ("torch",)
    runs_model = True

    def schema(self) -> Mapping[str, pa.DataType]:
        vector = pa.list_(pa.float16(), self.settings.width)
        return {"codes": pa.list_(pa.int32()), "vector": vector, "error": pa.float32()}

    def setup(self, device: str) -> None:
        from pairwright.components.models.codebook import load_codebook

        assert self.settings.model.path is not None
        self.model, self.device = load_codebook(self.settings.model.path, device), device
        made = self.model.shape.positions * self.model.shape.code_width
        if made != self.settings.width:
            raise ModelError(
                f"{self.settings.model.reference} gives vectors of {made} numbers, width says {self.settings.width}; "
                f"set width: {made}"
            )

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        import torch

        features = torch.from_numpy(np.asarray(pairs.columns[self.settings.features], np.float32)).to(self.device)
        codes, vectors, error = self.model.encode(features)
        return {"codes": codes.cpu().tolist(), "vector": vectors.half(), "error": error}
