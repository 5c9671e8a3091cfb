"""The contrastive kernel: logits between two sets of unit vectors, and losses with soft targets.

    s_ij = scale * <x_i, y_j> + bias

Shared by the objectives of pretraining and by `fit_heads`. Targets are row-stochastic, so one
positive (CLIP), several (identical captions, 1-to-K) and soft ones are the same code.

Across ranks each rank holds its own rows against everyone's columns (`gather` lets gradients
through); the mean of the ranks' losses, and of their gradients, is then that of one process with
the joint batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

MAX_SCALE = 100.0  # CLIP clamps exp(t) here, so that one pair cannot dominate a batch


class _Gather(torch.autograd.Function):
    """(b, ...) on each rank -> (world * b, ...) on all; the gradient is summed over the ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        rows = len(total) // dist.get_world_size()
        return total[dist.get_rank() * rows : (dist.get_rank() + 1) * rows]


def distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(x: Tensor) -> Tensor:
    """Every rank's rows, in rank order, differentiable; `x` itself where there is one process."""
    if not distributed():
        return x
    gathered: Tensor = _Gather.apply(x)
    return gathered


def own_columns(rows: int, device: torch.device) -> Tensor:
    """Which columns of gathered rows are this rank's: int64 (rows,)."""
    first = dist.get_rank() * rows if distributed() else 0
    return torch.arange(first, first + rows, device=device)


def contrastive_logits(x: Tensor, y: Tensor, scale: Tensor | float, bias: Tensor | float | None = None) -> Tensor:
    """(n, d), (m, d) unit vectors -> (n, m)."""
    logits = scale * (x @ y.T)
    return logits if bias is None else logits + bias


def positive_targets(positive: Tensor) -> Tensor:
    """A mask (n, m) of positives -> targets whose rows sum to 1, shared evenly among a row's positives."""
    mask = positive.float()
    return mask / mask.sum(1, keepdim=True).clamp(min=1.0)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum_j q_ij log p_ij for each row i: (n, m), (n, m) -> (n,)."""
    return -(targets * F.log_softmax(logits, dim=1)).sum(1)


def softmax_loss(image: Tensor, text: Tensor, scale: Tensor | float, positive: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of each pair (Radford et al., 2021): (b, d), (b, d) -> (b,).

    Args:
        positive: bool (b, world * b), rows this rank's and columns everyone's; the diagonal if None.
            It must be symmetric in its pairs (same caption, same group), so it serves both ways.
    """
    rows = len(image)
    to_text = contrastive_logits(image, gather(text), scale)
    to_image = contrastive_logits(text, gather(image), scale)
    if positive is None:
        target = own_columns(rows, image.device)
        both = F.cross_entropy(to_text, target, reduction="none") + F.cross_entropy(to_image, target, reduction="none")
    else:
        targets = positive_targets(positive)
        both = soft_cross_entropy(to_text, targets) + soft_cross_entropy(to_image, targets)
    return both / 2


def sigmoid_loss(
    image: Tensor, text: Tensor, scale: Tensor | float, bias: Tensor | float, positive: Tensor | None = None
) -> Tensor:
    """-sum_j log sigmoid(z_ij s_ij) of each image i, z = 1 on positives and -1 elsewhere: (b,).

    Zhai et al. (2023), equation 1, before its mean over the batch.
    """
    logits = contrastive_logits(image, gather(text), scale, bias)
    if positive is None:
        positive = torch.zeros_like(logits, dtype=torch.bool)
        rows = torch.arange(len(image), device=image.device)
        positive[rows, own_columns(len(image), image.device)] = True
    return -F.logsigmoid(torch.where(positive, logits, -logits)).sum(1)


def same_group(groups: Tensor) -> Tensor:
    """Ids int64 (b,) of this rank's pairs -> bool (b, world * b): pairs of one group are positives."""
    if not distributed():
        return groups[:, None] == groups[None, :]
    parts = [torch.empty_like(groups) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, groups.contiguous())
    return groups[:, None] == torch.cat(parts)[None, :]
