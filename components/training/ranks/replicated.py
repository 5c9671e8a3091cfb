"""Replicated ranks: each holds all weights, and after a batch their gradients are averaged (`parallel: replicated`).

What another way of holding them must answer is what this class answers (sharded.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from pairwright.components.training.ranks.parallel import average_gradients

T = TypeVar("T")


class Replicated:
    """Weights whole on every rank; one process is a rank alone."""

    def run(self, call: Callable[[], T]) -> T:
        """What computes with the modules' weights: forward passes and losses."""
        return call()

    def turns(self, parts: int) -> int:
        """How many micro-batches this rank computes, its own `parts` among them."""
        return parts

    def backward(self, outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], idle: Sequence[Tensor]) -> None:
        """Gradients of `outputs`. `idle` is what this rank computed beside and other ranks may have a gradient for."""
        if outputs:
            torch.autograd.backward(list(outputs), list(gradients))

    def settle(self, parameters: Sequence[nn.Parameter]) -> None:
        """After a batch's last backward pass: every rank has the mean of the ranks' gradients."""
        average_gradients(parameters)

    def clip(self, parameters: Sequence[nn.Parameter], most: float) -> float:
        """Scale the gradients to a joint norm of at most `most`; the norm they had."""
        return float(nn.utils.clip_grad_norm_(parameters, most))

    def explained(self, error: RuntimeError) -> Exception:
        """What to raise in place of an error of torch's in a step."""
        return error

    def gather(self) -> None:
        """After the training: rank 0 holds plain modules with whole weights."""
