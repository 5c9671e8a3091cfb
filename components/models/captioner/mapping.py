"""How a pair's vectors become tokens of the prefix, and how the prefix's tokens are fused.

| mapping | tokens | after |
|---|---|---|
| `mlp` | each vector's own, by a perceptron of one hidden layer behind a norm | Mokady et al., 2021, "ClipCap" |
| `linear` | each vector's own, by one matrix | Koh et al., 2023, "FROMAGe" |
| `queries` | of all vectors together, one a query that attends | Wang et al., 2023, "User-Aware Prefix-Tuning" |
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.decoder import Layer

MappingKind = Literal["mlp", "linear", "queries"]
HEADS = 4


class Each(nn.Sequential):
    """Every vector by itself, through these layers: (n, k, size) -> (n, k tokens, width)."""

    def __init__(self, width: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.width = width

    def forward(self, vectors: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        tokens = super().forward(vectors).view(len(vectors), -1, self.width)
        return tokens, told.repeat_interleave(tokens.shape[1] // told.shape[1], dim=1)


class Queries(nn.Module):
    """Learnt queries attend to all vectors of a pair: (n, k, size) -> (n, tokens, width).

    A query is a token's; it sees each vector that is told, by heads of scaled dot products, and is mapped on.
    """

    def __init__(self, size: int, tokens: int, width: int, hidden: int) -> None:
        super().__init__()
        if hidden % HEADS:
            raise ModelError(f"queries of width {hidden} do not divide by their {HEADS} heads")
        self.queries = nn.Parameter(torch.randn(tokens, hidden) * 0.02)
        self.norm, self.keys, self.values = nn.LayerNorm(size), nn.Linear(size, hidden), nn.Linear(size, hidden)
        self.then = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, vectors: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        n, tokens = len(vectors), len(self.queries)
        seen = self.norm(vectors)
        key, value = (one(seen).unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in (self.keys, self.values))
        query = self.queries.unflatten(-1, (HEADS, -1)).transpose(0, 1).expand(n, -1, -1, -1)
        some = told.any(1)
        who = told | ~some[:, None]  # of a pair that is told nothing all are seen, and none of it counts
        found = F.scaled_dot_product_attention(query, key, value, who[:, None, None])
        mixed = found.transpose(1, 2).flatten(2) + self.queries
        return self.then(mixed), some[:, None].expand(n, tokens)


class Fusion(nn.Module):
    """The prefix's tokens look at each other: (n, p, width), told (n, p) -> (n, p, width).

    A transformer of `layers` layers and width `hidden` beside the tokens themselves; its way back starts at zero, so
    that an untrained one changes nothing. What is not told is looked at by none.
    """

    def __init__(self, width: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.layers, self.norm = nn.ModuleList(Layer(hidden, HEADS) for _ in range(layers)), nn.LayerNorm(hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        seen = told[:, None, None] | torch.eye(told.shape[1], dtype=torch.bool, device=told.device)
        mixed = self.down(x)
        for number, layer in enumerate(self.layers):
            mixed = layer(mixed, seen, None, number)
        return x + self.up(self.norm(mixed))


def mapping_of(kind: MappingKind, size: int, tokens: int, width: int, hidden: int) -> nn.Module:
    """Vectors (n, k, size) and which are told (n, k) -> tokens of this width, and which are told."""
    if kind == "queries":
        return Queries(size, tokens, width, hidden)
    if kind == "linear":
        return Each(width, nn.Linear(size, tokens * width))
    return Each(width, nn.LayerNorm(size), nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, tokens * width))
