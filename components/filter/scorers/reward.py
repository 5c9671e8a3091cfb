"""Reward: how much people would prefer this caption of this picture, by a model fitted on their judgements.

    filter:
      fit:   {reward: {uses: reward, with: {preferences: [labels.judgements], accept: [human]}}}
      score: {judged: {uses: reward, with: {model: "step:reward", source: alt}}}
      keep:  {preferred: "judged.score >= quantile(judged.score, 0.9)"}

The referee of Compress & Align (Zhang et al., 2023). Scores compare across pictures and across sources, so
one scorer a source shows which of several captions is best. A pair that the model was fitted on is scored by
the judge that did not see it, whatever its key (components/models/reward.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Columns, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings


class RewardScoreSettings(Settings):
    model: ModelFolder = Field(
        description="what the fit `reward` made, e.g. step:reward or models:/pairwright-reward/1"
    )
    source: str = "alt"  # which caption is scored; a captioner step's name or a sidecar source
    image: str = "image_features.vector"  # of the image tower the model was fitted with
    hash: str | None = Field(
        None, description="column of PDQ hashes, by which a picture that was fitted on is known when it was re-encoded"
    )
    text: str | None = Field(None, description="column of its text tower's features of `source`, where they are cached")


@scorer("reward")
class RewardScore(Scorer[RewardScoreSettings]):
    """Columns: `score` float32, null where the picture has no features or the caption is absent."""

    requires = Columns("image", "text", "hash") + Captions("source")
    libraries = TOWER_LIBRARIES
    columns = {"score": pa.float32()}
    runs_model = True

    def setup(self, device: str) -> None:
        from pairwright.components.models.reward import load_reward

        self.model = load_reward(str(self.settings.model.path or self.settings.model.reference), device)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        wish = self.settings
        images = np.stack([np.asarray(vector, np.float32) for vector in pairs.columns[wish.image]])
        texts = [text or "" for text in pairs.captions(wish.source)]
        cached = None if wish.text is None else np.stack([np.asarray(v, np.float32) for v in pairs.columns[wish.text]])
        hashes = None if wish.hash is None else pairs.columns[wish.hash]
        return {"score": self.model.score(images, texts, hashes=hashes, text_features=cached)}
