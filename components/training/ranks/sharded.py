"""Sharded ranks: each holds its rows of every weight, gradient, moment and average (`parallel: sharded`).

PyTorch's FSDP2 (`fully_shard`; Zhao et al., 2023): a repeated layer's weights are gathered when it runs and let go
after, forward and backward; all that is in no such layer is one group, gathered for the whole of a micro-batch.
Gradients are summed where their rows are held. Parameters without dimensions (temperatures) stay replicated.

Ranks meet in every layer, so all of them must run the same layers in the same order. Two things see to it that
they do: a rank with fewer micro-batches than another computes one more and counts it for nothing, and outputs that
its own rows' loss does not ask for get gradients of zero. A parameter that had no gradient on any rank still has
none when the optimizer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pairwright.components.errors import ModelError
from pairwright.components.training.ranks.parallel import average_gradients, total
from pairwright.components.training.ranks.replicated import Replicated
from pairwright.components.training.ranks.shares import is_shared, own, whole
from pairwright.components.training.speed import layers_of

T = TypeVar("T")
# Where a module keeps hooks, by number.
_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
)


class Sharded(Replicated):
    """A model whose weights the ranks of the process group hold in shares, in place.

    Raises:
        ModelError: FSDP2 cannot hold it so, for instance where two layers share a weight.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        if device.type == "cuda":
            torch.cuda.set_device(device)
        self._model, self._root = model, _Root(model)
        self._before = [(module, _Plain(module)) for module in model.modules()]
        self._whole: dict[int, nn.Parameter] = {}  # gathered parameters that were seen, by id
        self._names: dict[int, str] = {}
        self._had: set[str] = set()
        apart = {parameter for parameter in model.parameters() if parameter.ndim == 0}
        for parameter in apart:
            parameter.data = parameter.data.to(device)
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        wish: dict[str, Any] = {"mesh": mesh, "ignored_params": apart}
        try:
            for layer in _layers(model):
                fully_shard(layer, **wish)
            fully_shard(self._root, **wish)
        except (ValueError, AssertionError, NotImplementedError) as error:
            problem = str(error).splitlines()[0]
            raise ModelError(f"parallel: sharded cannot hold this model ({problem}); train it replicated") from None
        self._root.set_reduce_scatter_unused_params(True)  # type: ignore[operator]  # fully_shard gave it the method
        for module in (*_layers(model), self._root):
            module.register_forward_pre_hook(self._not_swapped, prepend=True)
            module.register_forward_pre_hook(self._see)

    def run(self, call: Callable[[], T]) -> T:
        result: T = self._root(call)
        return result

    def turns(self, parts: int) -> int:
        most = torch.tensor(parts, device=self._meeting_place())
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most)

    def backward(self, outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], idle: Sequence[Tensor]) -> None:
        self._had |= {self._names[one] for one in _reached(outputs) if one in self._names}
        beside = [value for value in idle if value.requires_grad]
        every = [*outputs, *beside]
        if every:
            torch.autograd.backward(every, [*gradients, *(torch.zeros_like(value) for value in beside)])

    def settle(self, parameters: Sequence[nn.Parameter]) -> None:
        self._root.reshard()  # type: ignore[operator]
        average_gradients([parameter for parameter in parameters if not is_shared(parameter)])
        shared = {name: one for name, one in self._model.named_parameters() if is_shared(one) and one.requires_grad}
        had = total({name: float(name in self._had) for name in shared})
        for name, parameter in shared.items():
            if not had[name]:
                parameter.grad = None
            elif parameter.grad is None:
                raise ModelError(f"parallel: sharded: ranks ran different layers, as {name} shows; train it replicated")
        self._had.clear()

    @torch.no_grad()
    def clip(self, parameters: Sequence[nn.Parameter], most: float) -> float:
        """As `nn.utils.clip_grad_norm_`, over all ranks' shares; what is replicated counts once."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        squares = [_square([own(one) for one in gradients if is_shared(one) == shared]) for shared in (True, False)]
        norm = (total({"squares": squares[0]})["squares"] + squares[1]) ** 0.5
        share = min(1.0, most / (norm + 1e-6)) if norm == norm else norm
        if gradients and share != 1.0:
            torch._foreach_mul_([own(one) for one in gradients], share)
        return norm

    def explained(self, error: RuntimeError) -> Exception:
        if "DTensor" not in str(error):
            return error
        return ModelError(
            "parallel: sharded: a weight is used where this rank holds a share of it, outside of its layer's forward "
            f"pass or after the step ({str(error).splitlines()[0][:120]}); train it replicated"
        )

    def gather(self) -> None:
        """Rank 0's modules are what they were before, with the trained weights; the others keep their shares."""
        self._root.reshard()  # type: ignore[operator]
        plain: dict[int, nn.Parameter] = {}
        for module in self._model.modules():
            for name, parameter in module._parameters.items():
                if parameter is None or not is_shared(parameter):
                    continue
                if id(parameter) not in plain:  # a tied weight has two names and is gathered once
                    value = whole(parameter.detach())
                    plain[id(parameter)] = nn.Parameter(value, parameter.requires_grad) if _first() else parameter
                if _first():
                    module._parameters[name] = plain[id(parameter)]
        if _first():
            for module, plain_module in self._before:
                plain_module.restore(module)

    def _meeting_place(self) -> torch.device:
        return own(next(self._model.parameters())).device

    def _not_swapped(self, module: nn.Module, _: Any) -> None:
        """FSDP2 would put its own weights in place of those that `functional_call` lent this layer, and not say so."""
        for parameter in module.parameters():
            if not is_shared(parameter) and parameter.ndim and id(parameter) not in self._whole:
                raise ModelError(
                    "parallel: sharded: a task or objective runs a layer with weights that are not its own "
                    "(functional_call); train it replicated"
                )

    def _see(self, module: nn.Module, _: Any) -> None:
        """Remember the gathered parameters, which stay the same objects, by name."""
        held = {id(one): one for one in module.parameters() if not is_shared(one) and one.ndim}
        fresh = {number: one for number, one in held.items() if number not in self._whole}
        if fresh:
            self._whole |= fresh
            self._names |= {id(one): name for name, one in self._model.named_parameters() if id(one) in fresh}


