"""Ranks: gathering with gradient, averaging gradients, and agreeing on numbers. Without ranks all of it is nothing.

Every rank holds its own rows of the joint batch. `gather` gives each everyone's rows and lets gradients through,
summed over the ranks; the mean of the ranks' gradients is then that of one process with the joint batch, whether
a loss goes over all rows or over the rank's own alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Gather(torch.autograd.Function):
    """(b, ...) on each rank -> (sum of b, ...) on all; the gradient is summed over the ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: Sequence[int]) -> Tensor:
        ctx.sizes = sizes
        return _gathered(x, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return total[own_rows(ctx.sizes)], None


def gather(x: Tensor) -> Tensor:
    """Every rank's rows, in rank order, differentiable; `x` itself where there is one process.

    Ranks may hold different numbers of rows: an example that cannot be read is missing from one of them.
    """
    if not distributed():
        return x
    sizes = rows_of_ranks(len(x))
    if not x.is_floating_point():
        return _gathered(x.to(_meeting_place()), sizes).to(x.device)
    gathered: Tensor = _Gather.apply(x, sizes)
    return gathered


def rows_of_ranks(rows: int) -> list[int]:
    """How many rows each rank holds."""
    if not distributed():
        return [rows]
    every = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=_meeting_place())
    every[dist.get_rank()] = rows
    dist.all_reduce(every)
    return [int(size) for size in every.tolist()]


def _meeting_place() -> torch.device:
    """Where ranks exchange tensors: NCCL knows GPUs alone."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def own_rows(sizes: Sequence[int]) -> slice:
    """Which rows of the gathered are this rank's."""
    rank = dist.get_rank() if distributed() else 0
    first = sum(sizes[:rank])
    return slice(first, first + sizes[rank])


def _gathered(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """All ranks exchange as many rows as the fullest has; what is beyond a rank's own is cut away."""
    most = max(sizes)
    padded = x.contiguous()
    if len(x) < most:
        padded = torch.cat([x, x.new_zeros((most - len(x), *x.shape[1:]))])
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def gather_objects(value: Any) -> list[Any]:
    """What each rank has, in rank order."""
    if not distributed():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The mean of every rank's gradients, in one flat exchange.

    A parameter that had no gradient on one rank (a branch its rows did not take) counts as 0 there; one that had
    none on any rank keeps none, so that AdamW leaves it alone as it would in one process.
    """
    every = [parameter for parameter in parameters if parameter.requires_grad]
    if not distributed() or not every:
        return
    had = torch.tensor([parameter.grad is not None for parameter in every], dtype=torch.float32)
    parts = [torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1).to(p.dtype) for p in every]
    flat = torch.cat([*(part.float() for part in parts), had.to(parts[0].device)])
    dist.all_reduce(flat)
    had = flat[-len(every) :].cpu()
    flat[: -len(every)] /= dist.get_world_size()
    at = 0
    for parameter, ranks in zip(every, had.tolist(), strict=True):
        rows = parameter.numel()
        if ranks:
            parameter.grad = flat[at : at + rows].view_as(parameter).to(parameter.dtype, copy=True)
        at += rows


def total(values: Mapping[str, float]) -> dict[str, float]:
    """The sums over the ranks of numbers that every rank has by the same names."""
    if not distributed():
        return dict(values)
    summed = torch.tensor(list(values.values()), dtype=torch.float64, device=_meeting_place())
    dist.all_reduce(summed)
    return dict(zip(values, summed.tolist(), strict=True))


def barrier() -> None:
    if distributed():
        dist.barrier()
