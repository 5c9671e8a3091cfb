"""SigLIP's objective (Zhai et al., 2023, equation 1): every pair of the joint batch judged alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from pairwright.components.pretrain.targets import Contrastive, TargetSettings
from pairwright.components.registry import objective

if TYPE_CHECKING:
    from torch import Tensor


class SigLipSettings(TargetSettings):
    initial_scale: float = Field(10.0, gt=0, le=100, description="exp(t') before the first step; the paper's 10")

    @model_validator(mode="after")
    def _judged_one_by_one(self) -> Self:
        if self.smoothing or self.soft is not None:
            raise ValueError("smoothing and soft targets are a softmax's; siglip judges every pair alone")
        return self


@objective("siglip")
class SigLip(Contrastive[SigLipSettings]):
    """L = -1/b sum_i sum_j log sigmoid(z_ij (t <x_i, y_j> + b)), z = 1 on positives, -1 elsewhere.

    t = exp(t'), t' = log 10 and b = -10 at the start, so that the many negatives of the first step
    cost next to nothing.
    """

    initial_bias = -10.0

    @property
    def initial_log_scale(self) -> float:  # type: ignore[override]
        return math.log(self.settings.initial_scale)

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        from pairwright.components.models.dual_encoders.contrastive import sigmoid_loss

        each = sigmoid_loss(
            outputs["image"],
            outputs["text"],
            outputs["scale"],
            outputs["bias"],
            self.targets(outputs, batch),
            batch.own,
            self.wrong(outputs, batch),
        )
        return {"loss": self.mean(each, batch)}
