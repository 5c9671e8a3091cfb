"""SPRC's Q-Former (Bai et al., 2024): learnt queries read a picture and a text, and become the prompt of a sentence.

    fused    the queries, beside the text's words, attend to the reference's patches: (n, Q, width)
    query    [CLS] of "fused prompts, [CLS], words", read as text alone
    learnt   [CLS] of "[CLS], learnt prompts, words": no picture is in it
    target   each of the Q queries that read the target's patches, projected

Layers are one stack: self-attention over the sequence, cross-attention of the queries to patches where there are any.
Words enter as a locked tower's word vectors and have places; prompts and queries have none, so that before or after
[CLS] is the same to them. The mechanism of github.com/chunmeifeng/SPRC in small: narrow, few layers, learnt from
nothing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.composed.net import ComposedNet, Words


class Layer(nn.Module):
    """Pre-norm self-attention, cross-attention of the first `queries` places, and a feed-forward part."""

    def __init__(self, width: int, heads: int, queries: int) -> None:
        super().__init__()
        self.queries = queries
        self.norm, self.cross_norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, real: Tensor, patches: Tensor | None) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y, key_padding_mask=~real, need_weights=False)[0]
        if patches is not None:
            first = x[:, : self.queries]
            read = self.cross(self.cross_norm(first), patches, patches, need_weights=False)[0]
            x = torch.cat([first + read, x[:, self.queries :]], dim=1)
        out: Tensor = x + self.feed(self.last_norm(x))
        return out


class QFormer(ComposedNet):
    kind = "sprc"
    reads_words = True

    def __init__(
        self,
        image_width: int,
        text_width: int,
        *,
        dim: int,
        width: int,
        layers: int,
        heads: int,
        queries: int,
        grid: int,
        most_words: int,
    ) -> None:
        super().__init__()
        self.shape = {"dim": dim, "width": width, "layers": layers, "heads": heads}
        self.shape |= {"queries": queries, "grid": grid, "most_words": most_words}
        self.grid, self.queries, self.most_words = grid, queries, most_words
        self.patches = nn.Sequential(nn.LayerNorm(image_width), nn.Linear(image_width, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, grid * grid, width))
        self.words = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, width))
        self.order = nn.Parameter(0.02 * torch.randn(1, most_words, width))
        self.query_tokens = nn.Parameter(0.02 * torch.randn(1, queries, width))
        self.prompt = nn.Parameter(0.02 * torch.randn(1, queries, width))
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.layers = nn.ModuleList(Layer(width, heads, queries) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.image_out, self.text_out = nn.Linear(width, dim), nn.Linear(width, dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def config(self) -> dict[str, Any]:
        return dict(self.shape)

    def query(self, image: Tensor, text: Words) -> Tensor:
        return self.sentence(self.fused(image, text), text)

    def image_query(self, image: Tensor) -> Tensor:
        """The mean of the picture's own queries, as a target's are made."""
        return F.normalize(self.target(image).mean(1), dim=-1)

    def text_query(self, text: Words) -> Tensor:
        return self.learnt(text)

    def target(self, image: Tensor) -> Tensor:
        tokens = self.query_tokens.expand(len(image), -1, -1)
        real = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return F.normalize(self.image_out(self._read(tokens, real, self._seen(image))), dim=-1)

    def fused(self, image: Tensor, text: Words) -> Tensor:
        """What the queries make of the reference and the text: (n, Q, width), the sentence-level prompt."""
        words, real = self._said(text)
        tokens = self.query_tokens.expand(len(words), -1, -1)
        both = torch.cat([tokens, words], dim=1)
        return self._read(both, self._with_queries(real), self._seen(image))[:, : self.queries]

    def sentence(self, prompt: Tensor, text: Words) -> Tensor:
        """(n, dim): [CLS] after the prompt, before the words."""
        words, real = self._said(text)
        cls = self.cls.expand(len(words), -1, -1)
        read = self._read(torch.cat([prompt, cls, words], dim=1), self._with_queries(real, more=1), None)
        return F.normalize(self.text_out(read[:, self.queries]), dim=-1)

    def learnt(self, text: Words) -> Tensor:
        """(n, dim): [CLS] before the learnt prompts and the words."""
        words, real = self._said(text)
        cls, prompt = self.cls.expand(len(words), -1, -1), self.prompt.expand(len(words), -1, -1)
        read = self._read(torch.cat([cls, prompt, words], dim=1), self._with_queries(real, more=1), None)
        return F.normalize(self.text_out(read[:, 0]), dim=-1)

    def _read(self, x: Tensor, real: Tensor, patches: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, real, patches)
        found: Tensor = self.norm(x)
        return found

    def _seen(self, image: Tensor) -> Tensor:
        found: Tensor = self.patches(image) + self.place
        return found

    def _said(self, text: Words) -> Words:
        vectors, real = text[0][:, : self.most_words], text[1][:, : self.most_words]
        return self.words(vectors) + self.order[:, : vectors.shape[1]], real

    def _with_queries(self, real: Tensor, more: int = 0) -> Tensor:
        ones = torch.ones((len(real), self.queries + more), dtype=torch.bool, device=real.device)
        return torch.cat([ones, real], dim=1)
