"""The combiner of Baldrati et al. (2022) that GeneCIS trains (Vaze et al., 2023): a learnt sum of picture and text.

    query = normalise(W [p_t; p_v] + s t + (1 - s) v),   s = sigmoid(...) of both

v, t are unit vectors of one space; p their projections. With W = 0 and s = 1/2 the query is their sum.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.composed.net import ComposedNet
from pairwright.components.models.dual_encoders.heads import INITIAL_SCALE, Projection


class Combiner(ComposedNet):
    """A head over a dual encoder's two projections, which a dual encoder's weights may start (`init`)."""

    kind = "combiner"

    def __init__(self, image_width: int, text_width: int, *, dim: int, hidden: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.dim, self.hidden, self.dropout = dim, hidden, dropout
        self.image_projection, self.text_projection = Projection(image_width, dim), Projection(text_width, dim)
        self.image_part = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.text_part = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        wide = 2 * hidden
        self.mix = nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Dropout(dropout), _silent(wide, dim))
        self.share = nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Dropout(dropout), _silent(wide, 1))
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    def config(self) -> dict[str, Any]:
        return {"dim": self.dim, "hidden": self.hidden, "dropout": self.dropout}

    def image_query(self, image: Tensor) -> Tensor:
        found: Tensor = self.image_projection(image)
        return found

    def text_query(self, text: Tensor) -> Tensor:
        found: Tensor = self.text_projection(text)
        return found

    def query(self, image: Tensor, text: Tensor) -> Tensor:
        v, t = self.image_projection(image), self.text_projection(text)
        both = torch.cat([self.text_part(t), self.image_part(v)], dim=1)
        s = torch.sigmoid(self.share(both))
        return F.normalize(self.mix(both) + s * t + (1 - s) * v, dim=-1)

    def target(self, image: Tensor) -> Tensor:
        found: Tensor = self.image_projection(image)
        return found[:, None]


def _silent(width: int, dim: int) -> nn.Linear:
    """A last layer that says 0 at first, so that training starts from the sum."""
    layer = nn.Linear(width, dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
