"""Codebook captioner: what the codes of a picture say, by the decoder that was fitted with them (TL;DR).

    recaption: {generated: {uses: codebook_captioner, with: {model: "step:codebook"}}}

Greedy decoding from the codes alone. It writes as the population's captions do, so its captions are for
`complement`, not to replace good ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from pairwright.components.component import Caption, Captioner, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import captioner
from pairwright.components.settings import ModelFolder, Settings


class CodebookCaptionerSettings(Settings):
    model: ModelFolder
    features: str = Field("image_features.vector", description="step.column the codebook was fitted on")
    lang: str = Field("en", description="language of the captions it was fitted on, BCP 47")


@captioner("codebook_captioner")
class CodebookCaptioner(Captioner[CodebookCaptionerSettings]):
    """Caption in lower case without punctuation; None where the model has nothing to say."""

    requires = Columns("features")
    libraries = ("torch",)
    runs_model = True

    def setup(self, device: str) -> None:
        from pairwright.components.models.codebook import load_codebook

        assert self.settings.model.path is not None
        self.model, self.device = load_codebook(self.settings.model.path, device), device

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        import torch

        features = torch.from_numpy(np.asarray(pairs.columns[self.settings.features], np.float32)).to(self.device)
        return [Caption(text, lang=self.settings.lang) if text else None for text in self.model.generate(features)]
