"""CLIP's objective (Radford et al., 2021, figure 3): softmax contrastive loss over the joint batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pairwright.components.component import Objective
from pairwright.components.registry import objective
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class ClipSettings(Settings):
    initial_scale: float = Field(1 / 0.07, gt=0, le=100, description="exp(t) before the first step")
    positives: Literal["pair", "group"] = Field(
        "pair", description="what a caption belongs to: its own picture, or every picture of its group"
    )


@objective("clip")
class Clip(Objective[ClipSettings]):
    """L = (CE(s I T', diag) + CE(s T I', diag)) / 2 on unit vectors, s = exp(t) <= 100.

    Over several ranks each holds its rows against everyone's columns, gathered with gradient; the
    mean over the ranks is the loss of one process on the joint batch (tests/unit/pretrain).
    """

    initial_bias: ClassVar[float | None] = None

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
        from pairwright.components.models.contrastive import softmax_loss

        return {"loss": softmax_loss(image, text, logit_scale, positive).mean()}
