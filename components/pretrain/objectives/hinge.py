"""The hinge over every impostor of the batch (Harwath et al., 2016; Merkx & Frank, 2019, equation 3).

    L = 1/B^2 sum_ij, i != j, [m + s_ij - s_ii]+ + [m + s_ij - s_jj]+

s are cosines; a picture's impostors are the other texts, a text's the other pictures, all of them and not the hardest
alone. The divisor is of the authors' code: the whole matrix, whose diagonal is 0. There is no temperature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.component import Objective
from pairwright.components.registry import objective
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class HingeSettings(Settings):
    margin: float = Field(0.2, gt=0, le=2, description="m")


@objective("hinge")
class Hinge(Objective[HingeSettings]):
    """Each rank has its pictures against all texts, and its texts against all pictures."""

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        own = batch.own
        s = outputs["image"] @ outputs["text"].T
        matched = s.diagonal()[own, None]
        of_texts, of_pictures = ((self.settings.margin + one[own] - matched).clamp(min=0).sum() for one in (s, s.T))
        # A pair is no impostor of its own: there the bracket is m, exactly.
        summed = of_texts + of_pictures - 2 * self.settings.margin * len(matched)
        return {"loss": summed / (len(matched) * len(s))}
