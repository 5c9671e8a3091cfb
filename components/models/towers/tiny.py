"""Two small transformers with weights drawn from a seed: towers for tests and for first tries.

Width 64, 2 layers; pictures of 32 px in 16 patches, texts as UTF-8 bytes (so there is no
vocabulary to ship). They know nothing until they are trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.towers.tower import ImageTower, TextTower

WIDTH, LAYERS, HEADS = 64, 2, 4
SIDE, PATCH = 32, 8
MAX_BYTES = 96
SEED = 20
PAD, BYTES = 256, 257  # one id past the byte values pads


class Block(nn.Module):
    """A pre-norm transformer block; `mask` True marks real tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = None if mask is None else mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        x = x + self.out(attended.transpose(1, 2).reshape(n, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TinyImage(ImageTower):
    """A vision transformer of two blocks; the mean over 16 patches."""

    kind = "tiny-image"
    side = SIDE

    def __init__(self, width: int = WIDTH, layers: int = LAYERS, seed: int = SEED) -> None:
        super().__init__()
        self.width, self.layers, self.seed = width, layers, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.patches = nn.Conv2d(3, width, PATCH, PATCH)
            self.position = nn.Parameter(0.02 * torch.randn(1, (SIDE // PATCH) ** 2, width))
            self.blocks = nn.ModuleList(Block(width, HEADS) for _ in range(layers))
            self.norm = nn.LayerNorm(width)
        self.eval()

    def config(self) -> dict[str, Any]:
        return super().config() | {"width": self.width, "layers": self.layers, "seed": self.seed}

    def forward(self, images: Tensor) -> Tensor:
        return self.with_patches(images)[0]

    def with_patches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        x = self.patches(pixels).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x.mean(1), x


class TinyText(TextTower):
    """A transformer of two blocks over UTF-8 bytes; the mean over real bytes."""

    kind = "tiny-text"

    def __init__(self, width: int = WIDTH, layers: int = LAYERS, seed: int = SEED) -> None:
        super().__init__()
        self.width, self.layers, self.seed = width, layers, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.embed = nn.Embedding(BYTES, width)
            self.position = nn.Parameter(0.02 * torch.randn(1, MAX_BYTES, width))
            self.blocks = nn.ModuleList(Block(width, HEADS) for _ in range(layers))
            self.norm = nn.LayerNorm(width)
        self.eval()

    def config(self) -> dict[str, Any]:
        return super().config() | {"width": self.width, "layers": self.layers, "seed": self.seed}

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return byte_tokens(texts, MAX_BYTES, self.device)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self._read(self.embed(ids) + self.position[:, : ids.shape[1]], mask)

    def token_vectors(self) -> Tensor:
        return self.embed.weight

    def with_prefix(self, ids: Tensor, mask: Tensor, prefix: Tensor) -> Tensor:
        x = self.embed(ids) + self.position[:, : ids.shape[1]]
        real = torch.ones(prefix.shape[:2], dtype=torch.bool, device=mask.device)
        return self._read(torch.cat([prefix, x], 1), torch.cat([real, mask], 1))

    def _read(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        real = mask.unsqueeze(-1).to(x.dtype)
        return (self.norm(x) * real).sum(1) / real.sum(1)


def byte_tokens(texts: Sequence[str], longest: int, device: torch.device) -> dict[str, Tensor]:
    """UTF-8 bytes as ids; an empty text is one space, so that every text has a token."""
    coded = [list((text or " ").encode("utf-8", "replace")[:longest]) for text in texts]
    length = max((len(one) for one in coded), default=1)
    ids = torch.tensor([one + [PAD] * (length - len(one)) for one in coded], dtype=torch.long, device=device)
    ids = ids.view(len(coded), length)
    return {"ids": ids, "mask": ids != PAD}
