"""Prefix captioner: what a captioner of the recipe's own says of each picture, at the level asked for (NoC).

    recaption: {told: {uses: prefix_captioner, with: {model: "step:captioner", level: top}}}

Greedy decoding. `top` asks for captions as those of the best aligned pairs; `none` says nothing of alignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pairwright.components.component import Caption, Captioner, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.registry import captioner
from pairwright.components.settings import ModelFolder, Settings


class PrefixCaptionerSettings(Settings):
    model: ModelFolder
    features: str = Field("image_features.vector", description="step.column the captioner was trained on")
    level: Annotated[int, Field(ge=1)] | Literal["top", "none"] = Field(
        "top", description="how well captions should fit, as its training's control said: a level, the highest, or none"
    )
    lang: str = Field("en", description="language of the captions it was trained on, BCP 47")


@captioner("prefix_captioner")
class PrefixCaptions(Captioner[PrefixCaptionerSettings]):
    """Caption in lower case without punctuation; None where the model has nothing to say."""

    requires = Columns("features")
    libraries = ("torch",)
    runs_model = True

    def setup(self, device: str) -> None:
        """Raises InvalidRecipe where the model was trained without that level."""
        from pairwright.components.models.prefix_captioner import load_prefix_captioner

        assert self.settings.model.path is not None
        self.model, self.device = load_prefix_captioner(self.settings.model.path, device), device
        known, wish = self.model.shape.levels, self.settings.level
        if wish != "none" and (not known or (wish != "top" and wish > known)):
            has = f"levels 1 to {known}" if known else "no levels; say level: none"
            raise InvalidRecipe(
                f"prefix_captioner: level {wish} is asked for, {self.settings.model.reference} has {has}"
            )
        self.level = None if wish == "none" else known if wish == "top" else wish

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        import torch

        if not len(pairs):
            return []
        features = torch.from_numpy(np.asarray(pairs.columns[self.settings.features], np.float32)).to(self.device)
        texts = self.model.generate(features, self.level)
        return [Caption(text, lang=self.settings.lang) if text else None for text in texts]
