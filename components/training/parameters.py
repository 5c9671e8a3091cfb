"""Which parameters are trained, how fast each, and the proof that the others stayed.

freeze(model, ("image_tower",)); groups = parameter_groups(model, 0.1, rates={"text_tower": 0.1}, layer_decay=0.9)
before = frozen_hash(model, moving=("anchor.",))
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairwright.components.errors import ModelError, nearest
from pairwright.components.training.ranks.shares import is_shared, whole

LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?|resblocks|h)\.(\d+)\.")  # of transformers', ours and open_clip's towers
FIRST = re.compile(r"(?:^|\.)(?:\w*embed\w*|patch\w*|conv1|stem|pre_layrnorm|ln_pre)(?:\.|$)")


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Train no parameter whose name holds one of the patterns (regular expressions, searched for).

    Raises:
        ModelError: a pattern fits none, so that it would freeze nothing.
    """
    for pattern in patterns:
        fits = [parameter for name, parameter in model.named_parameters() if re.search(pattern, name)]
        if not fits:
            raise ModelError(f'freeze: "{pattern}" fits no parameter{_near(model, pattern)}')
        for parameter in fits:
            parameter.requires_grad_(False)


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    *,
    rates: Mapping[str, float] | None = None,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """AdamW groups of what is trained: matrices decay; biases, norms and temperatures do not.

    Args:
        rates: pattern -> factor of the learning rate (a group's `factor`); the first that fits a name counts.
        layer_decay: a tower's layer i of L has the factor `layer_decay ** (L - 1 - i)`, what comes before its layers
            `layer_decay ** L`, what comes after them 1 (Clark et al., 2020; Bao et al., 2021).

    Raises:
        ModelError: a pattern of `rates` fits no trained parameter.
    """
    parameters = trained(model)
    for pattern in rates or {}:
        if not any(re.search(pattern, name) for name in parameters):
            raise ModelError(f'rates: "{pattern}" fits no trained parameter{_near(model, pattern)}')
    depths = _depths(parameters)
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {(True, 1.0, False): [], (False, 1.0, False): []}
    for name, parameter in parameters.items():
        factor = next((value for pattern, value in (rates or {}).items() if re.search(pattern, name)), 1.0)
        if layer_decay < 1:
            factor *= layer_decay ** _layers_above(name, depths)
        # AdamW steps over a group at once, which shared and whole tensors cannot be mixed in.
        groups.setdefault((parameter.ndim >= 2, factor, is_shared(parameter)), []).append(parameter)
    return [
        {"params": found, "weight_decay": weight_decay if matrix else 0.0, "factor": factor}
        for (matrix, factor, _), found in groups.items()
        if found or factor == 1.0
    ]


def _depths(names: Iterable[str]) -> dict[str, int]:
    """Name before a layer's number -> how many layers there are."""
    depths: dict[str, int] = {}
    for name in names:
        if found := LAYER.search(name):
            prefix = name[: found.start()]
            depths[prefix] = max(depths.get(prefix, 0), int(found[1]) + 1)
    return depths


def _layers_above(name: str, depths: Mapping[str, int]) -> int:
    if found := LAYER.search(name):
        return depths[name[: found.start()]] - 1 - int(found[1])
    if FIRST.search(name):
        tower = name.partition(".")[0]
        return max((depth for prefix, depth in depths.items() if prefix.partition(".")[0] == tower), default=0)
    return 0


def is_moving(name: str, moving: Sequence[str]) -> bool:
    """Whether a name is of what changes without a gradient."""
    return any(name.startswith(prefix) for prefix in moving)


def frozen_hash(model: nn.Module, moving: Sequence[str] = ()) -> str:
    """SHA-256 of every parameter that is not trained, by name, but of those that move without a gradient."""
    hasher = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if not parameter.requires_grad and not is_moving(name, moving):
            hasher.update(name.encode())
            hasher.update(as_bytes(whole(parameter.detach())))
    return hasher.hexdigest()


def as_bytes(tensor: Tensor) -> Any:
    """A tensor's memory, for hashing."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else b""


def _near(model: nn.Module, pattern: str) -> str:
    return nearest(pattern, {part for name, _ in model.named_parameters() for part in (name, name.partition(".")[0])})
