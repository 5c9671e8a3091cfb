"""One side of a whole dual encoder as a tower, so that its features are columns like any other's.

image_features: {uses: image_features, with: {tower: ./clip-vit-base-patch32}}
text_features:  {uses: text_features, with: {tower: ./clip-vit-base-patch32, source: alt}}

Of a CLIP or SigLIP they are the projected embeddings before their norm is taken, whose cosine is its
score; of a model of ours what its heads read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.resolve import feature_width
from pairwright.components.models.towers.tower import ImageTower, TextTower
from pairwright.components.settings import ModelFolder


def _refuse() -> dict[str, Any]:
    raise ModelError(
        "one side of a dual encoder cannot be saved as another model's tower; "
        "name the whole: `tower` to train it, `encoder` for a reward"
    )


class EncoderImages(ImageTower):
    """A dual encoder's pictures -> features, locked."""

    kind = "encoder-images"

    def __init__(self, encoder: DualEncoder, width: int) -> None:
        super().__init__()
        self.encoder, self.width, self.side = encoder, width, encoder.image_size
        self.crops = encoder.crops

    def features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        return self.encoder.image_features(images).float()

    def config(self) -> dict[str, Any]:
        return _refuse()


class EncoderTexts(TextTower):
    """A dual encoder's texts -> features, locked."""

    kind = "encoder-texts"

    def __init__(self, encoder: DualEncoder, width: int) -> None:
        super().__init__()
        self.encoder, self.width = encoder, width

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return self.encoder.tokens(texts)

    def features(self, texts: Sequence[str]) -> Tensor:
        return self.encoder.text_features(texts).float()

    def config(self) -> dict[str, Any]:
        return _refuse()


def encoder_images(model: ModelFolder, device: str) -> EncoderImages:
    """Raises:
    ModelError: the folder does not load as a dual encoder.
    """
    return EncoderImages(load_dual_encoder(model, device), feature_width(model, "image"))


def encoder_texts(model: ModelFolder, device: str) -> EncoderTexts:
    """Raises:
    ModelError: the folder does not load as a dual encoder.
    """
    return EncoderTexts(load_dual_encoder(model, device), feature_width(model, "text"))
