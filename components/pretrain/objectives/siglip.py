"""SigLIP's objective (Zhai et al., 2023, equation 1): every pair of the joint batch judged alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

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

    initial_bias: ClassVar[float | None] = -10.0

    @property
    def initial_log_scale(self) -> float:
        return math.log(self.settings.initial_scale)

    def loss(
        self,
        image: Tensor,
        text: Tensor,
        *,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        positive: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """(b, d), (b, d) unit vectors -> {"loss"}; `positive` bool (b, world * b), the diagonal if None."""
        from pairwright.components.models.contrastive import sigmoid_loss

        assert logit_bias is not None, "a model trained with siglip has a bias"
        return {"loss": sigmoid_loss(image, text, logit_scale, logit_bias, positive).mean()}
