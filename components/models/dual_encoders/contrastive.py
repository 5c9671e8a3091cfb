"""The contrastive kernel: logits between two sets of unit vectors, and losses with soft targets.

    s_ij = scale * <x_i, y_j> + bias

Shared by the objectives of pretraining and by `fit_heads`. Targets are row-stochastic, so one
positive (CLIP), several (identical captions, 1-to-K), smoothed and soft ones are the same code.

Given the joint batch of several ranks, each rank computes the rows that are its `own` against everyone's
columns; the mean of the ranks' losses, and of their gradients, is then that of one process.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def soft_cross_entropy(logits: Tensor, targets: Tensor, left_out: Tensor | None = None) -> Tensor:
    """-sum_j q_ij log p_ij for each row i: (n, m), (n, m) -> (n,); p is over the columns that are not left out."""
    if left_out is None:
        return -(targets * F.log_softmax(logits, dim=1)).sum(1)
    log_p = F.log_softmax(logits.masked_fill(left_out, -torch.inf), dim=1)
    return -(targets * log_p.masked_fill(left_out, 0.0)).sum(1)


@dataclass(frozen=True)
class Targets:
    """What the columns of the joint batch are to each own row; every part is (own, n), and serves both ways.

        q = (1 - e) ((1 - a) positive / |positive| + a soft) + e / |not ignored|

    Attributes:
        positive: bool, a row's right answers; its own column if None. Symmetric in its pairs (same caption).
        ignored: bool, columns left out of a row's softmax, as if they were not in the batch. A positive never is.
        soft: float, a teacher's answers, whose rows sum to 1; they have the share a.
        smoothing: e, the share spread over all columns that are not ignored (Szegedy et al., 2016).
    """

    positive: Tensor | None = None
    ignored: Tensor | None = None
    soft: Tensor | None = None
    share: float = 0.0
    smoothing: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether each row has one right answer, all others being wrong ones."""
        return self.positive is None and self.ignored is None and not (self.share or self.smoothing)

    def resolve(self, n: int, own: slice, more: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """q and the columns left out, if there may be any: both (own, n + m).

        Args:
            more: bool (own, m), which of m further wrong answers are left out.
        """
        positive = torch.eye(n, dtype=torch.bool, device=device)[own] if self.positive is None else self.positive
        out = torch.zeros_like(positive) if self.ignored is None else self.ignored & ~positive
        q = positive_targets(positive)
        if self.soft is not None and self.share:
            soft = self.soft.masked_fill(out, 0.0)
            q = (1 - self.share) * q + self.share * soft / soft.sum(1, keepdim=True)
        if more is not None:
            q, out = F.pad(q, (0, more.shape[1])), torch.cat([out, more], 1)
        if self.smoothing:
            q = (1 - self.smoothing) * q + self.smoothing * positive_targets(~out)
        return q, None if self.ignored is None and more is None else out


@dataclass(frozen=True)
class WrongTexts:
    """Texts that answer no picture, contrasted with every picture of the joint batch beside its captions.

    Attributes:
        vectors: (m, d) unit vectors.
        ignored: bool (own, m), which of them are left out for a row: they say what its own caption says.
    """

    vectors: Tensor
    ignored: Tensor


def softmax_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    targets: Targets | None = None,
    own: slice = slice(None),
    wrong: WrongTexts | None = None,
) -> Tensor:
    """Symmetric InfoNCE of each own pair (Radford et al., 2021): (n, d), (n, d) of the joint batch -> (own,)."""
    to_text = contrastive_logits(image[own], text, scale)
    whole = len(to_text) == len(text)  # one process holds every pair: the same products, read the other way
    to_image = to_text.T if whole else contrastive_logits(text[own], image, scale)
    if (targets is None or targets.plain) and wrong is None:
        right = torch.arange(len(image), device=image.device)[own]
        both = F.cross_entropy(to_text, right, reduction="none") + F.cross_entropy(to_image, right, reduction="none")
        return both / 2
    said = targets or Targets()
    left_out = None
    if wrong is not None:
        to_text, left_out = torch.cat([to_text, contrastive_logits(image[own], wrong.vectors, scale)], 1), wrong.ignored
    both = soft_cross_entropy(to_text, *said.resolve(len(image), own, left_out, image.device))
    return (both + soft_cross_entropy(to_image, *said.resolve(len(image), own, None, image.device))) / 2


def sigmoid_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    targets: Targets | None = None,
    own: slice = slice(None),
    wrong: WrongTexts | None = None,
) -> Tensor:
    """-sum_j log sigmoid(z_ij s_ij) of each own image i, z = 1 on positives and -1 elsewhere: (own,).

    Zhai et al. (2023), equation 1, before its mean over the batch. Ignored columns are not in the sum; soft targets
    and smoothing are of a softmax and not heeded.
    """
    said = targets or Targets()
    positive = torch.eye(len(image), dtype=torch.bool, device=image.device)[own]
    positive = positive if said.positive is None else said.positive
    logits = contrastive_logits(image[own], text, scale, bias)
    each = -F.logsigmoid(torch.where(positive, logits, -logits))
    if said.ignored is not None:
        each = each.masked_fill(said.ignored & ~positive, 0.0)
    if wrong is None:
        return each.sum(1)
    further = -F.logsigmoid(-contrastive_logits(image[own], wrong.vectors, scale, bias))
    return each.sum(1) + further.masked_fill(wrong.ignored, 0.0).sum(1)


def weighted_mean(each: Tensor, weight: Tensor, own: slice = slice(None)) -> Tensor:
    """sum_i w_i l_i / sum_i w_i over the joint batch, as the mean over ranks: own losses (own,), weights (n,).

    0 where all weights are.
    """
    shares = weight[own] / weight.sum().clamp(min=torch.finfo(torch.float32).tiny)
    return (each * shares).sum() * (len(weight) / len(each))


def same_group(groups: Tensor, own: slice = slice(None)) -> Tensor:
    """Ids int64 (n,) of the joint batch -> bool (own, n): pairs of one group are positives."""
    return groups[own, None] == groups[None, :]
