"""Class centres: directions that pictures of a class are drawn to while a model is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Centres(nn.Module):
    """(classes, dim), drawn by `seed`; calling it gives them at length 1."""

    def __init__(self, classes: int, dim: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.weight = nn.Parameter(torch.randn(classes, dim))

    def forward(self) -> Tensor:
        return F.normalize(self.weight, dim=-1)
