"""ALIGN's objective (Jia et al., 2021, equations 1 and 2): the normalised softmax of both directions, summed.

    pretrain: {with: {objective: align}}

    L = L_i2t + L_t2i, each a mean over the batch, targets smoothed by 0.1, temperature learnt from 1.0

So at smoothing 0 it is twice CLIP's, whose options it shares. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.pretrain.targets import Contrastive, TargetSettings
from pairwright.components.registry import objective

if TYPE_CHECKING:
    from torch import Tensor


class AlignSettings(TargetSettings):
    smoothing: float = Field(0.1, ge=0, lt=1, description="share of each target that is spread over all answers")
    initial_scale: float = Field(1.0, gt=0, le=100, description="1 / temperature before the first step")


@objective("align")
class Align(Contrastive[AlignSettings]):
    @property
    def initial_log_scale(self) -> float:  # type: ignore[override]
        return math.log(self.settings.initial_scale)

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        return {"loss": 2 * self.softmax(outputs, batch)}
