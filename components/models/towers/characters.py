"""Characters -> a bidirectional GRU -> attention over time for every dimension: a text tower without a vocabulary.

    text_tower: builtin:characters            # 256 a direction; builtin:characters-1024 is as wide as the paper's

The text side of Merkx & Frank (2019): each dimension d of the states h_t is pooled by weights of its own,

    a_t = softmax_t(V tanh(W h_t)), one column a dimension;  y_d = sum_t a_td h_td

(vectorial self-attention). Padding has no share: in the authors' code (github.com/DannyMerkx/caption2image) it does, so
that there a text's vector depends on the longest of its batch. A word never seen is read like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pairwright.components.models.towers.tower import TextTower

KIND = "characters"
SYMBOLS = "".join(map(chr, range(32, 127)))  # printable ASCII; whatever is not among them is one symbol more
PAD, UNKNOWN, FIRST = 0, 1, 2  # ids; the symbols follow
IDS = {symbol: at for at, symbol in enumerate(SYMBOLS, FIRST)}
EMBEDDING, ATTENTION = 20, 128  # the paper's
HIDDEN, PAPER_HIDDEN = 256, 1024  # a direction
LONGEST = 200  # characters read of a text
SEED = 4


class CharacterTower(TextTower):
    """Texts -> (n, 2 * hidden)."""

    kind = KIND

    def __init__(self, hidden: int = HIDDEN, seed: int = SEED) -> None:
        super().__init__()
        self.hidden, self.seed, self.width = hidden, seed, 2 * hidden
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Embedding(FIRST + len(SYMBOLS), EMBEDDING, padding_idx=PAD)
            self.gru = nn.GRU(EMBEDDING, hidden, batch_first=True, bidirectional=True)
            self.w, self.v = nn.Linear(self.width, ATTENTION), nn.Linear(ATTENTION, self.width)
        self.eval()

    def config(self) -> dict[str, Any]:
        return super().config() | {"hidden": self.hidden, "width": self.width, "seed": self.seed}

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """An empty text is one space, so that every text has a character."""
        coded = [[IDS.get(one, UNKNOWN) for one in (text or " ")[:LONGEST]] for text in texts]
        length = max((len(one) for one in coded), default=1)
        ids = torch.tensor([one + [PAD] * (length - len(one)) for one in coded], dtype=torch.long, device=self.device)
        ids = ids.view(len(coded), length)
        return {"ids": ids, "mask": ids != PAD}

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        h = self.states(ids, mask)
        return (self.attention(h, mask) * h).sum(1)

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(n, length) -> h, (n, length, width), 0 where there is padding."""
        lengths = mask.sum(1).cpu()
        packed = pack_padded_sequence(self.embed(ids), lengths, batch_first=True, enforce_sorted=False)
        h, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=ids.shape[1])
        return h

    def attention(self, h: Tensor, mask: Tensor) -> Tensor:
        """h -> a, (n, length, width): for every dimension weights over time that sum to 1, 0 on padding."""
        scores: Tensor = self.v(torch.tanh(self.w(h)))
        return scores.masked_fill(~mask[:, :, None], -torch.inf).softmax(1)
