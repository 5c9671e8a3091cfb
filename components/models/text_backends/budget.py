"""What a job may spend, in requests, tokens and money, and what one answer may cost at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MILLION = 1_000_000
AROUND = 64  # tokens that a chat template may put around a prompt


class Usage(NamedTuple):
    """Tokens of the prompt and of the answer."""

    prompt: int = 0
    completion: int = 0


class Spent(NamedTuple):
    """Of a job, over all its runs and workers; what was in flight when one was killed counts as paid for."""

    requests: int
    prompt: int
    completion: int


@dataclass(frozen=True)
class Budget:
    """None: no limit. Prices are money for a million tokens."""

    max_requests: int | None = None
    max_tokens: int | None = None
    max_money: float | None = None
    prompt_price: float = 0.0
    completion_price: float = 0.0

    def money(self, prompt: int, completion: int) -> float:
        return (prompt * self.prompt_price + completion * self.completion_price) / MILLION

    def allows(self, spent: Spent) -> bool:
        """Whether a job may have spent as much."""
        tokens, money = spent.prompt + spent.completion, self.money(spent.prompt, spent.completion)
        limits = ((self.max_requests, spent.requests), (self.max_tokens, tokens), (self.max_money, money))
        return all(limit is None or value <= limit for limit, value in limits)


def most_of(prompt: str, max_new_tokens: int) -> Usage:
    """At most what an answer costs: no tokenizer makes more tokens of a text than it has bytes."""
    return Usage(len(prompt.encode("utf-8", "replace")) + AROUND, max_new_tokens)
