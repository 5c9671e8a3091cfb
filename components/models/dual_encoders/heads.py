"""Projection heads: features of two locked towers into one space.

The same `Projection` stands in every dual encoder we train; `fit_heads` (components/training/heads.py) trains a
pair of them in seconds on cached features.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.dual_encoders.contrastive import MAX_SCALE

INITIAL_SCALE = 1 / 0.07


class Projection(nn.Module):
    """(n, width) features -> (n, dim) unit vectors: standardise each row, one linear map, L2."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.map = nn.Linear(width, dim, bias=False)
        nn.init.normal_(self.map.weight, std=width**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        x = features.float()
        if x.requires_grad or not torch.is_grad_enabled():
            return F.normalize(self.map(self.norm(x)).float(), dim=-1)
        # W (g * z + b) = (W g) z + W b: cached features need no gradient, so with scale and shift in the map none is
        # sent back through it, which is one of three products of a step.
        z = F.layer_norm(x, self.norm.normalized_shape, eps=self.norm.eps)
        folded = F.linear(z, self.map.weight * self.norm.weight, self.map.weight @ self.norm.bias)
        return F.normalize(folded.float(), dim=-1)


class Heads(nn.Module):
    """Two projections and a learnt temperature, exp'd and clamped at 100."""

    def __init__(self, image_width: int, text_width: int, dim: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.image_projection = Projection(image_width, dim)
            self.text_projection = Projection(text_width, dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=MAX_SCALE)

    @torch.no_grad()
    def image(self, features: Any) -> Tensor:
        """(n, image width) arrays or tensors -> (n, dim) unit norm."""
        projected: Tensor = self.image_projection(as_features(features))
        return projected

    @torch.no_grad()
    def text(self, features: Any) -> Tensor:
        """(n, text width) arrays or tensors -> (n, dim) unit norm."""
        projected: Tensor = self.text_projection(as_features(features))
        return projected


def as_features(values: Any) -> Tensor:
    """Arrays or tensors of any float type as float32 tensors that autograd may use."""
    tensor = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values).float()
    return tensor.clone() if tensor.is_inference() else tensor
