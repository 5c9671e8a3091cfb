"""Looks: what the captioner says of the same few pictures as the training goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.pretrain.self_critical.policy import spoken, texts_of

Told = Callable[[np.ndarray], Mapping[str, Tensor]]  # numbers of examples -> what is told of them
UNSEEN = -1


class Looks:
    """Greedy captions of the pictures `numbers`, after each of `count` equal shares of the training.

    Attributes:
        steps: int64 (count,), after which step each look was; -1 where it is still to come.
        tokens: int64 (count, pictures, 1 + longest).
    """

    def __init__(self, size: int, shown: int, count: int, longest: int, told: Told) -> None:
        few = min(size, shown)
        self.numbers = np.arange(few) * size // max(few, 1)
        self.told = told
        self.steps = torch.full((count,), UNSEEN)
        self.tokens = torch.full((count, few, 1 + longest), UNSEEN)

    def due(self, done: int, steps: int) -> int | None:
        """Which look comes after `done` of `steps` steps."""
        count = len(self.steps)
        return next((at for at in range(count) if round(steps * (at + 1) / count) == done), None)

    def note(self, model: Captioner, done: int, steps: int) -> None:
        at = self.due(done, steps)
        if at is not None:
            self.steps[at], self.tokens[at] = done, spoken(model, self.told(self.numbers)).cpu()

    def captions(self, start: Captioner) -> dict[int, list[str]]:
        """By step: what `start` says, as step 0, and what was said at each look that was taken."""
        found = {0: texts_of(start, spoken(start, self.told(self.numbers)))}
        for step, tokens in zip(self.steps.tolist(), self.tokens, strict=True):
            if step != UNSEEN:
                found[step] = texts_of(start, tokens)
        return found

    def state_dict(self) -> dict[str, Tensor]:
        return {"looks": self.steps.clone(), "looked": self.tokens.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.steps, self.tokens = state["looks"].clone(), state["looked"].clone()
