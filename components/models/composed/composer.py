"""CoLLM's query (Huynh et al., 2025) in small: a language model reads a picture's vector and words, and says a vector.

    query        [reference; words; end] -> the last place, projected
    image, text  [reference; end] and [words; end], by the same network
    target       a projection of the picture's own vector

The language model is a small transformer over a locked tower's word vectors, learnt from nothing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.composed.net import ComposedNet, Words
from pairwright.components.models.dual_encoders.heads import INITIAL_SCALE, Projection
from pairwright.components.models.towers.tiny import Block


class Composer(ComposedNet):
    kind = "collm"
    reads_words = True

    def __init__(
        self, image_width: int, text_width: int, *, dim: int, width: int, layers: int, heads: int, most_words: int
    ) -> None:
        super().__init__()
        self.shape = {"dim": dim, "width": width, "layers": layers, "heads": heads, "most_words": most_words}
        self.most_words = most_words
        self.image_projection = Projection(image_width, dim)
        self.image_token = nn.Linear(dim, width)
        self.words = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, width))
        self.order = nn.Parameter(0.02 * torch.randn(1, most_words, width))
        self.end = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    def config(self) -> dict[str, Any]:
        return dict(self.shape)

    def query(self, image: Tensor, text: Words) -> Tensor:
        return self.read(self.image_projection(image), text)

    def image_query(self, image: Tensor) -> Tensor:
        return self.read(self.image_projection(image), None)

    def text_query(self, text: Words) -> Tensor:
        return self.read(None, text)

    def target(self, image: Tensor) -> Tensor:
        found: Tensor = self.image_projection(image)
        return found[:, None]

    def read(self, reference: Tensor | None, text: Words | None) -> Tensor:
        """A reference (n, dim), words, or both -> (n, dim) unit vectors."""
        rows = len(reference) if reference is not None else len(text[0]) if text is not None else 0
        parts, real = [], []
        if reference is not None:
            parts.append(self.image_token(reference)[:, None])
        if text is not None:
            vectors = text[0][:, : self.most_words]
            parts.append(self.words(vectors) + self.order[:, : vectors.shape[1]])
        parts.append(self.end.expand(rows, -1, -1))
        for part in parts:
            real.append(torch.ones(part.shape[:2], dtype=torch.bool, device=part.device))
        if text is not None:
            real[-2] = text[1][:, : self.most_words]
        x, mask = torch.cat(parts, dim=1), torch.cat(real, dim=1)
        for block in self.blocks:
            x = block(x, mask)
        return F.normalize(self.out(self.norm(x[:, -1])), dim=-1)
