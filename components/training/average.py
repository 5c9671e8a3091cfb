"""Averaged weights: an exponential moving average of what is trained (Polyak & Juditsky, 1992).

average = Average(model, decay=0.999); average.update(); with average.applied(): model.save(folder)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pairwright.components.training.parameters import trained
from pairwright.components.training.ranks.shares import cut, own, whole


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
        averages = [own(value) for value in self._averages.values()]
        weights = [own(value.detach()).float() for value in self._parameters.values()]
        torch._foreach_lerp_(averages, weights, 1 - decay)

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

    def gather(self, model: nn.Module, here: bool) -> None:
        """Whole averages `here`, of a model that was sharded and is plain now; every rank asks for it together."""
        gathered = ((name, value, whole(value)) for name, value in self._averages.items())
        self._averages = {name: full if here else share for name, share, full in gathered}
        self._parameters = trained(model)

    def state(self) -> dict[str, Tensor]:
        return {"steps": torch.tensor(self.steps)} | {f"of.{name}": value for name, value in self._averages.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.steps = int(state["steps"])
        for name, value in self._averages.items():
            own(value).copy_(own(cut(state[f"of.{name}"], value)))
