"""CLIP's objective (Radford et al., 2021, figure 3): softmax contrastive loss over the joint batch."""

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


class ClipSettings(Settings):
    initial_scale: float = Field(1 / 0.07, gt=0, le=100, description="exp(t) before the first step")
    positives: Literal["pair", "group"] = Field(
        "pair", description="what a caption belongs to: its own picture, or every picture of its group"
    )


@objective("clip")
class Clip(Objective[ClipSettings]):
    """L = (CE(s I T', diag) + CE(s T I', diag)) / 2 on unit vectors, s = exp(t) <= 100.

    Over several ranks each holds its rows against everyone's columns; the mean over the ranks is the loss of one
    process on the joint batch (tests/unit/training).
    """

    @property
    def initial_log_scale(self) -> float:  # type: ignore[override]
        return math.log(self.settings.initial_scale)

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        from pairwright.components.models.contrastive import same_group, softmax_loss

        positive = same_group(batch["groups"], batch.own) if self.settings.positives == "group" else None
        each = softmax_loss(outputs["image"], outputs["text"], outputs["scale"], positive, batch.own)
        return {"loss": each.mean()}
