"""Bags: self-retrieval among pictures that look alike, more and more of them as the training goes (BagCurri).

    rewards: {uses: bag_retrieval, with: {model: "step:retriever", sizes: [2, 16], ramp: 0.5}}

Gaur et al., 2024, "No Detail Left Behind: Revisiting self-retrieval for fine-grained image captioning": other pictures
of a batch are told apart by any caption, so they ask for no detail; a bag is a picture and those most like it. Of as
many candidates as the batch has, b(t) are the picture's bag and the others are other pictures of the batch;

    b(t) = b_0 + (b_1 - b_0) min(t / ramp, 1), rounded,

so that the task never gets easier. A bag of 1 is `self_retrieval`. The schedule's form is ours: that bags grow harder
is the paper's, its numbers were not to be had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from pairwright.components.pretrain.caption_rewards.self_retrieval import Retrieval, RetrievalSettings, log_found
from pairwright.components.registry import reward

if TYPE_CHECKING:
    from torch import Tensor


class BagSettings(RetrievalSettings):
    sizes: tuple[int, int] = Field((2, 16), description="pictures of a bag, at the start and once the ramp is over")
    ramp: float = Field(0.5, gt=0, le=1, description="share of the training over which bags grow")

    @model_validator(mode="after")
    def _bags_grow(self) -> Self:
        first, last = self.sizes
        if not 1 <= first <= last:
            raise ValueError(f"sizes {list(self.sizes)}: bags have at least one picture, and never get smaller")
        return self


@reward("bag_retrieval")
class BagRetrieval(Retrieval[BagSettings]):
    """In nats, at most 0."""

    @property
    def mined(self) -> int:
        return self.settings.sizes[1] - 1

    def size(self, progress: float) -> int:
        """Pictures in a bag when this share of the training is done."""
        first, last = self.settings.sizes
        return first + round((last - first) * min(progress / self.settings.ramp, 1.0))

    def score(self, outputs: Mapping[str, Tensor], batch: Any, progress: float) -> Tensor:
        import torch

        n, near = len(batch.numbers), self.size(progress) - 1
        bag = {name: outputs[name][:, :near] for name in ("near", "number") if near}
        places = torch.arange(n, device=outputs["picture"].device)
        behind = (places[None] - places[:, None]) % n  # how far behind its own each picture of the batch stands
        return log_found(
            {"picture": outputs["picture"], "said": outputs["said"]} | bag,
            self.scale(),
            (behind > 0) & (behind < n - near),
            batch.numbers,
        )
