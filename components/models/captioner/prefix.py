"""The prefix: what is told of a pair before its caption begins, as tokens of the decoder's width.

    prefix = Prefix([Part("image", "vector", 512, tokens=4), Part("level", "number", 8)], width=128)
    x, told = prefix({"image": vectors, "level": levels}, decoder.embed)        # (n, 5, width), (n, 5) bool

| kind | value | tokens | not told |
|---|---|---|---|
| `vector` | (n, size), or (n, most, size) of frames, times or patches | `tokens` each | NaN |
| `number` | (n,) from 1 to size: a level, a length, a language, a user | 1 | 0 |
| `words` | (n, t <= size) tokens, padded on the left: a question, a user's words | t | -1 |
| `box` | (n, 4): x0, y0, x1, y1 as shares of the picture | 1 | NaN |

A part missing from the values is told of no pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pairwright.components.errors import ModelError

Kind = Literal["vector", "number", "words", "box"]
BOX = 4


@dataclass(frozen=True)
class Part:
    """One thing that is told.

    Attributes:
        size: numbers of a vector, values of a number, tokens of words at most.
        tokens: of each vector.
        most: vectors of a pair, e.g. frames of a clip.
        names: of a number's values from 1, where they have some, e.g. languages.
    """

    name: str
    kind: Kind
    size: int = BOX
    tokens: int = 1
    most: int = 1
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("vector", "number", "words", "box") or min(self.size, self.tokens, self.most) < 1:
            raise ModelError(f"{self} is no part of a prefix; see {__name__}")

    @property
    def length(self) -> int:
        """Tokens at most."""
        return {"vector": self.tokens * self.most, "words": self.size}.get(self.kind, 1)


def not_told(values: Tensor, which: Tensor) -> Tensor:
    """The same values with the pairs of `which` (n,) bool told nothing."""
    nothing = torch.nan if values.is_floating_point() else -1 if values.ndim == 2 else 0
    return values.masked_fill(which.view(-1, *[1] * (values.ndim - 1)), nothing)


class Prefix(nn.Module):
    """Parts -> tokens, in the order of the parts."""

    def __init__(self, parts: Sequence[Part], width: int, hidden: int = 256) -> None:
        super().__init__()
        if len({part.name for part in parts}) < len(parts):
            raise ModelError(f"two parts of the prefix have one name: {[part.name for part in parts]}")
        self.parts, self.width = tuple(parts), width
        self.maps = nn.ModuleDict({part.name: _map(part, width, hidden) for part in parts if part.kind != "words"})

    @property
    def length(self) -> int:
        """Tokens at most."""
        return sum(part.length for part in self.parts)

    def forward(
        self, values: Mapping[str, Tensor], embed: Callable[[Tensor], Tensor], dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """Values by part, of n pairs -> tokens (n, p, width) and which of them are told (n, p) bool.

        Raises:
            ModelError: a value is of no part.
        """
        unknown = set(values) - {part.name for part in self.parts}
        if unknown or not values:
            raise ModelError(f"told of {sorted(unknown) or 'nothing'}; the prefix is of {[p.name for p in self.parts]}")
        made = [self._tokens(part, values[part.name], embed) for part in self.parts if part.name in values]
        x, told = torch.cat([tokens for tokens, _ in made], dim=1), torch.cat([mask for _, mask in made], dim=1)
        return x.to(dtype) if dtype else x, told

    def _tokens(self, part: Part, value: Tensor, embed: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        n = len(value)
        if part.kind == "words":
            return embed(value.clamp(min=0)), value >= 0
        if part.kind == "number":
            return self.maps[part.name]((value - 1).clamp(min=0))[:, None], (value > 0)[:, None]
        told = ~value.isnan().any(-1).view(n, -1)  # (n, vectors)
        tokens = self.maps[part.name](value.float().nan_to_num()).view(n, -1, self.width)
        return tokens, told.repeat_interleave(part.tokens, dim=1)


def _map(part: Part, width: int, hidden: int) -> nn.Module:
    if part.kind == "number":
        embedding = nn.Embedding(part.size, width)
        nn.init.normal_(embedding.weight, std=0.02)
        return embedding
    norm = nn.LayerNorm(part.size) if part.kind == "vector" else nn.Identity()
    return nn.Sequential(norm, nn.Linear(part.size, hidden), nn.GELU(), nn.Linear(hidden, part.tokens * width))
