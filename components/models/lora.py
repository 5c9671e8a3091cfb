"""LoRA: a low-rank update beside each chosen linear layer, its own weight locked.

    adapt(model, layers=("q_proj", "v_proj"), rank=8, alpha=16)     # h = W x + (alpha / rank) B A x
    ... train ...
    save_adapter(model, folder); merge(model)                       # W + (alpha / rank) B A, plain layers again

LoRA (Hu et al., 2021, eq. 3): A is drawn as `nn.Linear` draws its weight, B is zero, so an adapted model
begins as the model it adapts; W never moves, so its hash stays. An adapted layer is still an `nn.Linear`
whose `weight` and `bias` keep their names: a model folder saved after `merge` loads as any other.
Mechanism verified by test, no paper's figure reproduced.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError, nearest

ADAPTER, ADAPTER_CONFIG = "adapter.safetensors", "adapter.json"
# Queries and values of the attentions we know: transformers' CLIP and SigLIP, BERT's, our tiny towers'.
ATTENTION_LAYERS = ("q_proj", "v_proj", "query", "value", "qkv")


class LoraLinear(nn.Linear):
    """(…, in) -> (…, out): the locked layer plus `scaling` B A.

    Attributes:
        lora_a: (rank, in); lora_b: (out, rank), zero at first. `scaling` is alpha / rank.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        nn.Module.__init__(self)  # the base's own tensors are taken over, none is drawn
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight.requires_grad_(False), base.bias
        if base.bias is not None:
            base.bias.requires_grad_(False)
        self.rank, self.alpha = rank, alpha
        options: dict[str, Any] = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.lora_a = nn.Parameter(torch.empty(rank, self.in_features, **options))
        self.lora_b = nn.Parameter(torch.zeros(self.out_features, rank, **options))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank

    def forward(self, input: Tensor) -> Tensor:
        plain = F.linear(input, self.weight, self.bias)
        if not self.alpha:
            return plain
        return plain + F.linear(F.linear(input, self.lora_a), self.lora_b) * self.scaling

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer of weight W + scaling B A, in W's precision."""
        layer = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        weight = self.weight
        if self.alpha:
            weight = nn.Parameter(self.weight + self.lora_b @ self.lora_a * self.scaling)
        layer.weight, layer.bias = weight.requires_grad_(False), self.bias
        return layer


def adapt(
    module: nn.Module, *, rank: int, alpha: float, layers: Sequence[str] = ATTENTION_LAYERS, seed: int = 0
) -> list[str]:
    """Put an adapter beside every linear layer of `module` that is called one of `layers`; their names.

    Nothing else changes: which other parameters are trained is the caller's choice. `rank` 0 adapts
    nothing. The same seed draws the same A.

    Raises:
        ModelError: no linear layer has such a name.
    """
    if rank == 0:
        return []
    linear = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    chosen = [(name, layer) for name, layer in linear if name.rpartition(".")[2] in layers]
    if not chosen:
        known = {name.rpartition(".")[2] for name, _ in linear}
        if not known:
            raise ModelError(f"{type(module).__name__} has no linear layer for LoRA to adapt; leave it locked")
        raise ModelError(f"no linear layer is called {', '.join(layers)}{nearest(layers[0] if layers else '', known)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, layer in chosen:
            _replace(module, name, LoraLinear(layer, rank, alpha))
    return [name for name, _ in chosen]


def adapted(module: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """Every adapted layer by name."""
    for name, layer in module.named_modules():
        if isinstance(layer, LoraLinear):
            yield name, layer


def merge(module: nn.Module) -> nn.Module:
    """Fold every adapter into its layer's weight, in place; the module is plain again."""
    for name, layer in list(adapted(module)):
        _replace(module, name, layer.merged())
    return module


def save_adapter(module: nn.Module, folder: str | Path) -> None:
    """Write adapter.safetensors (A and B of every layer) and adapter.json (rank, alpha, what it was trained beside)."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    found = dict(adapted(module))
    tensors = {f"{name}.{part}": getattr(layer, part) for name, layer in found.items() for part in ("lora_a", "lora_b")}
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, root / ADAPTER)
    config = {
        "layers": {name: {"rank": layer.rank, "alpha": layer.alpha} for name, layer in found.items()},
        "base": locked_hash(module),
        "trained": sorted(name for name, parameter in module.named_parameters() if parameter.requires_grad),
        "trained_share": trained_share(module),
    }
    (root / ADAPTER_CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@torch.no_grad()
def load_adapter(module: nn.Module, folder: str | Path) -> nn.Module:
    """Put a saved adapter beside the layers of the base it was trained on, in place.

    Raises:
        ModelError: the folder holds no adapter, one of another architecture, or one of other locked weights.
    """
    root = Path(folder)
    try:
        config = json.loads((root / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(root / ADAPTER)
        if locked_hash(module, config["trained"]) != config["base"]:
            raise ValueError("its locked weights are others")
        for name, said in config["layers"].items():
            layer = module.get_submodule(name)
            if not isinstance(layer, nn.Linear):
                raise AttributeError(f"{name} is no linear layer")
            beside = LoraLinear(layer, said["rank"], said["alpha"])
            beside.lora_a.copy_(tensors[f"{name}.lora_a"])
            beside.lora_b.copy_(tensors[f"{name}.lora_b"])
            _replace(module, name, beside)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        problem = str(error).splitlines()[0]
        raise ModelError(
            f"{root} holds no adapter of this model ({problem}); name the model it was trained on"
        ) from None
    return module


def locked_hash(module: nn.Module, trained: Iterable[str] | None = None) -> str:
    """SHA-256 of every parameter and buffer that is not trained, by name.

    Args:
        trained: names of what is trained; what requires a gradient if None.
    """
    if trained is None:
        trained = (name for name, parameter in module.named_parameters() if parameter.requires_grad)
    left_out, hasher = set(trained), hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if name not in left_out:
            hasher.update(name.encode() + b"\0")
            hasher.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return hasher.hexdigest()


def trained_share(module: nn.Module) -> float:
    """Trained parameters over all parameters, 0..1."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return sum(size for size, trained in sizes if trained) / max(sum(size for size, _ in sizes), 1)


def _replace(module: nn.Module, name: str, layer: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(owner), leaf, layer.train(module.training))
