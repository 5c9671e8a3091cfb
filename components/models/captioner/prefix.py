"""The prefix: what is told of a pair before its caption begins, as tokens of the decoder's width.

    prefix = Prefix([Part("image", "vector", 512, tokens=4), Part("level", "number", 8)], width=128)
    x, told = prefix({"image": vectors, "level": levels}, decoder.embed)        # (n, 5, width), (n, 5) bool

| kind | value | tokens | not told |
|---|---|---|---|
| `vector` | (n, size), or (n, most, size) of frames, times or patches | `tokens` each (mapping.py) | NaN |
| `number` | (n,) from 1 to size: a level, a length, a language, a user | 1 | 0 |
| `words` | (n, t <= size) tokens, padded on the left: a question, a user's words | t | -1 |
| `box` | (n, 4): x0, y0, x1, y1 as shares of the picture | 1 | NaN |

A part missing from the values is told of no pair. Columns hold the vectors of a pair end to end: `vectors_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.errors import ColumnError, ModelError
from pairwright.components.models.captioner.mapping import Fusion, MappingKind, mapping_of

Kind = Literal["vector", "number", "words", "box"]
BOX = 4


@dataclass(frozen=True)
class Part:
    """One thing that is told.

    Attributes:
        size: numbers of a vector, values of a number, tokens of words at most.
        tokens: of each vector; of all of them together where they are asked by `queries`.
        most: vectors of a pair, e.g. frames of a clip.
        names: of a number's values from 1, where they have some, e.g. languages.
        mapping: how vectors become tokens (mapping.py).
    """

    name: str
    kind: Kind
    size: int = BOX
    tokens: int = 1
    most: int = 1
    names: Sequence[str] = ()
    mapping: MappingKind = "mlp"

    def __post_init__(self) -> None:
        if self.kind not in ("vector", "number", "words", "box") or min(self.size, self.tokens, self.most) < 1:
            raise ModelError(f"{self} is no part of a prefix; see {__name__}")

    @property
    def length(self) -> int:
        """Tokens at most."""
        vectors = 1 if self.mapping == "queries" else self.most
        return {"vector": self.tokens * vectors, "words": self.size}.get(self.kind, 1)


def size_of(column: str, width: int, most: int) -> int:
    """Numbers of each vector of a column that holds so many of a pair.

    Raises:
        ColumnError: they do not divide its width.
    """
    if width % most:
        raise ColumnError(f"{column} is {width} wide, which does not divide into {most} vectors a pair")
    return width // most


def vectors_of(column: np.ndarray, most: int, counts: np.ndarray | None = None) -> Tensor:
    """A column of vectors, (n, most * size) end to end -> float32 (n, size), or (n, most, size) of several.

    Args:
        counts: how many of them a pair has, (n,), the first ones; the others are not told. None: all.

    Raises:
        ColumnError: the column does not divide into so many, or a count is none of 0 to `most`.
    """
    values = torch.from_numpy(np.array(column, np.float32))
    if values.ndim != 2 or values.shape[1] % most:
        raise ColumnError(f"a column of shape {tuple(values.shape)} holds no {most} vectors a pair; correct `vectors`")
    if most == 1 and counts is None:
        return values
    several = values.unflatten(1, (most, -1))
    if counts is not None:
        has = torch.from_numpy(np.asarray(counts, np.float64))
        if not bool(((has >= 0) & (has <= most)).all()):
            raise ColumnError(f"counts of vectors are {float(has.min()):g} to {float(has.max()):g}, not 0 to {most}")
        several = several.masked_fill((torch.arange(most) >= has[:, None])[..., None], torch.nan)
    return several if most > 1 else several[:, 0]


def not_told(values: Tensor, which: Tensor) -> Tensor:
    """The same values with the pairs of `which` (n,) bool told nothing."""
    nothing = torch.nan if values.is_floating_point() else -1 if values.ndim == 2 else 0
    return values.masked_fill(which.view(-1, *[1] * (values.ndim - 1)), nothing)


class Prefix(nn.Module):
    """Parts -> tokens, in the order of the parts; with `fusion` layers they look at each other (mapping.py)."""

    def __init__(self, parts: Sequence[Part], width: int, hidden: int = 256, fusion: int = 0) -> None:
        super().__init__()
        if len({part.name for part in parts}) < len(parts):
            raise ModelError(f"two parts of the prefix have one name: {[part.name for part in parts]}")
        self.parts, self.width = tuple(parts), width
        self.maps = nn.ModuleDict({part.name: _map(part, width, hidden) for part in parts if part.kind != "words"})
        self.fusion = Fusion(width, fusion, hidden) if fusion else None

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
        if self.fusion is not None:
            x = self.fusion(x.float(), told)
        return x.to(dtype) if dtype else x, told

    def _tokens(self, part: Part, value: Tensor, embed: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        n = len(value)
        if part.kind == "words":
            return embed(value.clamp(min=0)), value >= 0
        if part.kind == "number":
            return self.maps[part.name]((value - 1).clamp(min=0))[:, None], (value > 0)[:, None]
        told = ~value.isnan().any(-1).view(n, -1)  # (n, vectors)
        vectors = value.float().nan_to_num()
        if part.kind == "box":
            return self.maps[part.name](vectors)[:, None], told
        made: tuple[Tensor, Tensor] = self.maps[part.name](vectors.view(n, -1, part.size), told)
        return made


def _map(part: Part, width: int, hidden: int) -> nn.Module:
    if part.kind == "number":
        embedding = nn.Embedding(part.size, width)
        nn.init.normal_(embedding.weight, std=0.02)
        return embedding
    if part.kind == "box":
        return nn.Sequential(nn.Identity(), nn.Linear(BOX, hidden), nn.GELU(), nn.Linear(hidden, width))
    return mapping_of(part.mapping, part.size, part.tokens, width, hidden)
