"""A transformer that reads a source and writes a text, each token by saying a known word or by copying one.

After CopyNet (Gu et al., 2016): both ways share one softmax, p(w) = p(say w) + sum of p(copy i) over the places i of
the source that hold w; what was copied last is read again for the next token. Copying goes on: the place behind one
that holds the last word has a head start, which is learnt and is all that a run of rare words needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairwright.components.errors import ModelError
from pairwright.components.models.copying.source import END, NOWHERE, PAD, START, UNKNOWN, Vocabulary
from pairwright.components.models.decoding.settings import Decoding

BLOCK = 64  # sources written at once
MORE = 8  # tokens of a text beyond those of its source, at most: what merges texts says little of its own
FLAGS = 2  # a capital, shared
NEVER = (PAD, START, UNKNOWN)


class Copying(nn.Module):
    """`longest` is a text's tokens at most, its start and end not counted."""

    def __init__(self, vocabulary: Vocabulary, longest: int, width: int = 96, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        if width % heads:
            raise ModelError(f"the width {width} is no multiple of the {heads} heads")
        self.vocabulary, self.longest, self.heads, self.depth = vocabulary, longest, heads, layers
        self.word = nn.Embedding(len(vocabulary), width)
        self.field = nn.Embedding(len(vocabulary.given), width)
        self.place = nn.Embedding(vocabulary.longest, width)
        self.time = nn.Embedding(longest + 1, width)
        self.flags = nn.Linear(FLAGS, width)
        shape: dict[str, Any] = {"d_model": width, "nhead": heads, "dim_feedforward": 2 * width, "dropout": 0.0}
        common: dict[str, Any] = {"activation": "gelu", "batch_first": True, "norm_first": True}
        self.reads = nn.ModuleList(nn.TransformerEncoderLayer(**shape, **common) for _ in range(layers))
        self.writes = nn.ModuleList(nn.TransformerDecoderLayer(**shape, **common) for _ in range(layers))
        self.read_norm, self.write_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks, self.offers, self.again = (nn.Linear(width, width) for _ in range(3))
        self.goes_on = nn.Parameter(torch.tensor(2.0))  # the head start, in nats
        for embedding in (self.word, self.field, self.place, self.time):
            nn.init.normal_(embedding.weight, std=0.02)

    @property
    def width(self) -> int:
        return self.word.embedding_dim

    def encode(self, source: Mapping[str, Tensor]) -> Tensor:
        """Sources -> (n, s, width)."""
        known = self._known(source["words"])
        flags = torch.stack([source["capital"], source["shared"]], dim=-1).to(self.goes_on.dtype)
        x = self.word(known) + self.field(source["field"]) + self.place(source["place"]) + self.flags(flags)
        for layer in self.reads:
            x = layer(x, src_key_padding_mask=source["words"] == NOWHERE)
        encoded: Tensor = self.read_norm(x)
        return encoded

    def scores(self, encoded: Tensor, words: Tensor, said: Tensor) -> Tensor:
        """Texts so far (n, t), from the start on -> log p of saying each known word and of copying each place.

        Returns:
            (n, t, V + s).
        """
        there = words != NOWHERE
        at = (words[:, None] == said[:, :, None]) & there[:, None]  # (n, t, s): where the last word stands
        share = at / at.sum(-1, keepdim=True).clamp(min=1)
        x = self.word(self._known(said)) + self.time.weight[: said.shape[1]] + self.again(share @ encoded)
        ahead = torch.ones(said.shape[1], said.shape[1], dtype=torch.bool, device=said.device).triu(1)
        for layer in self.writes:
            x = layer(x, encoded, tgt_mask=ahead, memory_key_padding_mask=~there)
        x = self.write_norm(x)
        copied = self.asks(x) @ self.offers(encoded).transpose(1, 2) / self.width**0.5
        behind = torch.cat([torch.zeros_like(at[..., :1]), at[..., :-1]], dim=-1)
        copied = (copied + self.goes_on * behind).masked_fill(~there[:, None], -torch.inf)
        return torch.cat([x @ self.word.weight.T, copied], dim=-1).float().log_softmax(-1)

    def nats(self, scores: Tensor, words: Tensor, targets: Tensor) -> Tensor:
        """Of scores after targets[:, :-1]: nats of each of targets[:, 1:], 0 of padding (n, t - 1)."""
        wanted, size = targets[:, 1:], len(self.vocabulary)
        say = scores[..., :size].gather(-1, self._known(wanted)[..., None])
        say = say.masked_fill((wanted >= size)[..., None], -torch.inf)
        copy = scores[..., size:].masked_fill(words[:, None] != wanted[..., None], -torch.inf)
        return -torch.cat([say, copy], dim=-1).logsumexp(-1).masked_fill(wanted == PAD, 0.0)

    def words(self, scores: Tensor, words: Tensor, behind: int) -> Tensor:
        """Scores (n, V + s) -> log p of each word, those of the source behind the known ones (n, V + behind)."""
        p, size = scores.exp(), len(self.vocabulary)
        said = torch.cat([p[:, :size], p.new_zeros(len(p), behind)], dim=1)
        found = said.scatter_add(1, words.clamp(min=0), p[:, size:] * (words != NOWHERE))
        return found.log()

    def _known(self, words: Tensor) -> Tensor:
        """Known words' numbers, UNKNOWN for what stands behind them, PAD for nothing."""
        return torch.where(words >= len(self.vocabulary), UNKNOWN, words.clamp(min=PAD))

    @torch.no_grad()
    def write(self, examples: Sequence[Mapping[str, str]], decoding: Decoding | None = None) -> list[tuple[str, bool]]:
        """Each example's text, and whether it came to its end."""
        wish, found = decoding or Decoding(), []
        longest, device = min(wish.most or self.longest, self.longest), self.goes_on.device
        for first in range(0, len(examples), BLOCK):
            source, unknown = self.vocabulary.read(examples[first : first + BLOCK])
            placed = {name: value.to(device) for name, value in source.named().items()}
            session = CopySession.of(self, placed, max(map(len, unknown), default=0))
            most = min(longest, source.words.shape[1] + MORE)
            processors = wish.processors(END, NEVER, (), (), most)
            said = wish.decode(session, END, most, processors)[:, 0].tolist()
            texts = (self.vocabulary.text(*one) for one in zip(said, unknown, strict=True))
            found += [(text, END in numbers) for text, numbers in zip(texts, said, strict=True)]
        return found


class CopySession:
    """Texts in the making over encoded sources; words of a source are numbered behind the known ones."""

    def __init__(self, model: Copying, encoded: Tensor, words: Tensor, behind: int, said: Tensor) -> None:
        self.model, self.encoded, self.words, self.behind, self.said = model, encoded, words, behind, said

    @classmethod
    def of(cls, model: Copying, source: Mapping[str, Tensor], behind: int) -> CopySession:
        start = torch.full_like(source["words"][:, :1], START)
        return cls(model, model.encode(source), source["words"], behind, start)

    @property
    def size(self) -> int:
        return len(self.said)

    def logits(self) -> Tensor:
        scores = self.model.scores(self.encoded, self.words, self.said)[:, -1]
        return self.model.words(scores, self.words, self.behind)

    def append(self, tokens: Tensor) -> None:
        self.said = torch.cat([self.said, tokens[:, None]], dim=1)

    def select(self, rows: Tensor) -> CopySession:
        return CopySession(self.model, self.encoded[rows], self.words[rows], self.behind, self.said[rows])
