"""Averaged weights: an exponential moving average of what is trained (Polyak & Juditsky, 1992).

average = Average(model, decay=0.999); average.update(); with average.applied(): model.save(folder)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pairwright.components.training.parameters import trained


class Average:
    """avg = d avg + (1 - d) w after each step t, d = min(decay, (1 + t) / (10 + t)), in float32."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._parameters = trained(model)
        self._averages = {name: value.detach().float().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of one more step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        averages = list(self._averages.values())
        torch._foreach_lerp_(averages, [w.detach().float() for w in self._parameters.values()], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model holds the averages."""
        kept = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._set(self._averages)
        try:
            yield
        finally:
            self._set(kept)

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])

    def state(self) -> dict[str, Tensor]:
        return {"steps": torch.tensor(self.steps)} | {f"of.{name}": value for name, value in self._averages.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.steps = int(state["steps"])
        for name, value in self._averages.items():
            value.copy_(state[f"of.{name}"])
