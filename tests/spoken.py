"""A language of few tokens whose probabilities are written down, for tests of decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Spoken = Callable[[int, tuple[int, ...]], Sequence[float]]  # (example, tokens so far) -> logits of the next


class WrittenSession:
    """A session that looks its logits up; `calls` counts rows asked for."""

    def __init__(self, spoken: Spoken, examples: Sequence[int], said: Sequence[tuple[int, ...]] | None = None) -> None:
        self.spoken, self.examples = spoken, list(examples)
        self.said = list(said) if said is not None else [()] * len(self.examples)

    @property
    def size(self) -> int:
        return len(self.examples)

    def logits(self) -> Tensor:
        rows = [self.spoken(example, said) for example, said in zip(self.examples, self.said, strict=True)]
        return torch.tensor(np.array(rows), dtype=torch.float32)

    def append(self, tokens: Tensor) -> None:
        self.said = [(*said, token) for said, token in zip(self.said, tokens.tolist(), strict=True)]

    def select(self, rows: Tensor) -> WrittenSession:
        at = rows.tolist()
        return WrittenSession(self.spoken, [self.examples[row] for row in at], [self.said[row] for row in at])


def babble(vocabulary: int, seed: int = 0, spread: float = 1.5) -> Spoken:
    """Logits drawn anew for each example and each text so far, the same whenever they are asked for."""

    def spoken(example: int, said: tuple[int, ...]) -> Sequence[float]:
        return np.random.default_rng([seed, example, len(said), *said]).normal(0, spread, vocabulary)  # type: ignore[return-value]

    return spoken


def log_probability(spoken: Spoken, example: int, text: Sequence[int]) -> float:
    """Of a whole text, by the chain rule."""
    total = 0.0
    for time, token in enumerate(text):
        logits = np.asarray(spoken(example, tuple(text[:time])), np.float64)
        total += logits[token] - np.log(np.exp(logits).sum())
    return total


def written_out(row: Sequence[int], end: int) -> tuple[int, ...]:
    """A row of tokens up to its end, the end included."""
    tokens = tuple(row)
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens
