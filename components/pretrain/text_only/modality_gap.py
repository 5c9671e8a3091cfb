"""The gap between a caption's vector and its picture's in one space, and what closes it in training.

CLOSE (Gu, Clark and Kembhavi, 2023, "I can't believe there's no images!"): a decoder learns from captions' vectors and
is asked by pictures'. Noise makes it heed what both have in common; an adapter, fitted on some pairs, moves captions'
vectors to where pictures' are. Pictures' vectors are never touched.

| adapter | a caption's vector t becomes |
|---|---|
| `none` | t |
| `mean` | t + E[v - t] |
| `linear` | A t + b, the least-squares map to v |
| `covariance` | in training t + a draw from N(E[v - t], s^2 Cov[v - t]); else as `mean` |

All at unit norm again; then, in training, + N(0, w^2 I), and at unit norm again.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Kind = Literal["none", "mean", "linear", "covariance"]


def noised(vectors: Tensor, w: float) -> Tensor:
    """(n, d) unit vectors -> the same + N(0, w^2 I), at unit norm; drawn from torch's stream, if w > 0."""
    return F.normalize(vectors + w * torch.randn_like(vectors), dim=-1) if w else vectors


class Adapter:
    """What moves captions' vectors to where pictures' are, fitted without a gradient.

    Args:
        text, image: (n, d) unit vectors of n pairs.
        scale: s of `covariance`; the released code has 3.
    """

    def __init__(self, kind: Kind, text: Tensor, image: Tensor, scale: float = 3.0) -> None:
        self.kind = kind
        apart = image - text
        self.shift = apart.mean(0)
        if kind == "linear":
            ones = torch.ones(len(text), 1)
            self.map = torch.linalg.lstsq(torch.cat([text, ones], 1), image, driver="gelsd").solution  # (d + 1, d)
        if kind == "covariance":
            away = (apart - self.shift) / max(len(apart) - 1, 1) ** 0.5
            self.factor = scale * away  # away^T away is the covariance: a draw is N(0, I_n) of its rows

    def __call__(self, text: Tensor, training: bool = False) -> Tensor:
        """(n, d) unit vectors of captions -> (n, d) unit vectors."""
        if self.kind == "none":
            return text
        if self.kind == "linear":
            found = text @ self.map[:-1].to(text.device) + self.map[-1].to(text.device)
            return F.normalize(found, dim=-1)
        moved = text + self.shift.to(text.device)
        if self.kind == "covariance" and training:
            drawn = torch.randn(len(text), len(self.factor), device=text.device)
            moved = moved + drawn @ self.factor.to(text.device)
        return F.normalize(moved, dim=-1)
