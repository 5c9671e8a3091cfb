"""A memory of phrases in a shared space: of what a pair is, the nearest of them are told beside it.

    memory = Memory("concepts", ["a dog", ...], vectors, k=8)         # (m, d) unit vectors
    memory({"image": x})["concepts"]                                  # (n, 8, d), the nearest first

Told as their vectors (MultiCapCLIP's concept prompts, Yang et al., 2023), or as words (a hard prompt: Zhang et al.,
2024, "Zero-shot audio captioning using soft and hard prompts"). A clip's nearest are those of the greatest mean
similarity over its frames, which is that of their mean, so that their order does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Memory(nn.Module):
    """No weight of it is trained.

    Args:
        part: the part of the prefix it fills: a `vector` of k, or `words`.
        phrases: m texts. vectors: (m, d) unit vectors, their places in the space.
        k: how many are told of a pair.
        tokens: (m, t) int64 padded by -1, where they are told as words.
    """

    vectors: Tensor
    tokens: Tensor | None

    def __init__(
        self, part: str, phrases: Sequence[str], vectors: Tensor, k: int, tokens: Tensor | None = None
    ) -> None:
        super().__init__()
        self.part, self.phrases, self.k = part, tuple(phrases), k
        self.register_buffer("vectors", vectors)
        self.register_buffer("tokens", tokens)

    def nearest(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, k) numbers of phrases, the greatest cosine first, equals in their order."""
        cosine = F.normalize(x.float(), dim=-1) @ self.vectors.T
        return cosine.sort(dim=-1, descending=True, stable=True).indices[:, : self.k]

    def forward(self, x: Tensor) -> Tensor:
        """(n, d), NaN where nothing is known -> what is told: (n, k, d) vectors or (n, k t) tokens."""
        unknown = x.isnan().any(-1)
        at = self.nearest(x.nan_to_num())
        if self.tokens is None:
            return self.vectors[at].masked_fill(unknown[:, None, None], torch.nan)
        return self.tokens[at].flatten(1).masked_fill(unknown[:, None], -1)


def pooled(frames: Tensor) -> Tensor:
    """A clip (n, frames, d) as one unit vector (n, d), whatever the frames' order; those that are NaN are not there."""
    there = ~frames.isnan().any(-1, keepdim=True)
    found = F.normalize(frames.nan_to_num().sum(1), dim=-1)
    return found.masked_fill(~there.any(1), torch.nan)
