"""What decoding asks of a model, and classifier-free guidance in these terms."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Session(Protocol):
    """Texts in the making, a row each: a model, what it goes on from, and what was said so far."""

    @property
    def size(self) -> int:
        """Rows."""

    def logits(self) -> Tensor:
        """Of each row's next token, (size, vocabulary) float32, of any scale."""

    def append(self, tokens: Tensor) -> None:
        """These tokens (size,) were said."""

    def select(self, rows: Tensor) -> Session:
        """A session of its own that goes on from these rows (m,), in this order; a row may stand in it often."""


def guide(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """log p0 + g (log p1 - log p0), from logits (..., vocabulary) of either.

    Kornblith et al., 2023, "Guiding image captioning models toward more specific captions", eq. 4. Both are normalised
    first: a constant that differs from step to step leaves the likeliest token as it is, but ranks beams otherwise.
    """
    p1, p0 = conditional.log_softmax(-1), unconditional.log_softmax(-1)
    return p0 + guidance * (p1 - p0)


class Guided:
    """n rows guided by g: of 2n rows of a session the first n see the condition, the others do not."""

    def __init__(self, both: Session, guidance: float) -> None:
        if both.size % 2:
            raise ValueError(f"guidance needs rows with and without the condition; {both.size} is odd")
        self.both, self.guidance = both, guidance

    @property
    def size(self) -> int:
        return self.both.size // 2

    def logits(self) -> Tensor:
        conditional, unconditional = self.both.logits().chunk(2)
        return guide(conditional, unconditional, self.guidance)

    def append(self, tokens: Tensor) -> None:
        self.both.append(tokens.repeat(2))

    def select(self, rows: Tensor) -> Guided:
        return Guided(self.both.select(torch.cat([rows, rows + self.size])), self.guidance)
