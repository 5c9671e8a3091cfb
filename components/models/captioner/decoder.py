"""A decoder: a causal transformer over tokens, some of which are not there, with a key-value cache.

GPT-2's layers (Radford et al., 2019): pre-norm, learnt places, the words' embedding for its output too; with GPT-2's
weights it says what GPT-2 says (tests/unit/models/captioner/test_captioner.py). A token that is masked is seen by
none and takes no place, so that padding may stand anywhere.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError


class Cache(Protocol):
    """Keys and values of all tokens so far."""

    def select(self, rows: Tensor) -> Cache:
        """A cache of its own of these rows."""


class Decoder(nn.Module):
    """What goes on from a prefix.

    Attributes:
        width: of its tokens. longest: how many it reads, prefix and caption together.
    """

    width: int
    longest: int

    def config(self) -> dict[str, Any]:
        """What `__init__` takes beside the vocabulary, of one that is written by its own kind (folder.py)."""
        raise NotImplementedError

    def embed(self, tokens: Tensor) -> Tensor:
        """(n, t) int64 -> (n, t, width)."""
        raise NotImplementedError

    def cache(self, rows: int, length: int) -> Cache:
        """An empty one for as many rows of at most `length` tokens."""
        raise NotImplementedError

    def forward(self, x: Tensor, there: Tensor | None, cache: Cache | None = None, last: bool = False) -> Tensor:
        """Tokens (n, t, width) behind those in the cache -> logits of what follows each, or the last (n, t or 1, V).

        Args:
            there: (n, all tokens so far) bool, what is not masked; None: all are there.
        """
        raise NotImplementedError


def places_of(there: Tensor, t: int) -> Tensor:
    """The place of the last t tokens among those that are there, (n, t) int64 from 0."""
    return (there.cumsum(1)[:, -t:] - 1).clamp(min=0)


class KeyValues:
    """Of all layers, written in place: (layers, n, heads, length, width / heads) twice."""

    def __init__(self, keys: Tensor, values: Tensor, said: int = 0) -> None:
        self.keys, self.values, self.said = keys, values, said

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The new tokens' (n, heads, t, ·), behind the others; returns those of all."""
        until = self.said + key.shape[2]
        self.keys[layer, :, :, self.said : until], self.values[layer, :, :, self.said : until] = key, value
        return self.keys[layer, :, :, :until], self.values[layer, :, :, :until]

    def select(self, rows: Tensor) -> KeyValues:
        return KeyValues(self.keys[:, rows], self.values[:, rows], self.said)


class Layer(nn.Module):
    """Causal self-attention and a perceptron, each behind its norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mix, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.then = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, seen: Tensor | None, cache: KeyValues | None, number: int) -> Tensor:
        """(n, t, width) -> the same; `seen` (n, 1, t, all) says who sees whom, None: each what is before it."""
        n, t, width = x.shape
        query, key, value = self.mix(self.norm(x)).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.put(number, key, value)
        found = F.scaled_dot_product_attention(query, key, value, seen, is_causal=seen is None and t > 1)
        x = x + self.out(found.transpose(1, 2).reshape(n, t, width))
        return x + self.then(x)


class SmallDecoder(Decoder):
    """Learnt from nothing."""

    def __init__(self, vocabulary: int, longest: int, width: int = 128, layers: int = 6, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ModelError(f"the decoder's width {width} is no multiple of its {heads} heads")
        self.width, self.longest, self.heads = width, longest, heads
        self.words = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(torch.randn(longest, width) * 0.02)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.words.weight, std=0.02)

    def config(self) -> dict[str, Any]:
        return {"longest": self.longest, "width": self.width, "layers": len(self.layers), "heads": self.heads}

    def embed(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.words(tokens)
        return found

    def cache(self, rows: int, length: int) -> KeyValues:
        shape = (len(self.layers), rows, self.heads, length, self.width // self.heads)
        like = self.place
        return KeyValues(like.new_empty(shape), like.new_empty(shape))

    def forward(self, x: Tensor, there: Tensor | None, cache: Cache | None = None, last: bool = False) -> Tensor:
        assert cache is None or isinstance(cache, KeyValues)
        t, before = x.shape[1], cache.said if cache is not None else 0
        places = torch.arange(before, before + t, device=x.device) if there is None else places_of(there, t)
        x = x + self.place[places]
        seen = _seen(there, before, t) if there is not None else None
        for number, layer in enumerate(self.layers):
            x = layer(x, seen, cache, number)
        if cache is not None:
            cache.said += t
        logits: Tensor = self.norm(x[:, -1:] if last else x) @ self.words.weight.T
        return logits


def _seen(there: Tensor, before: int, t: int) -> Tensor:
    """(n, all) -> (n, 1, t, all) bool: each token sees those before it that are there, and itself."""
    at = torch.arange(before + t, device=there.device)
    own = at[before:, None]
    return ((there[:, None] & (at <= own)) | (at == own))[:, None]