class _Root(nn.Module):
    """Calls what it is given: FSDP2 gathers weights around a module's forward pass, and a task has no single one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, call: Callable[[], Any]) -> Any:
        return call()


class _Plain:
    """What a module was before it was sharded: its class, its hooks, its attributes."""

    def __init__(self, module: nn.Module) -> None:
        self.cls, self.attributes = type(module), set(vars(module))
        self.hooks = {kind: set(getattr(module, kind)) for kind in _HOOKS}

    def restore(self, module: nn.Module) -> None:
        module.__class__ = self.cls
        for kind, kept in self.hooks.items():
            table = getattr(module, kind)
            for number in set(table) - kept:
                del table[number]
        for name in set(vars(module)) - self.attributes:
            del vars(module)[name]


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """Repeated layers that are called, the inner ones first."""
    lists = list(layers_of(model))
    for layers in reversed(lists):
        for layer in layers:
            if type(layer).forward is not nn.Module.forward and any(True for _ in layer.parameters()):
                yield layer


def _reached(outputs: Sequence[Tensor]) -> set[int]:
    """ids of the parameters that a backward pass from here gives gradients to."""
    waiting = [value.grad_fn for value in outputs if value.grad_fn is not None]
    found, seen = set(), set(waiting)
    while waiting:
        node: Any = waiting.pop()
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        following = [one for one, _ in node.next_functions if one is not None and one not in seen]
        seen.update(following)
        waiting.extend(following)
    return found


def _square(gradients: list[Tensor]) -> float:
    norms = [one.float().norm() for one in gradients if one.numel()]
    return float(torch.stack(norms).double().square().sum()) if norms else 0.0


def _first() -> bool:
    return dist.get_rank() == 0
