"""Similar captions: a caption's vector exchanged for that of another which says nearly the same.

Of the mixed augmentation of Zhang et al. (2024, "Zero-shot audio captioning using soft and hard prompts"): the decoder
learns to say a caption after a neighbour's vector, as it will have to say it after a sound's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SimilarCaptions:
    """What vectors are exchanged for.

    Args:
        texts: m captions, each held once. vectors: (m, d), their unit vectors.
    """

    def __init__(self, texts: Sequence[str], vectors: Tensor) -> None:
        first: dict[str, int] = {}
        for at, text in enumerate(texts):
            first.setdefault(text, at)
        self.place = {text: row for row, text in enumerate(first)}
        self.vectors = vectors[list(first.values())]

    def nearest(self, texts: Sequence[str], vectors: Tensor, n: int) -> Tensor:
        """(b, at most n) places of the most similar captions that say something else, the most similar first."""
        cosine = vectors.nan_to_num() @ self.vectors.T
        for row, text in enumerate(texts):
            if text in self.place:
                cosine[row, self.place[text]] = -torch.inf
        n = min(n, len(self.vectors) - 1)
        return cosine.sort(dim=-1, descending=True, stable=True).indices[:, :n]

    def exchanged(self, texts: Sequence[str], vectors: Tensor, n: int, which: Tensor, choice: Tensor) -> Tensor:
        """The vectors (b, d), those of `which` (b,) bool replaced by one of the n nearest: number choice * n of them.

        Args:
            choice: (b,) in [0, 1).
        """
        nearest = self.nearest(texts, vectors, n)
        if not nearest.shape[1]:
            return vectors
        chosen = nearest.gather(1, (choice * nearest.shape[1]).long()[:, None])[:, 0]
        return torch.where((which & ~vectors.isnan().any(1))[:, None], self.vectors[chosen], vectors)
