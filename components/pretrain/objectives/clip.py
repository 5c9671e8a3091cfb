"""CLIP's objective (Radford et al., 2021, figure 3): softmax contrastive loss over the joint batch.

With `positives: pair.label.NAME` it is UniCL's (Yang et al., 2022): pictures and texts of one label are each other's
answers, and a pair without the label has its own alone.
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


class ClipSettings(TargetSettings):
    initial_scale: float = Field(1 / 0.07, gt=0, le=100, description="exp(t) before the first step")


@objective("clip")
class Clip(Contrastive[ClipSettings]):
    """L = (CE(s I T', q) + CE(s T I', q)) / 2 on unit vectors, s = exp(t) <= 100; plainly q is the diagonal.

    Over several ranks each holds its rows against everyone's columns; the mean over the ranks is the loss of one
    process on the joint batch (tests/unit/training).
    """

    @property
    def initial_log_scale(self) -> float:  # type: ignore[override]
        return math.log(self.settings.initial_scale)

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        return {"loss": self.softmax(outputs, batch)}
