"""What makes a training fit and fly: activations computed again, weights in shares, compiled forward passes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

log = logging.getLogger(__name__)


def layers_of(model: nn.Module) -> Iterator[nn.ModuleList]:
    """The lists of repeated layers of a model's towers: two or more modules of one class."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) > 1 and len({type(one) for one in module}) == 1:
            yield module


def recomputed(model: nn.Module) -> None:
    """Keep no activations inside repeated layers; the backward pass computes them again, dropout included."""
    for layers in layers_of(model):
        for layer in layers:
            layer.forward = _again(layer, layer.forward)  # type: ignore[method-assign]


def _again(layer: nn.Module, forward: Any) -> Any:
    def run(*args: Any, **named: Any) -> Any:
        if not layer.training:
            return forward(*args, **named)
        return checkpoint(forward, *args, use_reentrant=False, **named)

    return run


def sharded(model: nn.Module) -> None:
    """Each rank keeps a share of the trained weights, their gradients and moments (FSDP2), layer by layer."""
    from torch.distributed.fsdp import fully_shard

    for layers in layers_of(model):
        for layer in layers:
            fully_shard(layer)
    fully_shard(model)


def compiled(model: nn.Module) -> None:
    """torch.compile each repeated layer, or say why not; a first pass that cannot be compiled runs as it was."""
    import torch

    torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as written; dynamo warns of it
    try:
        found = [layer for layers in layers_of(model) for layer in layers] or [model]
        for module in found:
            module.compile()
    except Exception as error:
        log.warning("training goes on without torch.compile: %s", str(error).splitlines()[0])
