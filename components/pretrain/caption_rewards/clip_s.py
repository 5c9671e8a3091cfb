"""CLIP-S: how well a caption fits its picture, by a frozen dual encoder.

    rewards: {uses: clip_s, weight: 2, with: {model: "step:retriever"}}

r = 2.5 max(cos(c, v), 0), the caption said after "A photo depicts" (Hessel et al., 2021), as CLIP Reward has it (Cho et
al., 2022). Alone it is hacked: repeating what the picture shows raises the cosine, so it stands beside `grammar`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.pretrain.caption_rewards.retriever import RetrieverReward, RetrieverSettings
from pairwright.components.registry import reward

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 2.5


class ClipSSettings(RetrieverSettings):
    prefix: str = Field("A photo depicts", description="what a caption is said after, to the text tower")


@reward("clip_s")
class ClipS(RetrieverReward[ClipSSettings]):
    """From 0 to 2.5."""

    def encode(self, batch: Any, captions: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        import torch

        cosines = torch.einsum("nd,ncd->nc", self.pictures(batch["features"]), self.captions(captions))
        return {"each": SCALE * cosines.clamp(min=0)}
