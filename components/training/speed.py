"""What makes a training fit and fly: activations computed again, patches left out, compiled forward passes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairwright.components.errors import ModelError

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


def dropped_patches(model: nn.Module, share: float) -> list[Any]:
    """Leave out a share of each picture's patches, anew each time (FLIP; Li et al., 2023); hooks to be removed.

    Known are the patch embeddings of `transformers` CLIP and SigLIP, and modules that say `patch_tokens`: how many
    tokens before the patches stay. Position embeddings are added before, so a patch keeps its place.

    Raises:
        ModelError: no module of the model gives patches.
    """
    found = [(one, kept) for one in model.modules() if (kept := _before_patches(one)) is not None]
    if not found:
        raise ModelError("patch_dropout: nothing in this model gives patches; it needs a ViT trained from pictures")
    return [one.register_forward_hook(_drop(share, kept)) for one, kept in found]


def _before_patches(module: nn.Module) -> int | None:
    known = {"CLIPVisionEmbeddings": 1, "SiglipVisionEmbeddings": 0}
    said = getattr(module, "patch_tokens", known.get(type(module).__name__))
    return said if isinstance(said, int) else None


def _drop(share: float, kept: int) -> Any:
    def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        rows, patches = output.shape[0], output.shape[1] - kept
        stay = max(1, round((1 - share) * patches))
        chosen = torch.rand(rows, patches, device=output.device).argsort(1)[:, :stay].sort(1).values + kept
        every = torch.arange(kept, device=output.device).expand(rows, kept)
        places = torch.cat([every, chosen], dim=1)
        return output.gather(1, places[..., None].expand(-1, -1, output.shape[2]))

    return hook


def compiled(model: nn.Module) -> None:
    """torch.compile each repeated layer, or say why not; a first pass that cannot be compiled runs as it was."""
    torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as written; dynamo warns of it
    try:
        found = [layer for layers in layers_of(model) for layer in layers] or [model]
        for module in found:
            module.compile()
    except Exception as error:
        log.warning("training goes on without torch.compile: %s", str(error).splitlines()[0])
