"""A small captioner: a causal transformer that goes on from a prefix of a picture's features and a control token.

    model = load_prefix_captioner("workspace/models/…")
    model.generate(features)                 # captions, greedily, nothing said of how well they should fit
    model.generate(features, level=8)        # as captions of the best aligned pairs are

Kang et al., 2023, "Noise-aware learning from web-crawled image-text data" (NoC), after Mokady et al., 2021, "ClipCap":
a locked tower's vector is mapped to a few tokens, a learned embedding of the pair's alignment level is appended, and a
decoder says the caption after them. Level 0 is "none said". The decoder is learnt from nothing, over words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError
from pairwright.components.models.words import END, PAD, SPECIAL, START, UNKNOWN, text_of, tokens_of

FORMAT, FORMAT_VERSION = "pairwright-prefix-captioner", 1
CONFIG, WEIGHTS, CARD, VOCABULARY = "config.json", "model.safetensors", "card.md", "vocabulary.txt"
BLOCK = 512  # pictures captioned at once
NONE = 0  # the level of a pair of which none is known, or is not to be told

Cache = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (n, heads, said, width / heads)


@dataclass(frozen=True)
class PrefixShape:
    """Sizes: features in, `prefix` tokens of a picture, one of `levels` (none if 0), a decoder of `width`."""

    features: int
    prefix: int = 4
    levels: int = 0
    hidden: int = 256
    width: int = 128
    layers: int = 6
    heads: int = 4
    max_words: int = 16


class Layer(nn.Module):
    """Causal self-attention and a perceptron, each behind its norm (pre-norm, GPT-2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mix, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.then = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(n, t, width) after what `past` holds -> the same, and keys and values of all so far.

        With a past, t is 1: a single token sees all of it and needs no mask.
        """
        n, t, width = x.shape
        query, key, value = self.mix(self.norm(x)).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=past is None)
        x = x + self.out(seen.transpose(1, 2).reshape(n, t, width))
        return x + self.then(x), (key, value)


class PrefixCaptioner(nn.Module):
    """Mapping, control embedding, decoder; `words` is the vocabulary by number, the special tokens first."""

    def __init__(self, shape: PrefixShape, words: Sequence[str]) -> None:
        super().__init__()
        if shape.width % shape.heads:
            raise ModelError(f"the decoder's width {shape.width} is no multiple of its {shape.heads} heads")
        self.shape, self.words = shape, list(words)
        self.number = {word: i for i, word in enumerate(self.words)}
        self.mapping = nn.Sequential(
            nn.LayerNorm(shape.features),
            nn.Linear(shape.features, shape.hidden),
            nn.GELU(),
            nn.Linear(shape.hidden, shape.prefix * shape.width),
        )
        self.control = nn.Embedding(shape.levels + 1, shape.width) if shape.levels else None
        self.embed = nn.Embedding(len(self.words), shape.width)
        self.place = nn.Parameter(torch.randn(self.prefix_length + shape.max_words + 1, shape.width) * 0.02)
        self.layers = nn.ModuleList(Layer(shape.width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        for embedding in (self.embed, self.control):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=0.02)

    @property
    def prefix_length(self) -> int:
        """Tokens before the caption's start."""
        return self.shape.prefix + (1 if self.shape.levels else 0)

    def prefix(self, features: Tensor, levels: Tensor) -> Tensor:
        """(n, features) and levels (n,), 0 for none -> (n, prefix_length, width)."""
        mapped: Tensor = self.mapping(features.float()).view(len(features), self.shape.prefix, self.shape.width)
        if self.control is None:
            return mapped
        return torch.cat([mapped, self.control(levels)[:, None]], dim=1)

    def logits(self, features: Tensor, levels: Tensor, tokens: Tensor) -> Tensor:
        """Tokens so far (n, t), from START on -> next-token logits after each (n, t, words)."""
        logits, _ = self._decode(torch.cat([self.prefix(features, levels), self.embed(tokens)], dim=1), 0, None)
        return logits[:, self.prefix_length :]

    def nats(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Of logits after tokens[:, :-1]: nats of each word to be said and of the end, 0 for padding (n, t - 1)."""
        said = F.cross_entropy(
            logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), ignore_index=PAD, reduction="none"
        )
        return said.view(len(tokens), -1)

    def _decode(self, x: Tensor, first: int, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Embedded tokens (n, t, width), the first at place `first` -> logits (n, t, words) and the cache with them."""
        x = x + self.place[first : first + x.shape[1]]
        found: Cache = []
        for number, layer in enumerate(self.layers):
            x, held = layer(x, None if cache is None else cache[number])
            found.append(held)
        logits: Tensor = self.norm(x) @ self.embed.weight.T
        return logits, found

    @torch.no_grad()
    def generate(self, features: Tensor, level: int | None = None) -> list[str]:
        """A caption of each picture, greedily, no word twice running.

        Args:
            level: 1..levels, how well the captions should fit; None says nothing of it.

        Raises:
            ModelError: the model knows no such level.
        """
        known = self.shape.levels
        if level is not None and not 1 <= level <= known:
            raise ModelError(f"level {level} was not learnt; " + (f"give 1 to {known}" if known else "there are none"))
        captions: list[str] = []
        for block in features.split(BLOCK):
            rows = self._greedy(block, torch.full((len(block),), level or NONE, device=block.device))
            captions += [text_of(row, self.words) for row in rows.tolist()]
        return captions

    def _greedy(self, features: Tensor, levels: Tensor) -> Tensor:
        """(n, features) -> words and end, (n, at most max_words) int64; each token is computed once."""
        start = torch.full((len(features), 1), START, device=features.device)
        x, first, cache = torch.cat([self.prefix(features, levels), self.embed(start)], dim=1), 0, None
        last, ended, said = start[:, 0], torch.zeros_like(start[:, 0], dtype=torch.bool), []
        for _ in range(self.shape.max_words):
            logits, cache = self._decode(x, first, cache)
            last = torch.where(ended, END, following(logits[:, -1], last))
            said.append(last)
            ended = ended | (last == END)
            if bool(ended.all()):
                break
            first += x.shape[1]
            x = self.embed(last)[:, None]
        return torch.stack(said, dim=1)

    def tokens_of(self, captions: Sequence[str]) -> Tensor:
        """(n, at most max_words + 2) int64: start, words, end, padding."""
        return tokens_of(captions, self.number, self.shape.max_words)

    def save(self, folder: Path, card: str) -> None:
        """Write config.json, model.safetensors, vocabulary.txt and card.md; the same weights, the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self.shape)}
        (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / VOCABULARY).write_text("\n".join(self.words) + "\n", encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")


def following(logits: Tensor, last: Tensor) -> Tensor:
    """The likeliest next token (n,) that can be said and is not the last one (n,) again."""
    barred = logits.clone()
    barred[:, [PAD, START, UNKNOWN]] = -torch.inf
    return barred.scatter_(1, last[:, None], -torch.inf).argmax(1)


def load_prefix_captioner(folder: str | Path, device: str = "cpu") -> PrefixCaptioner:
    """The model in a folder, ready to caption.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no such captioner.
    """
    root = Path(folder)
    try:
        config: dict[str, Any] = json.loads((root / CONFIG).read_text(encoding="utf-8"))
        if config.pop("format", None) != FORMAT:
            raise ModelError(f"{root} is no prefix captioner; name the folder or step that `captioner` trained")
        if config.pop("format_version") > FORMAT_VERSION:
            raise ModelError(f"{root} was written by a newer release; upgrade pairwright")
        words = (root / VOCABULARY).read_text(encoding="utf-8").split("\n")[:-1]
        if tuple(words[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"{VOCABULARY} does not begin with {', '.join(SPECIAL)}")
        model = PrefixCaptioner(PrefixShape(**config), words)
        model.load_state_dict(load_file(root / WEIGHTS))
    except (AttributeError, OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise ModelError(f"{root} is damaged ({reason}); restore the folder or train it again") from None
    return model.to(device).eval().requires_grad_(False)
