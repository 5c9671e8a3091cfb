"""Image classifier: aesthetics, safety, or any other judgement a classifier folder of `transformers` makes.

    score: {safety: {uses: image_classifier, with: {model: ./nsfw-classifier, label: normal}}}
    keep:  {safe: "safety.score >= 0.9"}

`label` names the class whose probability is the score: the good one, so that higher is better. A model
that regresses (an aesthetics predictor) needs none: its number is the score. LAION's aesthetic and NSFW
filters (Schuhmann et al., 2022) are of this kind; which folder is worth trusting the recipe decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Pixels, Scorer, batches
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe, ModelError, nearest
from pairwright.components.models.classifier import load_classifier
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings


class ImageClassifierSettings(Settings):
    model: ModelFolder
    label: str | None = Field(None, description="the class whose probability is `score`; not of a regression")
    size: int = Field(224, ge=16, le=1024, description="shortest side pictures are decoded at, in pixels")
    batch_size: int = Field(32, ge=1)


@scorer("image_classifier")
class ImageClassifier(Scorer[ImageClassifierSettings]):
    """Columns are null where the picture does not decode.

    Columns:
        label: the likeliest class; null of a regression.
        probability: of that class, 0..1; null of a regression.
        score: probability of `label`, 0..1, or the regression's value; without `label` that of the likeliest.
    """

    requires = Pixels(size=224)
    libraries = ("torch", "transformers")
    runs_model = True
    columns = {"label": pa.string(), "probability": pa.float32(), "score": pa.float32()}

    @property
    def pixels(self) -> int:
        return self.settings.size

    def setup(self, device: str) -> None:
        folder = self.settings.model.path
        if folder is None:
            raise ModelError(f"{self.settings.model.reference} is not resolved to a folder; run it through a recipe")
        self.model = load_classifier(folder, device)
        wanted, known = self.settings.label, self.model.labels
        if wanted is not None and self.model.regresses:
            raise InvalidRecipe(f'image_classifier: {folder} regresses one number; leave out label "{wanted}"')
        if wanted is not None and wanted not in known:
            raise InvalidRecipe(f'image_classifier: {folder} has no label "{wanted}"{nearest(wanted, known)}')

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        images = [image for image in pairs.images if image is not None]
        parts = [self.model.probabilities(batch) for batch in batches(images, self.settings.batch_size)]
        found = np.concatenate(parts) if parts else np.zeros((0, len(self.model.labels)), np.float32)
        if self.model.regresses:
            nothing = [None] * len(found)
            return {"label": nothing, "probability": nothing, "score": found[:, 0]}
        best = found.argmax(axis=1)
        top = found[np.arange(len(found)), best]
        wanted = self.settings.label
        return {
            "label": [self.model.labels[number] for number in best],
            "probability": top,
            "score": top if wanted is None else found[:, self.model.labels.index(wanted)],
        }
