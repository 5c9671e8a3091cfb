"""A second branch of the towers being trained: the same modules with weights of its own.

Only what is trained is kept twice; locked towers are the target's. An anchor follows it as an average, stays where
training began, or learns by itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pairwright.components.pretrain.towers_in_training import TowersInTraining
from pairwright.components.training.parameters import trained as learning


class Branch(nn.Module):
    """Copies of the trained weights, by position.

    Args:
        trained: the copies learn; else no gradient reaches them.
    """

    def __init__(self, towers: TowersInTraining, trained: bool) -> None:
        super().__init__()
        self._both = (_Both(towers),)  # in a tuple, so that the target's weights are not this module's
        self.names = list(learning(self._both[0]))
        copies = [nn.Parameter(value.clone(), requires_grad=trained) for value in self._target()]
        self.copies = nn.ParameterList(copies)

    def forward(self, image: Any, text: Any) -> tuple[Tensor, Tensor]:
        """What the loader collated -> unit vectors (n, d), (n, d) by this branch's weights."""
        weights = dict(zip(self.names, self.copies, strict=True))
        found: tuple[Tensor, Tensor] = functional_call(self._both[0], weights, (image, text))
        return found

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """copies = decay copies + (1 - decay) target."""
        torch._foreach_lerp_([copy.data for copy in self.copies], self._target(), 1 - decay)

    def _target(self) -> list[Tensor]:
        """By name, as the recipe's `freeze` may have switched off some since."""
        every = dict(self._both[0].named_parameters())
        return [every[name].detach() for name in self.names]


class _Both(nn.Module):
    """Both sides as one forward pass, which is what `functional_call` calls."""

    def __init__(self, towers: TowersInTraining) -> None:
        super().__init__()
        self.encoder, self._towers = towers.model, (towers,)

    def forward(self, image: Any, text: Any) -> tuple[Tensor, Tensor]:
        return self._towers[0].embed_image(image), self._towers[0].embed_text(text)
