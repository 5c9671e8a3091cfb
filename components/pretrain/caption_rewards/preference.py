"""Preference: what people are said to prefer, by the reward model that the fit `reward` made.

    rewards: {uses: preference, with: {model: "step:reward"}}

The model is of Compress & Align's kind (components/models/reward.py): it judges each pair of a picture and a caption,
those it was fitted on by heads that saw neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Reward
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.registry import reward
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.models.reward import RewardModel


class PreferenceSettings(Settings):
    model: ModelFolder = Field(description="folder of the fit `reward`, which stays as it is")
    features: str = Field("image_features.vector", description="step.column of features it was fitted on")


@reward("preference")
class Preference(Reward[PreferenceSettings]):
    """Of any sign, comparable between captions of one picture."""

    libraries = TOWER_LIBRARIES
    judge: RewardModel

    def reads(self) -> Reads:
        return Reads(columns=(self.settings.features,))

    def modules(self) -> nn.Module | None:
        from pairwright.components.models.reward import load_reward

        self.judge = load_reward(str(self.settings.model.path), str(self.device))
        return self.judge

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        return {"features": torch.from_numpy(np.asarray(examples.column(self.settings.features), np.float32))}

    def encode(self, batch: Any, captions: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        count = len(captions[0])
        images = batch["features"].repeat_interleave(count, dim=0)
        found = self.judge.score(images, [text for row in captions for text in row])
        return {"each": found.view(len(captions), count).to(images.device)}
