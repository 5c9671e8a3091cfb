"""Deep Boosting Learning (Diao et al., 2024): a target branch must beat its anchor by a margin, pair by pair.

    pretrain: {with: {objective: {uses: dbl, with: {anchor: ema, boost: absolute}}}}

t are the target branch's cosines, a the anchor's, + a pair's own, - another's; [x]+ = max(0, x), m the margin.

    absolute:  2 sum_i [g m + a+ - t+]+ + sum_i max_j [(1 - g) m + t- - a-]+, both ways
    relative:  sum_i max_j [m + (a+ - a-) - (t+ - t-)]+, both ways
    triplet:   sum_i max_j [m + t- - t+]+, both ways (Faghri et al., 2018)

The anchor has no gradient: an average of the target (`ema`), the weights training started from (`frozen`), or a
branch of its own that learns from the triplet alone (`branch`). Sums are divided by the batch. Equations as in
the authors' code (github.com/Paranioar/DBL); mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pairwright.components.component import Objective
from pairwright.components.registry import objective
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn


class DblSettings(Settings):
    anchor: Literal["ema", "frozen", "branch"] = "ema"
    boost: Literal["absolute", "relative"] = "absolute"
    weight: float = Field(1.0, ge=0, description="of the boost beside the triplet loss")
    margin: float = Field(0.2, gt=0, description="m")
    share: float = Field(0.5, ge=0, le=1, description="g, the part of the margin that matched pairs get")
    decay: float = Field(0.9995, ge=0, lt=1, description="of the average at first; it rises to 1 as a cosine")


@objective("dbl")
class Dbl(Objective[DblSettings]):
    """`loss` = triplet + weight * boost; with `branch` also the anchor's own triplet."""

    def modules(self) -> nn.Module | None:
        from pairwright.components.pretrain.branch import Branch

        self.anchor = Branch(self.towers, trained=self.settings.anchor == "branch")
        return self.anchor

    @property
    def moving(self) -> tuple[str, ...]:  # type: ignore[override]
        return () if self.settings.anchor == "branch" else ("",)

    def after_start(self) -> None:
        self.anchor.follow(0.0)  # training starts from these weights, and so does the anchor

    def encode(self, batch: Any) -> dict[str, Tensor]:
        image, text = self.anchor(batch["image"], batch["text"])
        return {"anchor_image": image, "anchor_text": text}

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        m = self.settings.margin
        t = outputs["image"] @ outputs["text"].T
        a = outputs["anchor_image"] @ outputs["anchor_text"].T
        named = {"triplet": triplet(t, m) / len(t), "boost": self.boost(t, a.detach()) / len(t)}
        named["loss"] = named["triplet"] + self.settings.weight * named["boost"]
        if self.settings.anchor == "branch":
            named["anchor"] = triplet(a, m) / len(a)
            named["loss"] = named["loss"] + named["anchor"]
        return named

    def boost(self, t: Tensor, a: Tensor) -> Tensor:
        """(n, n) cosines of target and anchor -> the boosting loss, summed over the batch."""
        m, g = self.settings.margin, self.settings.share
        if self.settings.boost == "relative":
            gap = (a - t).diagonal()[:, None]  # of each pair
            return hardest(m + gap - (a - t)) + hardest(m + gap - (a - t).T)
        own = (g * m + a.diagonal() - t.diagonal()).clamp(min=0).sum()
        return 2 * own + hardest((1 - g) * m + t - a) + hardest(((1 - g) * m + t - a).T)

    def after_step(self, seen: Any) -> None:
        if self.settings.anchor == "ema":
            done = min(1.0, seen.step / max(1, seen.steps))
            rest = (1 - self.settings.decay) * (math.cos(math.pi * done) + 1) / 2
            self.anchor.follow(1 - rest)


def hardest(violations: Tensor) -> Tensor:
    """The largest [violation]+ of each row beside its own pair, summed: (n, n) -> scalar."""
    import torch

    own = torch.eye(len(violations), dtype=torch.bool, device=violations.device)
    return violations.masked_fill(own, -math.inf).amax(1).clamp(min=0).sum()


def triplet(t: Tensor, margin: float) -> Tensor:
    """The max-violation hinge of both directions, summed."""
    own = t.diagonal()[:, None]
    return hardest(margin + t - own) + hardest(margin + t.T - own)
