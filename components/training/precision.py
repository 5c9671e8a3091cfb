"""What training computes in: float32, bfloat16, or float16 with a loss scale."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from pairwright.components.training.ranks.shares import own

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str, rank: int) -> torch.device:
    """`auto` is a GPU where there is one; ranks of one machine take turns over its GPUs."""
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", rank % torch.cuda.device_count())


def resolve_precision(precision: str, device: torch.device) -> str:
    """`auto` means bf16 on a GPU that has it; a CPU computes in float32 unless told otherwise."""
    if precision == "auto":
        return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return precision


INITIAL_SCALE, LEAST_SCALE, GROWS_AFTER = 2.0**16, 1.0, 2000


class Precision:
    """Casts the forward pass, and scales the loss where its gradients would vanish (Micikevicius et al., 2018).

    Attributes:
        scale: what losses are multiplied by before `backward`; 1 but in float16.
        scaled_down: steps that a scale too large made infinite: the scale was halved, the step not taken. These are
            the way to find the scale and no faults of the training.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self.device = name, device
        self.scale = INITIAL_SCALE if name == "float16" else 1.0
        self.scaled_down, self._taken = 0, 0

    def autocast(self) -> AbstractContextManager[Any]:
        half = HALVES.get(self.name, torch.bfloat16)
        return torch.autocast(self.device.type, half, enabled=self.name in HALVES)

    def unscale(self, gradients: list[Tensor]) -> None:
        if self.scale != 1.0:
            torch._foreach_mul_([own(gradient) for gradient in gradients], 1 / self.scale)

    def found_infinite(self) -> bool:
        """After a gradient that is not finite: may it be the scale's doing? Then it is halved, and the step let go."""
        if self.scale <= LEAST_SCALE:
            return False
        self.scale, self._taken = self.scale / 2, 0
        self.scaled_down += 1
        return True

    def taken(self) -> None:
        """After a step that was taken: 2,000 of them in a row double the scale."""
        if self.name == "float16":
            self._taken += 1
            if self._taken >= GROWS_AFTER:
                self.scale, self._taken = self.scale * 2, 0

    def state(self) -> list[float]:
        return [self.scale, self._taken, self.scaled_down]

    def restore(self, state: list[float]) -> None:
        self.scale, self._taken, self.scaled_down = float(state[0]), int(state[1]), int(state[2])
