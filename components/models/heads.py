"""Projection heads: features of two locked towers into one space.

The same `Projection` stands in every dual encoder we train; `fit_heads` trains a pair of them in
seconds on cached features (locked-image tuning, Zhai et al. 2022, with both towers locked).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.finite import require_finite
from pairwright.components.models.contrastive import MAX_SCALE, same_group, softmax_loss
from pairwright.components.models.finite_steps import FiniteSteps, gradient_norm

INITIAL_SCALE = 1 / 0.07
WARM_UP_SHARE = 0.1


class Projection(nn.Module):
    """(n, width) features -> (n, dim) unit vectors: standardise each row, one linear map, L2."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.map = nn.Linear(width, dim, bias=False)
        nn.init.normal_(self.map.weight, std=width**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.map(self.norm(features.float())).float(), dim=-1)


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


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW groups of what is trained: matrices decay; biases, norms and temperatures do not."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def learning_rate(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Linear warm-up to `peak`, then half a cosine to 0 at `steps`; `step` counts from 0."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def fit_heads(
    image: Any,
    text: Any,
    *,
    dim: int = 256,
    steps: int = 300,
    batch_size: int = 512,
    lr: float = 1e-3,
    weight_decay: float = 0.1,
    seed: int = 0,
    weights: Any = None,
    groups: Sequence[int] | np.ndarray | None = None,
) -> Heads:
    """Heads trained on pairs of features by the softmax contrastive loss. Same seed, same heads.

    Args:
        image: (n, image width) features; `text`: (n, text width), row for row.
        steps: optimizer steps of `batch_size` pairs each (all pairs if there are fewer).
        weights: (n,) non-negative weight of each pair's loss; all 1 if None.
        groups: (n,) integer ids; pairs of one id (the same caption) are positives of each other.

    Raises:
        NotFinite: a feature is not.
        ModelError: three steps in a row were not finite.
    """
    x, y = as_features(image), as_features(text)
    require_finite(x, "the picture features of the heads")
    require_finite(y, "the text features of the heads")
    heads = Heads(x.shape[1], y.shape[1], dim, seed)
    optimizer = torch.optim.AdamW(parameter_groups(heads, weight_decay), lr=lr, betas=(0.9, 0.98))
    weight = None if weights is None else as_features(weights)
    ids = None if groups is None else torch.as_tensor(np.asarray(groups)).long()
    size, warm = min(batch_size, len(x)), max(1, int(WARM_UP_SHARE * steps))
    random = torch.Generator().manual_seed(seed)
    order, at = torch.randperm(len(x), generator=random), 0
    finite = FiniteSteps(f"these are rows of its features; lower lr ({lr})")
    for step in range(steps):
        if at + size > len(x):
            order, at = torch.randperm(len(x), generator=random), 0
        batch, at = order[at : at + size], at + size
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, peak=lr, warmup_steps=warm, steps=steps)
        positive = None if ids is None else same_group(ids[batch])
        each = softmax_loss(heads.image_projection(x[batch]), heads.text_projection(y[batch]), heads.scale, positive)
        share = torch.full_like(each, 1 / len(each)) if weight is None else _shares(weight[batch])
        optimizer.zero_grad(set_to_none=True)
        loss = (each * share).sum()
        loss.backward()
        if finite.allow(float(loss.detach()), float(gradient_norm(heads.parameters())), batch.tolist()):
            optimizer.step()
    return heads.requires_grad_(False)


def _shares(weights: Tensor) -> Tensor:
    return weights / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
