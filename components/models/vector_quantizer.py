"""Vector quantisation with a learnt codebook (van den Oord et al., 2017), updated by moving averages.

    quantised, codes, commitment = quantizer(z)      # (n, p, d) -> (n, p, d), (n, p), scalar

Forward z_q = e_k with k = argmin |z - e_k|; backward d z_q / d z = 1 (straight-through). The codebook is no
parameter: e_k is the moving average of the z it was given (the paper's appendix A.1), smoothed as there.
The commitment loss is |z - sg(z_q)|^2. A code whose moving count falls below `least_use` of a fair share
is dead, and is put on a z of the present batch (as Jukebox does, Dhariwal et al., 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VectorQuantizer(nn.Module):
    """`codes` vectors of `width` numbers.

    Attributes:
        book: (codes, width). counts, sums: moving averages of how many z each code took, and of their sum.
    """

    book: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, width: int, *, decay: float = 0.99, least_use: float = 0.2) -> None:
        super().__init__()
        self.decay, self.least_use = decay, least_use
        self.register_buffer("book", torch.randn(codes, width) * width**-0.5)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.book.clone())

    def nearest(self, z: Tensor) -> Tensor:
        """(..., width) -> (...) int64, the nearest code's number."""
        flat = z.detach().reshape(-1, z.shape[-1])
        distance = self.book.square().sum(1) - 2 * flat @ self.book.T
        return distance.argmin(1).reshape(z.shape[:-1])

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, p, width) -> quantised of that shape with z's gradient, codes (n, p), commitment loss."""
        codes = self.nearest(z)
        chosen = self.book[codes]
        commitment = (z - chosen).square().mean()
        return z + (chosen - z).detach(), codes, commitment

    @torch.no_grad()
    def start(self, z: Tensor, random: torch.Generator) -> None:
        """Put every code on one of these z, (m, width)."""
        self.book.copy_(z[_draw(len(z), len(self.book), random)])
        self.sums.copy_(self.book)
        self.counts.fill_(1.0)

    @torch.no_grad()
    def update(self, z: Tensor, codes: Tensor, random: torch.Generator) -> int:
        """One step of the moving averages; returns how many dead codes were revived."""
        flat, number = z.detach().reshape(-1, z.shape[-1]), codes.reshape(-1)
        taken = torch.bincount(number, minlength=len(self.book)).to(flat.dtype)
        self.counts.mul_(self.decay).add_(taken, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(torch.zeros_like(self.sums).index_add_(0, number, flat), alpha=1 - self.decay)
        total, small = self.counts.sum(), 1e-5
        smoothed = (self.counts + small) / (total + len(self.book) * small) * total
        self.book.copy_(self.sums / smoothed.unsqueeze(1))
        dead = torch.nonzero(self.counts < self.least_use * len(number) / len(self.book)).flatten()
        if len(dead):
            fair = len(number) / len(self.book)
            self.book[dead] = flat[_draw(len(flat), len(dead), random)]
            self.counts[dead] = fair
            self.sums[dead] = self.book[dead] * fair
        return len(dead)


def perplexity(codes: Tensor, of: int) -> float:
    """exp(entropy) of the codes' frequencies: 1 if one code does all, `of` if all are used alike."""
    share = torch.bincount(codes.reshape(-1), minlength=of).double() / max(codes.numel(), 1)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


def _draw(rows: int, count: int, random: torch.Generator) -> Tensor:
    """`count` of `rows` at random, each once if there are enough."""
    if rows >= count:
        return torch.randperm(rows, generator=random)[:count]
    return torch.randint(rows, (count,), generator=random)
