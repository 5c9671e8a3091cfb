"""A text tower that is told what kind of text it reads, by learnt tokens before it (Saito et al., 2023).

    tower = PrefixedText(base, ("caption", "class"), tokens=1); tower(**tower.tokens(["a dog"]))

Each kind has tokens of its own, drawn at first as large as the base tower's; texts are read as `default` unless their
`kind` says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pairwright.components.models.towers.tower import TextTower

KIND = "prefixed-text"


class PrefixedText(TextTower):
    """Texts -> (n, base's width).

    Attributes:
        kinds: names of the kinds of text; `default` is the one that `tokens` says.
    """

    kind = KIND
    varying = {"ids": (0, 1), "mask": (0, 1), "kind": (0,)}

    def __init__(self, base: TextTower, kinds: Sequence[str], tokens: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.base, self.kinds, self.width, self.default = base, tuple(kinds), base.width, 0
        noise = torch.Generator().manual_seed(seed)
        vectors = base.token_vectors().detach()
        spread = float(vectors.float().std())
        # A parameter each: where no text of a kind is read its gradient is none at all, and no optimizer moves it.
        self.prefixes = nn.ParameterDict(
            {name: nn.Parameter(spread * torch.randn(tokens, vectors.shape[1], generator=noise)) for name in kinds}
        )
        self.to(base.device)
        self.eval()

    def config(self) -> dict[str, Any]:
        tokens = len(self.prefixes[self.kinds[0]])
        said = {"kinds": list(self.kinds), "tokens": tokens, "width": self.width, "base": self.base.config()}
        return super().config() | said

    def save_tokenizer(self, folder: Path) -> None:
        self.base.save_tokenizer(folder)

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        kind = torch.full((len(texts),), self.default, dtype=torch.long, device=self.device)
        return {**self.base.tokens(texts), "kind": kind}

    def forward(self, ids: Tensor, mask: Tensor, kind: Tensor) -> Tensor:  # type: ignore[override]
        first = next(iter(self.prefixes.values()))
        prefix = first.new_zeros((len(ids), *first.shape))
        for number in kind.unique().tolist():
            prefix = torch.where((kind == number)[:, None, None], self.prefixes[self.kinds[number]], prefix)
        return self.base.with_prefix(ids, mask, prefix)
