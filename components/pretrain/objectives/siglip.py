"""SigLIP's objective (Zhai et al., 2023, equation 1): every pair of the joint batch judged alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pairwright.components.component import Objective
from pairwright.components.registry import objective
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class SigLipSettings(Settings):
    initial_scale: float = Field(10.0, gt=0, le=100, description="exp(t') before the first step; the paper's 10")
    positives: Literal["pair", "group"] = Field(
        "pair", description="what a caption belongs to: its own picture, or every picture of its group"
    )


@objective("siglip")
class SigLip(Objective[SigLipSettings]):
    """L = -1/b sum_i sum_j log sigmoid(z_ij (t <x_i, y_j> + b)), z = 1 on positives, -1 elsewhere.

    t = exp(t'), t' = log 10 and b = -10 at the start, so that the many negatives of the first step
    cost next to nothing.
    """

    initial_bias = -10.0

    @property
    def initial_log_scale(self) -> float:  # type: ignore[override]
        return math.log(self.settings.initial_scale)

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        from pairwright.components.models.contrastive import same_group, sigmoid_loss

        positive = same_group(batch["groups"], batch.own) if self.settings.positives == "group" else None
        each = sigmoid_loss(outputs["image"], outputs["text"], outputs["scale"], outputs["bias"], positive, batch.own)
        return {"loss": each.mean()}
