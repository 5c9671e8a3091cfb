"""The contrastive kernel: logits between two sets of unit vectors, and losses with soft targets.

    s_ij = scale * <x_i, y_j> + bias

Shared by the objectives of pretraining and by `fit_heads`. Targets are row-stochastic, so one
positive (CLIP), several (identical captions, 1-to-K) and soft ones are the same code.

Given the joint batch of several ranks, each rank computes the rows that are its `own` against everyone's
columns; the mean of the ranks' losses, and of their gradients, is then that of one process.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

MAX_SCALE = 100.0  # CLIP clamps exp(t) here, so that one pair cannot dominate a batch


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


def softmax_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    positive: Tensor | None = None,
    own: slice = slice(None),
) -> Tensor:
    """Symmetric InfoNCE of each own pair (Radford et al., 2021): (n, d), (n, d) of the joint batch -> (own,).

    Args:
        positive: bool (own, n), which columns are a row's positives; the diagonal if None. It must be symmetric in
            its pairs (same caption, same group), so it serves both ways.
    """
    to_text = contrastive_logits(image[own], text, scale)
    to_image = contrastive_logits(text[own], image, scale)
    if positive is None:
        target = torch.arange(len(image), device=image.device)[own]
        both = F.cross_entropy(to_text, target, reduction="none") + F.cross_entropy(to_image, target, reduction="none")
    else:
        targets = positive_targets(positive)
        both = soft_cross_entropy(to_text, targets) + soft_cross_entropy(to_image, targets)
    return both / 2


def sigmoid_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    positive: Tensor | None = None,
    own: slice = slice(None),
) -> Tensor:
    """-sum_j log sigmoid(z_ij s_ij) of each own image i, z = 1 on positives and -1 elsewhere: (own,).

    Zhai et al. (2023), equation 1, before its mean over the batch.
    """
    logits = contrastive_logits(image[own], text, scale, bias)
    if positive is None:
        positive = torch.eye(len(image), dtype=torch.bool, device=image.device)[own]
    return -F.logsigmoid(torch.where(positive, logits, -logits)).sum(1)


def same_group(groups: Tensor, own: slice = slice(None)) -> Tensor:
    """Ids int64 (n,) of the joint batch -> bool (own, n): pairs of one group are positives."""
    return groups[own, None] == groups[None, :]
