"""Text captioner: a captioner that is trained on captions alone, and afterwards shown pictures.

    fit:
      captioner: {uses: text_captioner, with: {features: captions.vector, source: alt, noise: 0.12}}
    recaption:
      said: {uses: prefix_captioner, with: {model: "step:captioner", features: pictures.vector, level: none}}

Where pictures and texts share a space, what a decoder learnt to say of a caption's vector it says of a picture's (and
of a clip's, and of a sound's): no weight changes. `captions.vector` and `pictures.vector` are columns of one dual
encoder's space (`text_embedding`, `image_embedding`). The two lie apart: see modality_gap.py for `noise` and `adapter`.
CLOSE (Gu, Clark and Kembhavi, 2023) has w = 0.12 of single captions, 0.04 of several and of questions (`prompt` is the
question, `source` the answer, `features` the caption's vector), 0.08 of entailment (`prompt` is the hypothesis).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import InvalidRecipe
from pairwright.components.pretrain.captioner import CaptionerSettings, Captioning, measure, spread
from pairwright.components.pretrain.modality_gap import Adapter, Kind, noised
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.captioner.captioner import Captioner


class TextCaptionerSettings(CaptionerSettings):
    features: str = Field("captions.vector", description="step.column of captions' unit vectors in the shared space")
    noise: float = Field(0.12, ge=0, description="w: standard deviation, a number of the vector, of what training adds")
    adapter: Kind = Field("none", description="what moves captions' vectors to where pictures' are")
    paired: str | None = Field(None, description="step.column of pictures' unit vectors, for an adapter alone")
    pairs: int = Field(1024, ge=2, description="pairs an adapter is fitted on, at most, evenly over the data")
    covariance_scale: float = Field(3.0, ge=0, description="s of `adapter: covariance`")

    @model_validator(mode="after")
    def _an_adapter_has_pairs(self) -> Self:
        if (self.adapter == "none") != (self.paired is None):
            raise ValueError("`adapter` (mean, linear or covariance) and `paired` go together; give both or neither")
        return self


@task("text_captioner")
class TextCaptioner(Captioning[TextCaptionerSettings]):
    """Writes what the task `captioner` writes; `nats_per_word` is of captions' own vectors, moved and without noise."""

    requires = Columns("features", "control", "box", "paired") + Captions("source", "prompt")
    adapter: Adapter | None = None

    def reads(self) -> Reads:
        paired = self.settings.paired
        return super().reads() + Reads(columns=(paired,), optional=frozenset({paired})) if paired else super().reads()

    def build(self) -> Captioner:
        self.adapter = self.fitted()
        return super().build()

    def fitted(self) -> Adapter | None:
        """The adapter, of those of the examples that have a picture; the same after every stop.

        Raises:
            InvalidRecipe: fewer than two of them have one.
        """
        import torch

        wish = self.settings
        if wish.paired is None:
            return None
        texts, images = [], []
        for examples in spread(self.population, wish.pairs):
            known = examples.known(wish.paired) & ~np.isnan(examples.column(wish.paired)).any(1)
            texts.append(np.asarray(examples.column(wish.features), np.float32)[known])
            images.append(np.asarray(examples.column(wish.paired), np.float32)[known])
        text, image = (torch.from_numpy(np.concatenate(some)) for some in (texts, images))
        if len(text) < 2 or text.shape[1] != image.shape[1]:
            raise InvalidRecipe(
                f"text_captioner: adapter: {wish.adapter} is fitted on pairs with {wish.features} and {wish.paired} in "
                f"one space; {len(text)} have both, of {text.shape[1]} and {image.shape[1]} numbers"
            )
        return Adapter(wish.adapter, text, image, wish.covariance_scale)

    def shown(self, text: Tensor, training: bool = False) -> Tensor:
        """Captions' vectors as the decoder sees them, (n, d)."""
        moved = text if self.adapter is None else self.adapter(text, training)
        return noised(moved, self.settings.noise) if training else moved

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return super().encode(batch.beside(image=self.shown(batch["image"], training=True)))

    def measured(self) -> dict[str, float]:
        return measure(self.model, self.population, self.settings, self.shown)
